//! The two access patterns.

use chat_groups::store::text_of;

use crate::harness::{SDK_APP_ID, Table, body, deliver};

#[tokio::test]
async fn a_group_is_read_with_its_members() {
    let table = Table::start().await;
    deliver(&table.webhook(), &body("g", 1, &["b", "a"])).await;
    deliver(&table.webhook(), &body("g2", 1, &["c"])).await;
    let group = table.group("g").await.unwrap();
    assert_eq!(text_of(&group.group, "group_id"), Some("g"));
    let accounts: Vec<_> = group.members.iter().map(|member| text_of(member, "account").unwrap()).collect();
    assert_eq!(accounts, ["a", "b"]);
    assert_eq!(table.group("none").await, None);
}

#[tokio::test]
async fn the_groups_of_an_account_are_those_it_owns_or_joined() {
    let table = Table::start().await;
    let webhook = table.webhook();
    for (group_id, members) in
        [("joined", vec!["owner", "ana"]), ("elsewhere", vec!["ben"]), ("also joined", vec!["ana"])]
    {
        deliver(&webhook, &body(group_id, 1, &members)).await;
    }
    let group_ids = async |account: &str| -> Vec<String> {
        let groups = table.reader().groups_of(SDK_APP_ID, account).await.unwrap();
        groups.iter().map(|group| text_of(group, "group_id").unwrap().to_owned()).collect()
    };
    assert_eq!(group_ids("ana").await, ["also joined", "joined"]);
    assert_eq!(group_ids("owner").await, ["also joined", "elsewhere", "joined"]);
    assert!(group_ids("nobody").await.is_empty());
}

#[tokio::test]
async fn an_account_may_have_more_groups_than_one_batch_holds() {
    let table = Table::start().await;
    let webhook = table.webhook();
    for n in 0..230 {
        deliver(&webhook, &body(&format!("g{n:03}"), 1, &["ana"])).await;
    }
    assert_eq!(table.reader().groups_of(SDK_APP_ID, "ana").await.unwrap().len(), 230);
}
