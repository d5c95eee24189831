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
    create(database, TABLE_NAME, "Table", stream)
}

/// Creates the table of a resource of the template. Time to live is a request of its own.
fn create(database: &Database, table_name: &str, resource: &str, stream: Stream) -> Result<(), String> {
    let tables = database.list_tables(ListTablesRequest::default()).map_err(|error| error.to_string())?;
    if tables.table_names.iter().any(|name| name == table_name) {
        return Ok(());
    }
    let mut properties = properties_of(resource)?;
    let time_to_live = json!({
        "TableName": table_name, "TimeToLiveSpecification": properties["TimeToLiveSpecification"],
    });
    properties["TableName"] = table_name.into();
    properties["SSESpecification"] = json!({ "Enabled": true });
    match stream {
        Stream::On => properties["StreamSpecification"]["StreamEnabled"] = true.into(),
        Stream::Off => properties["StreamSpecification"] = Value::Null,
    }
    let wrong = |error| format!("template.yaml: {error}");
    let request: CreateTableRequest = serde_json::from_value(properties).map_err(wrong)?;
    database.create_table(request).map_err(|error| error.to_string())?;
    let time_to_live: UpdateTimeToLiveRequest = serde_json::from_value(time_to_live).map_err(wrong)?;
    database.update_time_to_live(time_to_live).map(drop).map_err(|error| error.to_string())
}

/// A resource's properties as CloudFormation names them.
fn properties_of(resource: &str) -> Result<Value, String> {
    let mut template: Template =
        serde_saphyr::from_str(TEMPLATE).map_err(|error| format!("template.yaml: {error}"))?;
    let found = template.resources.remove(resource);
    Ok(found.ok_or_else(|| format!("template.yaml: expected a resource {resource}"))?.properties)
}

/// The name of the local history.
pub const HISTORY_TABLE_NAME: &str = "history";

/// Creates the history's table in a database that does not have it yet.
pub fn create_history(database: &Database) -> Result<(), String> {
    create(database, HISTORY_TABLE_NAME, "HistoryTable", Stream::Off)
}

/// Opens a database file with both tables, or creates it.
pub fn open(path: &Path) -> Result<Database, String> {
    let open = || -> Result<Database, String> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        let database = Database::new(&path.to_string_lossy()).map_err(|error| error.to_string())?;
        create_table(&database, Stream::On)?;
        create_history(&database)?;
        Ok(database)
    };
    open().map_err(|error| {
        format!("{}: expected a data file of this program, or none ({error}); delete it", path.display())
    })
}
