//! The share of a CPU that Lambda gives a function of some memory size.

use std::fs;
use std::path::{Path, PathBuf};

/// Lambda gives one whole CPU at this many MB, and less in proportion.
const MB_OF_ONE_CPU: u64 = 1769;
/// Lambda's quota counts in periods of this length.
const PERIOD_MICROSECONDS: u64 = 20_000;

/// A part of a CPU, or as much as there is.
pub struct Share {
    /// The control group; none for everything.
    group: Option<PathBuf>,
}

impl Share {
    /// Everything.
    pub fn all() -> Self {
        Self { group: None }
    }

    /// What Lambda gives at `megabytes`; `None` where this machine does not let us set a quota.
    pub fn of_lambda(megabytes: u64) -> Option<Self> {
        let quota = PERIOD_MICROSECONDS * megabytes / MB_OF_ONE_CPU;
        let name = format!("chat-groups-bench-{}-{megabytes}", std::process::id());
        let version_1 = || {
            let group = Path::new("/sys/fs/cgroup/cpu").join(&name);
            fs::create_dir(&group).ok()?;
            let share = Self { group: Some(group.clone()) };
            fs::write(group.join("cpu.cfs_period_us"), PERIOD_MICROSECONDS.to_string()).ok()?;
            fs::write(group.join("cpu.cfs_quota_us"), quota.to_string()).ok()?;
            Some(share)
        };
        let version_2 = || {
            let group = Path::new("/sys/fs/cgroup").join(&name);
            fs::create_dir(&group).ok()?;
            let share = Self { group: Some(group.clone()) };
            fs::write(group.join("cpu.max"), format!("{quota} {PERIOD_MICROSECONDS}")).ok()?;
            Some(share)
        };
        version_1().or_else(version_2)
    }

    /// Puts a process under it.
    pub fn limit(&self, process: u32) -> std::io::Result<()> {
        let Some(group) = &self.group else { return Ok(()) };
        fs::write(group.join("cgroup.procs"), process.to_string())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(group) = &self.group
            && let Err(error) = fs::remove_dir(group)
        {
            eprintln!("{}: {error}", group.display());
        }
    }
}
