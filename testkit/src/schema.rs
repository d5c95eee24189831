//! `docs/event.schema.json`, which holds for every event.

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

const SCHEMA: &str = include_str!("../../docs/event.schema.json");

/// The schema, ready to check events.
pub struct EventSchema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl EventSchema {
    /// Reads it.
    pub fn new() -> Result<Self, String> {
        let schema: Value = serde_json::from_str(SCHEMA).map_err(|error| error.to_string())?;
        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.enable_format_assertions();
        compiler.add_resource("event.schema.json", schema).map_err(|error| error.to_string())?;
        let index = compiler.compile("event.schema.json", &mut schemas).map_err(|error| error.to_string())?;
        Ok(Self { schemas, index })
    }

    /// Checks an event; an error says where it is wrong.
    pub fn check(&self, event: &Value) -> Result<(), String> {
        self.schemas.validate(event, self.index).map_err(|error| format!("{error:#} in {event}"))
    }
}
