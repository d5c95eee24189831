//! The history's table, as people read it: the changes of a group, of an account, or of an account in a group.

use std::time::SystemTime;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::query::QueryError;
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use chat_groups::event::{Attributes, GroupKey, number, text};
use chat_groups::store::{partition_key, text_of};
use chat_groups::time::to_seconds;

/// The most changes of a page.
const PAGE_CHANGES: i32 = 100;

type Failure = SdkError<QueryError>;

/// The history of a deployment, or of the local run.
#[derive(Clone)]
pub struct History {
    pub client: Client,
    pub table_name: String,
    /// For how many days a change stays there.
    pub days: u32,
}

/// Changes, the newest first.
pub struct Page {
    pub changes: Vec<Attributes>,
    /// The `sk` that older changes come after; `None` if there are none.
    pub next: Option<String>,
}

/// The options that name a history.
#[derive(clap::Args)]
pub struct HistoryArgs {
    /// The name of the history's table, if there is one
    #[arg(long, env = "HISTORY_TABLE_NAME")]
    history_table_name: Option<String>,
    /// For how many days a change stays in the history
    #[arg(long, env = "HISTORY_DAYS", default_value_t = 90)]
    history_days: u32,
}

impl HistoryArgs {
    /// The history, if there is one.
    pub fn history(self, client: &Client) -> Option<History> {
        let (client, days) = (client.clone(), self.history_days);
        self.history_table_name.map(|table_name| History { client, table_name, days })
    }
}

impl History {
    /// The newest changes of a group and its members, or those before `next`.
    pub async fn of_group(&self, key: &GroupKey, next: Option<&str>) -> Result<Page, Failure> {
        page(self.query("pk", &partition_key(key)), next).await
    }

    /// The newest changes of an account in all of its groups, or those before `next`.
    pub async fn of_account(
        &self,
        sdk_app_id: u64,
        account: &str,
        next: Option<&str>,
    ) -> Result<Page, Failure> {
        page(self.query_account(sdk_app_id, account), next).await
    }

    /// All changes of an account in a group.
    pub async fn of_member(&self, key: &GroupKey, account: &str) -> Result<Vec<Attributes>, Failure> {
        let query = self.query_account(key.sdk_app_id, account);
        let query = query.filter_expression("expires_at > :now AND group_id = :group_id");
        let query = query.expression_attribute_values(":group_id", text(&key.group_id));
        query.into_paginator().items().send().try_collect().await
    }

    /// All changes of a group itself.
    pub async fn of_group_item(&self, key: &GroupKey) -> Result<Vec<Attributes>, Failure> {
        let query = self.query("pk", &partition_key(key));
        let query = query.filter_expression("expires_at > :now AND attribute_not_exists(account)");
        query.into_paginator().items().send().try_collect().await
    }

    fn query_account(&self, sdk_app_id: u64, account: &str) -> QueryFluentBuilder {
        self.query("account_key", &format!("{sdk_app_id}#{account}")).index_name("by_account")
    }

    /// Changes with this key. DynamoDB removes those that have expired within some days.
    fn query(&self, name: &str, key: &str) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table_name)
            .key_condition_expression(format!("{name} = :key"))
            .expression_attribute_values(":key", text(key))
            .filter_expression("expires_at > :now")
            .expression_attribute_values(":now", number(to_seconds(SystemTime::now())))
            .scan_index_forward(false)
    }
}

async fn page(mut query: QueryFluentBuilder, next: Option<&str>) -> Result<Page, Failure> {
    if let Some(next) = next {
        let condition = query.get_key_condition_expression().clone().unwrap_or_default();
        query = query.key_condition_expression(format!("{condition} AND sk < :next"));
        query = query.expression_attribute_values(":next", text(next));
    }
    let answer = query.limit(PAGE_CHANGES).send().await?;
    let next = answer.last_evaluated_key.and_then(|key| text_of(&key, "sk").map(str::to_owned));
    Ok(Page { changes: answer.items.unwrap_or_default(), next })
}
