//! The embedded DynamoDB, with the table that `template.yaml` defines.

use std::collections::HashMap;
use std::path::Path;

use dynoxide::Database;
use dynoxide::actions::create_table::CreateTableRequest;
use dynoxide::actions::list_tables::ListTablesRequest;
use serde::Deserialize;

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
    r#type: String,
    #[serde(default)]
    properties: serde_json::Value,
}

/// Creates the table in a database that does not have it yet.
pub fn create_table(database: &Database) -> Result<(), String> {
    let tables = database.list_tables(ListTablesRequest::default()).map_err(|error| error.to_string())?;
    if tables.table_names.iter().any(|name| name == TABLE_NAME) {
        return Ok(());
    }
    database.create_table(table_definition()?).map(drop).map_err(|error| error.to_string())
}

fn table_definition() -> Result<CreateTableRequest, String> {
    let template: Template =
        serde_saphyr::from_str(TEMPLATE).map_err(|error| format!("template.yaml: {error}"))?;
    let table = template
        .resources
        .into_values()
        .find(|resource| resource.r#type == "AWS::DynamoDB::Table")
        .ok_or("template.yaml: expected an AWS::DynamoDB::Table")?;
    let mut properties = table.properties;
    properties["TableName"] = TABLE_NAME.into();
    // CloudFormation's names are those of CreateTable, except for this one.
    properties["SSESpecification"] = serde_json::json!({ "Enabled": true });
    serde_json::from_value(properties).map_err(|error| format!("template.yaml: {error}"))
}

/// Opens a database file, or creates it.
pub fn open(path: &Path) -> Result<Database, String> {
    let open = || -> Result<Database, String> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        }
        let database = Database::new(&path.to_string_lossy()).map_err(|error| error.to_string())?;
        create_table(&database)?;
        Ok(database)
    };
    open().map_err(|error| {
        format!("{}: expected a data file of this program, or none ({error}); delete it", path.display())
    })
}
