//! Moments, and how they are written: milliseconds since the Unix epoch in items and JSON, RFC 3339 in the log.

use std::fmt;
use std::ops::Add;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Chat's EventTime: milliseconds since the Unix epoch. Every fact carries the one of the event that said it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventTime(u64);

impl EventTime {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment that comes next.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Add<Duration> for EventTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl From<SystemTime> for EventTime {
    fn from(time: SystemTime) -> Self {
        Self(to_millis(time))
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the Unix epoch; 0 for earlier times.
pub fn to_millis(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since the Unix epoch; 0 for earlier times.
pub fn to_seconds(time: SystemTime) -> u64 {
    to_millis(time) / 1000
}

/// From milliseconds since the Unix epoch; the epoch itself for times that the system can't hold.
pub fn from_millis(millis: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis)).unwrap_or(UNIX_EPOCH)
}

/// RFC 3339 in UTC, always with three digits of milliseconds, so that lines sort as text.
pub fn rfc3339(time: SystemTime) -> String {
    // The year 9999 is the last one that the format can hold.
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(to_millis(time)) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, millisecond) = time.to_hms_milli();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// For `#[serde(with)]`: a moment as a number of milliseconds.
pub mod millis {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer};

    /// For `serialize_with`.
    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(super::to_millis(*time))
    }

    /// For `deserialize_with`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        u64::deserialize(deserializer).map(super::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_the_log_has_three_digits_of_milliseconds_always() {
        for (millis, text) in [
            (1_669_872_112_000, "2022-12-01T05:21:52.000Z"),
            (1_669_872_112_120, "2022-12-01T05:21:52.120Z"),
            (1_709_164_799_999, "2024-02-28T23:59:59.999Z"),
            (0, "1970-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(from_millis(millis)), text);
        }
        assert_eq!(rfc3339(from_millis(u64::MAX)), "1970-01-01T00:00:00.000Z");
    }
}
