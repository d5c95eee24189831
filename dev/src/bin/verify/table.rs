//! The sample's items: shown, checked and removed.

use std::error::Error;
use std::time::Duration;

use chat_groups::aws::{Aws, Patience};
use chat_groups::item;
use chat_groups::store::Store;
use chat_groups_dev::show;

use crate::{GROUP, MEMBERS, OWNER};

const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    attempt: Duration::from_secs(10),
    attempts: 3,
    backoff: Duration::from_millis(100),
};

/// Shows what the table holds of the sample, says whether that is right, and removes it.
pub async fn check(table: &str, app_id: u64, event_time: u64) -> Result<bool, Box<dyn Error>> {
    let client = Aws::from_env(&|name| std::env::var(name))?.dynamodb(PATIENCE);
    let store = Store::new(client.clone(), table.to_owned());
    let Some(group) = store.group(app_id, GROUP).await? else {
        println!("\nWRONG  the group {GROUP} is not in the table {table}");
        return Ok(false);
    };
    println!("\nThe items in {table}:");
    show::group(&group);
    let mut accounts: Vec<_> =
        group.members.iter().filter_map(|member| item::text_of(member, "account")).collect();
    accounts.sort_unstable();
    let mut expected = MEMBERS;
    expected.sort_unstable();
    let right = item::event_time(&group.group) == event_time
        && item::text_of(&group.group, "owner_account") == Some(OWNER)
        && accounts == expected;
    println!("\n{}  the items of this run's sample", if right { "right" } else { "WRONG" });

    // The group item first: without it there is no group.
    for item in std::iter::once(&group.group).chain(&group.members) {
        let key = |name: &str| item.get(name).cloned().ok_or_else(|| format!("an item has no {name}"));
        client.delete_item().table_name(table).key("pk", key("pk")?).key("sk", key("sk")?).send().await?;
    }
    let gone = store.group(app_id, GROUP).await?.is_none();
    println!("{}  removed", if gone { "right" } else { "WRONG" });
    Ok(right && gone)
}
