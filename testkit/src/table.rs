//! The embedded DynamoDB, with the table that `template.yaml` defines.

use std::collections::HashMap;
use std::path::Path;

use dynoxide::Database;
use dynoxide::actions::create_table::CreateTableRequest;
use dynoxide::actions::list_tables::ListTablesRequest;
use dynoxide::actions::update_time_to_live::UpdateTimeToLiveRequest;
use serde::Deserialize;
use serde_json::{Value, json};

/// The name of the local table; in AWS it is CloudFormation's choice.
pub const TABLE_NAME: &str = "groups";

const TEMPLATE: &str = include_str!("../../template.yaml");

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Template {
    resources: HashMap<String, Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resource {
    #[serde(default)]
    properties: Value,
}

/// Whether the table has its stream. The embedded DynamoDB keeps every record for good, and each slows down the writes
/// that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// For what follows the changes.
    On,
    /// For all others.
    Off,
}

/// Creates the table in a database that does not have it yet.
pub fn create_table(database: &Database, stream: Stream) -> Result<(), String> {
    let tables = database.list_tables(ListTablesRequest::default()).map_err(|error| error.to_string())?;
    if tables.table_names.iter().any(|name| name == TABLE_NAME) {
        return Ok(());
    }
    let properties = table_properties()?;
    let time_to_live = json!({
        "TableName": TABLE_NAME, "TimeToLiveSpecification": properties["TimeToLiveSpecification"],
    });
    database.create_table(create_request(properties, stream)?).map_err(|error| error.to_string())?;
    let time_to_live: UpdateTimeToLiveRequest =
        serde_json::from_value(time_to_live).map_err(|error| format!("template.yaml: {error}"))?;
    database.update_time_to_live(time_to_live).map(drop).map_err(|error| error.to_string())
}

/// The table's logical id in the template.
const TABLE: &str = "Table";

/// The table's properties as CloudFormation names them.
fn table_properties() -> Result<Value, String> {
    let mut template: Template =
        serde_saphyr::from_str(TEMPLATE).map_err(|error| format!("template.yaml: {error}"))?;
    let table = template.resources.remove(TABLE);
    Ok(table.ok_or_else(|| format!("template.yaml: expected a resource {TABLE}"))?.properties)
}

/// The same as CreateTable names them. Time to live is a request of its own.
fn create_request(mut properties: Value, stream: Stream) -> Result<CreateTableRequest, String> {
    properties["TableName"] = TABLE_NAME.into();
    properties["SSESpecification"] = json!({ "Enabled": true });
    match stream {
        Stream::On => properties["StreamSpecification"]["StreamEnabled"] = true.into(),
        Stream::Off => properties["StreamSpecification"] = Value::Null,
    }
    serde_json::from_value(properties).map_err(|error| format!("template.yaml: {error}"))
}

/// The name of the local history.
pub const HISTORY_TABLE_NAME: &str = "history";

/// Creates the history's table.
pub fn create_history(database: &Database) -> Result<(), String> {
    let key = |name: &str, kind: &str| json!({ "AttributeName": name, "KeyType": kind });
    let text = |name: &str| json!({ "AttributeName": name, "AttributeType": "S" });
    let request = json!({
        "TableName": HISTORY_TABLE_NAME, "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [text("pk"), text("sk"), text("account_key")],
        "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
        "GlobalSecondaryIndexes": [{
            "IndexName": "by_account", "KeySchema": [key("account_key", "HASH"), key("sk", "RANGE")],
            "Projection": { "ProjectionType": "ALL" },
        }],
    });
    let request = serde_json::from_value(request).map_err(|error| error.to_string())?;
    database.create_table(request).map(drop).map_err(|error| error.to_string())
}

/// Opens a database file, or creates it.
pub fn open(path: &Path) -> Result<Database, String> {
    let open = || -> Result<Database, String> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        let database = Database::new(&path.to_string_lossy()).map_err(|error| error.to_string())?;
        create_table(&database, Stream::Off)?;
        Ok(database)
    };
    open().map_err(|error| {
        format!("{}: expected a data file of this program, or none ({error}); delete it", path.display())
    })
}
