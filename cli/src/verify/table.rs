//! The group of this run in the deployed table: checked and removed.

use std::error::Error;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use chat_groups::event::{Attributes, GroupKey};
use chat_groups::store::{Reader, partition_key};
use chat_groups_testkit::life::Step;
use chat_groups_testkit::model::{seen, view};

use crate::{aws, show};

/// The table, as far as it holds one group.
pub struct Table {
    client: Client,
    name: String,
    key: GroupKey,
}

impl Table {
    /// Access with the operator's own credentials.
    pub fn new(name: String, sdk_app_id: u64, group_id: String) -> Result<Self, Box<dyn Error>> {
        Ok(Self { client: aws::dynamodb()?, name, key: GroupKey { sdk_app_id, group_id } })
    }

    /// Shows the roster, and says whether it is what these steps lead to.
    pub async fn check(&self, steps: &[Step]) -> Result<bool, Box<dyn Error>> {
        let reader = Reader::new(self.client.clone(), self.name.clone());
        let roster = seen(reader.group(&self.key).await?.as_ref());
        show::roster(&roster);
        let expected = view(steps.iter().map(|step| &step.body));
        if roster == expected {
            println!("right  the roster");
        } else {
            println!("WRONG  the roster: expected {expected:#}");
        }
        Ok(roster == expected)
    }

    /// Removes the items. `redrive`, which sweeps a destroyed group, may put its mark back, to go by TTL.
    pub async fn clear(&self) -> Result<bool, Box<dyn Error>> {
        for item in self.items().await? {
            let of = |name: &str| item.get(name).cloned().ok_or_else(|| format!("an item has no {name}"));
            let request = self.client.delete_item().table_name(&self.name);
            request.key("pk", of("pk")?).key("sk", of("sk")?).send().await?;
        }
        let is_gone = self.items().await?.is_empty();
        println!("{}  the items in {} are removed", if is_gone { "right" } else { "WRONG" }, self.name);
        Ok(is_gone)
    }

    /// All items of the group, marks included.
    async fn items(&self) -> Result<Vec<Attributes>, Box<dyn Error>> {
        let query = self.client.query().table_name(&self.name).consistent_read(true);
        let query = query
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", AttributeValue::S(partition_key(&self.key)));
        Ok(query.send().await?.items.unwrap_or_default())
    }
}
