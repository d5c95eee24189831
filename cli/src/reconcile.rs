//! The function `reconcile` from a laptop, against a deployed table. It writes only with `APPLY=1`.

use std::cell::RefCell;
use std::error::Error;
use std::time::Duration;

use chat_groups::chat::Command;
use chat_groups::config::ReconcileSettings;
use chat_groups::reconcile::{
    Change, Correction, Note, Reconcile, ReconcileError, ReconcileRequest, Report, end_within,
};
use clap::builder::BoolishValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// The time limit of one call, as in AWS. A pass takes as many calls as it needs, one after the other.
const TIME_LIMIT: Duration = Duration::from_secs(900);

/// How many accounts of a group are named.
const NAMES_MAX: usize = 5;

/// Compares a deployed table with Chat's REST API; a dry run unless --apply
///
/// It reads the settings of the function reconcile from the environment: TABLE_NAME, SDK_APP_ID, CHAT_API_URL,
/// CHAT_ADMIN_ACCOUNT, CHAT_SECRET_KEY or CHAT_SECRET_KEY_ID, and CHAT_REQUESTS_PER_SECOND.
///
/// It makes the function's calls one after the other until the pass is finished. Interrupted, the next run goes on where this
/// one stopped.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Writes what differs
    #[arg(long, env = "APPLY", value_parser = BoolishValueParser::new())]
    apply: bool,
    /// Lists the members of every group, not of every 24th one that seems unchanged: all
    #[arg(long, env = "MEMBERS", value_name = "all")]
    members: Option<String>,
    /// Compares these groups only, a JSON array of GroupIds such as '["@TGS#1"]'
    #[arg(long, env = "GROUP_IDS", value_name = "JSON")]
    group_ids: Option<String>,
    /// Allows a pass to destroy more than 20 groups and more than a tenth of them, for which it fails otherwise
    #[arg(long, env = "ALLOW_DESTROY", value_parser = BoolishValueParser::new())]
    allow_destroy: bool,
}

/// Makes one pass and sums it up.
pub async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let request = request(args)?;
    let settings = ReconcileSettings::from_env(&|name| std::env::var(name))?;
    println!(
        "application {}, table {}: {}",
        settings.chat.sdk_app_id,
        settings.table_name,
        if request.dry_run { "a dry run; APPLY=1 writes what differs" } else { "what differs is written" }
    );
    let reconcile = Reconcile::from_settings(settings).await?;
    let bar = bar(count(&reconcile, &request).await?)?;
    let start = Instant::now();
    let total = RefCell::new(Report::default());
    let result = tokio::select! {
        result = pass(&reconcile, &request, &bar, &total) => result,
        result = tokio::signal::ctrl_c() => {
            result?;
            reconcile.release(&request).await?;
            return Err("interrupted; the next run goes on from the last checkpoint".into());
        }
    };
    bar.finish_and_clear();
    summarize(&total.into_inner(), &reconcile, start.elapsed().as_secs());
    Ok(result?)
}

/// Calls the function until the pass has come to its end, and sums its reports up. Named groups take one call.
async fn pass(
    reconcile: &Reconcile,
    request: &ReconcileRequest,
    bar: &ProgressBar,
    total: &RefCell<Report>,
) -> Result<(), ReconcileError> {
    loop {
        let before = total.borrow().groups_checked;
        let observe = |note: &Note<'_>| match note {
            Note::Corrected(correction) => bar.suspend(|| println!("{}", describe(correction))),
            Note::Skipped { group_id, error } => bar.suspend(|| println!("skipped    {group_id}: {error}")),
            Note::Progress(report) => bar.set_position(before + report.groups_checked),
            Note::Reconciled(ended) | Note::Waiting(ended) | Note::Failed(ended) => {
                add(&mut total.borrow_mut(), &ended.report);
            }
        };
        let report = reconcile.run(request, end_within(TIME_LIMIT), &observe).await?;
        if report.finished || request.group_ids.is_some() {
            return Ok(());
        }
    }
}

/// Adds the report of the next call of a pass.
fn add(total: &mut Report, next: &Report) {
    (total.dry_run, total.finished) = (next.dry_run, next.finished);
    total.groups_listed += next.groups_listed;
    total.groups_checked += next.groups_checked;
    total.groups_added += next.groups_added;
    total.groups_changed += next.groups_changed;
    total.groups_destroyed += next.groups_destroyed;
    total.members_added += next.members_added;
    total.members_removed += next.members_removed;
    total.members_changed += next.members_changed;
    total.skipped += next.skipped;
}

/// The function's event that asks for the same.
fn request(args: Args) -> Result<ReconcileRequest, Box<dyn Error>> {
    let mut event = serde_json::json!({ "dry_run": !args.apply, "allow_destroy": args.allow_destroy });
    if let Some(members) = args.members {
        event["members"] = members.into();
    }
    if let Some(group_ids) = args.group_ids {
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
    let list = reconcile.chat.until(Instant::now() + Duration::from_secs(30)).groups(0, 1).await?;
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
