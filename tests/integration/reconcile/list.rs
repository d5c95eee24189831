//! Chat's list of groups: several pages, doubles, and places in it.

use aws_sdk_dynamodb::types::AttributeValue;

use super::*;
use crate::proxy::{self, Proxy};

/// So large that the list takes two pages, of 312 groups and of the rest.
fn many_rooms(world: &World) {
    for number in 0..600 {
        let room = Group { group_type: "AVChatRoom".to_owned(), ..group(&[]) };
        world.group(&format!("g{number:04}"), room);
    }
    world.chat.behave(|behavior| behavior.answer_max_bytes = 8_000);
}

/// Leaves a place, as an earlier call would have.
async fn leave(world: &World, place: Value) {
    let text = |text: String| AttributeValue::S(text);
    let put = world.table.client().put_item().table_name("groups");
    let put = put.item("pk", text(format!("{SDK_APP_ID}!reconcile"))).item("sk", text("PLACE".to_owned()));
    put.item("place", text(place.to_string())).send().await.unwrap();
}

#[tokio::test]
async fn all_pages_of_the_list_are_walked() {
    let world = World::start().await;
    many_rooms(&world);
    let outcome = world.call(json!({})).await;
    assert_eq!(outcome.drift(), json!({ "groups_added": 600 }));
    assert_eq!(outcome.report().groups_listed, 600);
    assert_eq!(world.call(json!({})).await.drift(), json!({}));
}

#[tokio::test]
async fn a_pass_goes_on_within_a_page() {
    let world = World::start().await;
    many_rooms(&world);
    let page = world.reconcile().chat.until(soon()).groups(0, 312).await.unwrap().value;
    assert_eq!(page.ids.len(), 312);
    leave(
        &world,
        json!({ "begun_at": 1, "phase": { "List": { "next": page.next, "done": 100, "listed": 412 } } }),
    )
    .await;
    let outcome = world.call(json!({})).await;
    assert_eq!(outcome.drift(), json!({ "groups_added": 188 }));
    assert_eq!(outcome.report().groups_listed, 188);
    assert!(world.table.group("g0411").await.is_none());
    world.shows(&["g0412", "g0599"]).await;
}

#[tokio::test]
async fn a_page_that_chat_does_not_know_any_more_is_no_obstacle() {
    let world = World::start().await;
    many_rooms(&world);
    leave(&world, json!({ "begun_at": 1, "phase": { "List": { "next": 7, "done": 100, "listed": 100 } } }))
        .await;
    let outcome = world.call(json!({})).await;
    assert_eq!(outcome.drift(), json!({ "groups_added": 600 }));
    assert!(outcome.report().finished);
}

#[tokio::test]
async fn a_group_that_is_listed_twice_is_one_group() {
    let world = World::start().await;
    let ids: Vec<String> = (0..150).map(|number| format!("g{}", number / 2)).collect();
    for id in &ids {
        world.group(id, group(&["a"]));
    }
    let list: Vec<Value> = ids.iter().map(|id| json!({ "GroupId": id })).collect();
    let answer = json!({ "ErrorCode": 0, "GroupIdList": list, "Next": 0 }).to_string();
    world.chat.script("get_appid_group_list", Script::always(Fault::Answer(200, answer)));
    let outcome = world.call(json!({})).await;
    assert_eq!(outcome.drift(), json!({ "groups_added": 75, "members_added": 75 }));
    assert!(outcome.report().finished);
    assert_eq!(outcome.report().groups_listed, 150);
    assert_eq!(world.call(json!({})).await.drift(), json!({}));
}

#[tokio::test]
async fn keys_that_the_table_has_no_capacity_for_are_asked_for_again_and_not_for_ever() {
    let unprocessed = proxy::Fault::Answer(
        200,
        r#"{"Responses":{},"UnprocessedKeys":{"groups":{"Keys":[{"pk":{"S":"1400000001#g"},"sk":{"S":"GROUP"}}]}}}"#,
    );
    let mut world = World::start().await;
    world.group("g", group(&["a"]));
    world.announce("g").await;
    let proxy = Proxy::start(&world.table.url, proxy::Script::times(6, unprocessed)).await.unwrap();
    world.table = Table { url: proxy.url.clone() };
    let request = json!({ "group_ids": ["g"] });

    let start = Instant::now();
    let outcome = world.call(request.clone()).await;
    assert_eq!((outcome.drift(), outcome.report().groups_checked), (json!({}), 1));
    assert!(start.elapsed() >= Duration::from_millis(310), "with backoff: {:?}", start.elapsed());

    proxy.set(proxy::Script::always(unprocessed));
    let start = Instant::now();
    let end = start + Duration::from_millis(600);
    assert!(!call(&world.reconcile(), &request, end).await.report().finished);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test]
async fn groups_that_fill_many_pages_of_the_table_are_asked_about_together() {
    let world = World::start().await;
    for number in 0..10 {
        world.group(&format!("g{number}"), group(&["a"]));
    }
    world.call(json!({})).await;
    // Ten items of 200 KB are two pages of 1 MB, and a third.
    for number in 0..10 {
        let text = |text: String| AttributeValue::S(text);
        let update = world.table.client().update_item().table_name("groups");
        let update =
            update.key("pk", text(format!("{SDK_APP_ID}#g{number}"))).key("sk", text("GROUP".to_owned()));
        let update = update.update_expression("SET padding = :padding");
        update.expression_attribute_values(":padding", text("x".repeat(200_000))).send().await.unwrap();
    }
    let scan = world.table.client().scan().table_name("groups").send().await.unwrap();
    assert!(scan.last_evaluated_key.is_some());
    let before = world.chat.calls("get_group_info");
    assert_eq!(world.call(json!({})).await.report().groups_checked, 10);
    assert_eq!(world.chat.calls("get_group_info") - before, 1);
}
