//! The settings of `publish`.

use super::{ConfigError, Environment, SDK_APP_ID, TABLE_NAME, aws_settings, name_of_table, optional};
use crate::aws::AwsSettings;
use crate::callback::decimal;

/// How long a change stays in the history by default, in days.
const DEFAULT_HISTORY_DAYS: u32 = 90;

/// The settings of `publish`.
#[derive(Debug, Clone)]
pub struct PublishSettings {
    /// `HISTORY_TABLE_NAME` and `HISTORY_DAYS`.
    pub history: Option<HistorySettings>,
    /// `EVENT_BUS_ARN`.
    pub event_bus_arn: Option<String>,
    /// `TABLE_NAME`; snapshots alone need it.
    pub table_name: Option<String>,
    /// `SDK_APP_ID`; snapshots alone need it.
    pub sdk_app_id: Option<u64>,
    /// How to reach AWS.
    pub aws: AwsSettings,
}

/// The history's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistorySettings {
    /// Its name.
    pub table_name: String,
    /// For how long a change stays there, in days.
    pub days: u32,
}

impl PublishSettings {
    /// Reads them.
    pub fn from_env(env: Environment<'_>) -> Result<Self, ConfigError> {
        let history = match optional(env, "HISTORY_TABLE_NAME", TABLE_NAME, name_of_table)? {
            Some(table_name) => Some(HistorySettings { table_name, days: history_days(env)? }),
            None => None,
        };
        let arn = "the ARN of an EventBridge bus, arn:…:events:…:event-bus/…";
        let event_bus_arn = optional(env, "EVENT_BUS_ARN", arn, event_bus_arn)?;
        if history.is_none() && event_bus_arn.is_none() {
            let expected =
                "the name of the history's table, or EVENT_BUS_ARN with the ARN of an EventBridge bus";
            return Err(ConfigError::new("HISTORY_TABLE_NAME", expected));
        }
        Ok(Self {
            history,
            event_bus_arn,
            table_name: optional(env, "TABLE_NAME", TABLE_NAME, name_of_table)?,
            sdk_app_id: optional(env, "SDK_APP_ID", SDK_APP_ID, decimal)?,
            aws: aws_settings(env)?,
        })
    }
}

fn history_days(env: Environment<'_>) -> Result<u32, ConfigError> {
    let days = optional(env, "HISTORY_DAYS", "a whole number of days from 1 to 3650", |text| {
        u32::try_from(decimal(text)?).ok().filter(|days| (1..=3650).contains(days))
    })?;
    Ok(days.unwrap_or(DEFAULT_HISTORY_DAYS))
}

fn event_bus_arn(text: &str) -> Option<String> {
    let mut parts = text.splitn(6, ':');
    let is_arn = parts.next() == Some("arn") && parts.nth(1) == Some("events");
    let name = parts.nth(2)?.strip_prefix("event-bus/")?;
    (is_arn && !name.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::env::VarError;

    use super::*;

    const BUS: (&str, &str) = ("EVENT_BUS_ARN", "arn:aws:events:eu-west-1:123456789012:event-bus/changes");
    const HISTORY: (&str, &str) = ("HISTORY_TABLE_NAME", "history");

    fn read(variables: &[(&str, &str)]) -> Result<PublishSettings, ConfigError> {
        let mut all = HashMap::from([
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
        ]);
        all.extend(variables.iter().copied());
        PublishSettings::from_env(&|name| {
            all.get(name).map(|value| (*value).to_owned()).ok_or(VarError::NotPresent)
        })
    }

    #[test]
    fn a_bus_or_a_history_is_required_and_the_error_names_both() {
        let error = read(&[("TABLE_NAME", "groups")]).map_err(|error| error.to_string()).err();
        let error = error.unwrap_or_default();
        assert!(error.contains("HISTORY_TABLE_NAME") && error.contains("EVENT_BUS_ARN"), "{error}");
        let sinks =
            |variables| read(variables).map(|read| (read.history.is_some(), read.event_bus_arn.is_some()));
        assert_eq!(sinks(&[BUS, ("HISTORY_TABLE_NAME", ""), ("HISTORY_DAYS", "0")]), Ok((false, true)));
        assert_eq!(sinks(&[HISTORY, ("EVENT_BUS_ARN", "")]), Ok((true, false)));
        assert_eq!(sinks(&[BUS, HISTORY]), Ok((true, true)));
    }

    #[test]
    fn a_change_stays_ninety_days_by_default() {
        let days = |days| {
            let settings = read(&[HISTORY, ("HISTORY_DAYS", days)]);
            settings
                .map(|settings| settings.history.map(|history| history.days))
                .map_err(|error| error.variable)
        };
        assert_eq!((days(""), days("3650")), (Ok(Some(90)), Ok(Some(3650))));
        for text in ["0", "3651", "-1", "many"] {
            assert_eq!(days(text), Err("HISTORY_DAYS"), "{text}");
        }
    }

    #[test]
    fn a_malformed_setting_is_named() {
        for (variable, value) in [
            ("EVENT_BUS_ARN", "default"),
            ("EVENT_BUS_ARN", "arn:aws:sqs:eu-west-1:123456789012:event-bus/b"),
            ("EVENT_BUS_ARN", "arn:aws:events:eu-west-1:123456789012:event-bus/"),
            ("EVENT_BUS_ARN", "arn:aws:events:eu-west-1:123456789012:rule/b"),
            ("HISTORY_TABLE_NAME", "a table"),
            ("TABLE_NAME", "a table"),
            ("SDK_APP_ID", "0x1"),
        ] {
            let error = read(&[BUS, (variable, value)]).err().map(|error| error.variable);
            assert_eq!(error, Some(variable), "{value}");
        }
    }
}
