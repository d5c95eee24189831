//! The sample's items: shown, checked and removed.

use std::error::Error;
use std::time::Duration;

use chat_groups::{Aws, AwsSettings, GroupKey, Store, Timeouts, text_of};
use chat_groups_dev::show;

use crate::{GROUP, MEMBERS, OWNER};

const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(5), attempt: Duration::from_secs(10) };

/// Shows what the table holds of the sample, says whether that is right, and removes it.
pub async fn check(table: &str, app_id: u64, event_time: u64) -> Result<bool, Box<dyn Error>> {
    let client = Aws::new(AwsSettings::from_env(&|name| std::env::var(name))?).dynamodb(TIMEOUTS);
    let store = Store::new(client.clone(), table.to_owned());
    let key = GroupKey { sdk_app_id: app_id, group_id: GROUP.to_owned() };
    let Some(group) = store.group(&key).await? else {
        println!("\nWRONG  the group {GROUP} is not in the table {table}");
        return Ok(false);
    };
    println!("\nThe items in {table}:");
    show::group(&group);
    let mut accounts: Vec<_> = group.members.iter().filter_map(|member| text_of(member, "account")).collect();
    accounts.sort_unstable();
    let mut expected = MEMBERS;
    expected.sort_unstable();
    let right = group.group.get("event_time").and_then(|value| value.as_n().ok())
        == Some(&event_time.to_string())
        && text_of(&group.group, "owner_account") == Some(OWNER)
        && accounts == expected;
    println!("\n{}  the items of this run's sample", if right { "right" } else { "WRONG" });

    // The group item first: without it there is no group.
    for item in std::iter::once(&group.group).chain(&group.members) {
        let of = |name: &str| item.get(name).cloned().ok_or_else(|| format!("an item has no {name}"));
        client.delete_item().table_name(table).key("pk", of("pk")?).key("sk", of("sk")?).send().await?;
    }
    let gone = store.group(&key).await?.is_none();
    println!("{}  removed", if gone { "right" } else { "WRONG" });
    Ok(right && gone)
}
