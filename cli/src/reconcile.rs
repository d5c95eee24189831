//! `make reconcile`: the function `reconcile` from a laptop, against a deployed table. It writes only with `APPLY=1`.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use chat_groups::chat::Command;
use chat_groups::{
    Change, Correction, Note, Reconcile, ReconcileRequest, ReconcileSettings, Report, TimeLimit, to_millis,
};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// A pass from here has no time limit.
const LONG: Duration = Duration::from_secs(30 * 24 * 3600);

/// How many accounts of a group are named.
const NAMES_MAX: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    chat_groups_dev::exit(run().await)
}

async fn run() -> Result<(), Box<dyn Error>> {
    let request = request()?;
    let settings = ReconcileSettings::from_env(&|name| std::env::var(name))?;
    println!(
        "application {}, table {}: {}",
        settings.chat.sdk_app_id,
        settings.table_name,
        if request.dry_run { "a dry run; APPLY=1 writes what differs" } else { "what differs is written" }
    );
    let reconcile = Reconcile::from_settings(settings).await?;
    let bar = bar(count(&reconcile, &request).await?)?;
    let start = std::time::SystemTime::now();
    let observe = |note: &Note<'_>| match note {
        Note::Corrected(correction) => bar.suspend(|| println!("{}", describe(correction))),
        Note::Skipped { group_id, error } => bar.suspend(|| println!("skipped    {group_id}: {error}")),
        Note::Progress(report) => bar.set_position(report.groups_checked),
    };
    let reconciled = reconcile.run(&request, TimeLimit::within(LONG), &observe).await;
    bar.finish_and_clear();
    let seconds = (to_millis(std::time::SystemTime::now()) - to_millis(start)) / 1000;
    summarize(&reconciled.report, &reconcile, seconds);
    reconciled.error.map_or(Ok(()), |error| Err(error.into()))
}

/// Reads what is asked for from the environment: `APPLY`, `ALLOW_DESTROY`, `MEMBERS`, `GROUP_IDS`.
fn request() -> Result<ReconcileRequest, Box<dyn Error>> {
    let text = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let flag = |name: &'static str| match text(name).as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(format!("{name}: expected 1, 0 or nothing")),
    };
    let mut event =
        serde_json::json!({ "dry_run": !flag("APPLY")?, "allow_destroy": flag("ALLOW_DESTROY")? });
    if let Some(members) = text("MEMBERS") {
        event["members"] = members.into();
    }
    if let Some(group_ids) = text("GROUP_IDS") {
        event["group_ids"] = serde_json::from_str(&group_ids)
            .map_err(|_| "GROUP_IDS: expected a JSON array of GroupIds, such as [\"@TGS#1\"]")?;
    }
    Ok(ReconcileRequest::parse(&event)?)
}

/// How many groups there are to compare.
async fn count(reconcile: &Reconcile, request: &ReconcileRequest) -> Result<u64, Box<dyn Error>> {
    if let Some(group_ids) = &request.group_ids {
        return Ok(group_ids.len() as u64);
    }
    let list = reconcile.chat.groups(0, 1, Instant::now() + Duration::from_secs(30)).await?;
    Ok(list.value.total.unwrap_or_default())
}

fn bar(groups: u64) -> Result<ProgressBar, Box<dyn Error>> {
    let template = "{bar:40} {pos} of {len} groups, {per_sec}, {eta} left";
    Ok(ProgressBar::new(groups).with_style(ProgressStyle::with_template(template)?))
}

/// One group that differs.
fn describe(correction: &Correction) -> String {
    let change = match correction.change {
        Change::Added => "added",
        Change::Changed => "changed",
        Change::Destroyed => "destroyed",
    };
    let mut parts = Vec::new();
    if !correction.fields.is_empty() {
        parts.push(correction.fields.join(", "));
    }
    for (sign, accounts) in [
        ('+', &correction.members_added),
        ('-', &correction.members_removed),
        ('~', &correction.members_changed),
    ] {
        let more = accounts.len().saturating_sub(NAMES_MAX);
        parts.extend(accounts.iter().take(NAMES_MAX).map(|account| format!("{sign}{account}")));
        if more > 0 {
            parts.push(format!("{sign}{more} more"));
        }
    }
    format!("{change:<10} {}: {}", correction.group_id, parts.join(" "))
}

fn summarize(report: &Report, reconcile: &Reconcile, seconds: u64) {
    let verb = if report.dry_run { "differ" } else { "corrected" };
    println!(
        "groups   {} listed, {} compared, {} skipped; {verb}: {} added, {} changed, {} destroyed",
        report.groups_listed,
        report.groups_checked,
        report.skipped,
        report.groups_added,
        report.groups_changed,
        report.groups_destroyed
    );
    println!(
        "members  {verb}: {} added, {} removed, {} changed",
        report.members_added, report.members_removed, report.members_changed
    );
    let calls = [Command::GroupList, Command::GroupInfo, Command::MemberInfo, Command::Role];
    let calls = calls.map(|command| format!("{} {command}", reconcile.chat.calls(command)));
    println!("calls    {}, in {seconds} s", calls.join(", "));
    if !report.finished {
        println!("The pass is not finished: the next run goes on.");
    }
}
