//! What was measured, as tables and as a chart.

use std::time::Duration;

use crate::lambda::{Kind, Run};
use crate::{Function, Zip};

/// Everything that was measured; the runs of each part stand in the order of the functions.
pub struct Measured {
    pub functions: Vec<Function>,
    pub zips: Vec<Zip>,
    pub cold: Vec<Vec<Run>>,
    /// Fresh processes without a bundle, over plain HTTP.
    pub trust: Vec<Vec<Run>>,
    pub warm: Vec<Warm>,
    pub events: Events,
    /// Ours and others to compare it with, which get batches.
    pub batches: Vec<Function>,
    pub batch_events: Events,
    /// Ours by the members of a group, with answers held back so that the waves of requests can be told apart.
    pub requests: Vec<(usize, Run)>,
    /// By memory size; nothing where this machine allows no quota.
    pub shares: Vec<(u64, Option<Vec<Vec<Run>>>)>,
    /// Joins at the CPU share that the functions have.
    pub joins: Option<Warm>,
    /// A large group there, cold, on a table that takes its time.
    pub large: Option<Vec<Vec<Run>>>,
    /// Ours without and with forwarding.
    pub forward_cold: Vec<Vec<Run>>,
    pub forward_warm: Vec<Vec<Run>>,
}

/// What later events cost, by the accounts that they name.
pub struct Events {
    pub runs: Vec<(Kind, Vec<Vec<Run>>)>,
    /// The instructions of one event; empty where valgrind is not installed.
    pub instructions: Vec<(Kind, Vec<f64>)>,
}

/// What later events of a kind cost.
pub struct Warm {
    pub kind: Kind,
    /// Without a pause.
    pub busy: Vec<Vec<Run>>,
    /// Each finds the function idle.
    pub idle: Vec<Vec<Run>>,
}

/// The positions of the three that the limits are about.
pub const FLOOR: usize = 0;
pub const USUAL: usize = 1;
pub const OURS: usize = 2;

/// The limit of the zip file.
const ZIP_MAX_BYTES: u64 = 2_600_000;
/// So many times as fast as usual the first answer must be.
const FASTER_THAN_USUAL: f64 = 6.0;
/// The most statements in one batch.
const BATCH: usize = 25;
/// What the table may take of an event's time, in milliseconds.
const BUDGET_MS: f64 = 900.0;

/// Median and quartiles.
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |part: usize| values.get((values.len() - 1) * part / 4).copied().unwrap_or(f64::NAN);
        Self { low: at(1), median: at(2), high: at(3) }
    }

    fn cell(&self, digits: usize) -> String {
        let Self { low, median, high } = self;
        format!("{median:.digits$} ({low:.digits$}–{high:.digits$})")
    }
}

fn spread(runs: &[Run], figure: impl Fn(&Run) -> f64) -> Spread {
    Spread::of(runs.iter().map(figure).collect())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn first_ms(run: &Run) -> f64 {
    ms(run.first)
}

fn first_cpu(run: &Run) -> f64 {
    ms(run.first_cpu)
}

/// A figure that not many events of one process stay above.
fn percentile(runs: &[Run], part: f64) -> f64 {
    let mut all: Vec<f64> = runs.iter().flat_map(|run| run.warm.iter().copied().map(ms)).collect();
    all.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    all.get((all.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

/// The runs of every function, and what is of interest in each.
type Figure<'a> = (&'a [Vec<Run>], fn(&Run) -> f64);

/// The tables, in Markdown, as they grow.
#[derive(Default)]
struct Report {
    text: String,
    missed: Vec<String>,
}

/// All tables.
pub fn tables(measured: &Measured) -> String {
    let mut report = Report::default();
    report.overview(measured);
    report.shares(measured);
    report.sizes(&measured.functions, &measured.events);
    report.events(&measured.functions, OURS, &measured.events);
    report.events(&measured.batches, 0, &measured.batch_events);
    report.requests(&measured.requests);
    report.large(measured);
    report.forward(measured);
    report.line(match report.missed.as_slice() {
        [] => "\nEvery limit is kept.".to_owned(),
        missed => format!("\nNot kept: {}.", missed.join("; ")),
    });
    report.text
}

/// The table of what warm events cost.
pub fn events(functions: &[Function], ours: usize, events: &Events) -> String {
    let mut report = Report::default();
    report.events(functions, ours, events);
    report.text
}

impl Report {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    fn cells(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        self.line(format!("| {} |", cells.join(" | ")));
    }

    /// A table's title and head: columns of text, then of numbers.
    fn head(&mut self, title: &str, texts: &[&str], numbers: &[&str]) {
        self.line(format!("\n{title}\n"));
        self.cells(texts.iter().chain(numbers).map(|name| (*name).to_owned()));
        self.cells(texts.iter().map(|_| "---".to_owned()).chain(numbers.iter().map(|_| "---:".to_owned())));
    }

    /// Notes a limit that is not kept.
    fn check(&mut self, is_kept: bool, what: &str) {
        if !is_kept {
            self.missed.push(what.to_owned());
        }
    }

    fn overview(&mut self, measured: &Measured) {
        let Measured { functions, cold, trust, warm, joins, .. } = measured;
        let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
        let ratio = format!("{} / {}", names[OURS], names[FLOOR]);
        let numbers: Vec<&str> = names.iter().copied().chain([ratio.as_str(), "limit"]).collect();
        let title = format!(
            "Full CPU: median (quartiles) of {} fresh processes whose first event is a creation of two, of {} for later \
             events.",
            cold[OURS].len(),
            warm.first().map_or(0, |warm| warm.busy[OURS].len())
        );
        self.head(&title, &["figure"], &numbers);
        self.row("start to ready for an event, ms", Some(2.0), 2, (cold, |run| ms(run.ready)));
        self.row("start to first answer, ms", Some(4.0), 2, (cold, first_ms));
        self.row("CPU until ready, ms", None, 2, (cold, |run| ms(run.ready_cpu)));
        self.row("CPU until the first answer, ms", None, 2, (cold, first_cpu));
        self.row("CPU until the first answer, default trust, no TLS, ms", None, 2, (trust, first_cpu));
        warm.iter().for_each(|warm| self.warm("", warm));
        joins.iter().for_each(|warm| self.warm(" at the share of 512 MB", warm));
        if let Some(Warm { busy, .. }) = warm.last() {
            self.row("peak memory after 1,000 creations of two, MB", Some(3.0), 1, (busy, megabytes));
            let a_second = |run: &Run| event_count(run) / run.warm_wall.as_secs_f64();
            self.row("creations of two a second, one process", None, 0, (busy, a_second));
        }
        self.versus_usual(measured);
    }

    fn warm(&mut self, place: &str, Warm { kind, busy, idle }: &Warm) {
        let (what, limit) = match kind {
            Kind::Creation(0) => ("creation without members", 4.0),
            Kind::Creation(_) | Kind::Batch(_) => ("creation of two", 6.5),
            Kind::Join => ("join of one", 4.0),
        };
        self.row(&format!("CPU, {what}{place}, idle before, ms"), Some(limit), 3, (idle, event_cpu));
        self.row(&format!("CPU, {what}{place}, no pause, ms"), Some(limit), 3, (busy, event_cpu));
    }

    /// A row that compares the functions; ours may be at most `limit` times the floor.
    fn row(&mut self, figure: &str, limit: Option<f64>, digits: usize, (runs, of): Figure<'_>) {
        let spreads: Vec<Spread> = runs.iter().map(|runs| spread(runs, of)).collect();
        let ratio = spreads[OURS].median / spreads[FLOOR].median;
        self.check(limit.is_none_or(|limit| ratio <= limit), figure);
        let limit = limit.map(|limit| format!("{limit} ×")).unwrap_or_default();
        let cells = spreads.iter().map(|spread| spread.cell(digits));
        let cells = std::iter::once(figure.to_owned()).chain(cells);
        self.cells(cells.chain([format!("{ratio:.1} ×"), limit]));
    }

    fn versus_usual(&mut self, measured: &Measured) {
        let first = |index: usize| spread(&measured.cold[index], first_ms).median;
        let faster = first(USUAL) / first(OURS);
        self.check(faster >= FASTER_THAN_USUAL, "first answer beside usual");
        self.check(measured.zips[OURS].bytes <= ZIP_MAX_BYTES, "zip");
        let zips: Vec<String> =
            measured.zips.iter().map(|zip| format!("{} {:.2} MB", zip.name, mb(zip.bytes))).collect();
        self.line(format!(
            "\nFirst answer: {faster:.1} times as fast as {} (at least {FASTER_THAN_USUAL}). Zip: {} ({} at most {} MB).",
            measured.functions[USUAL].name,
            zips.join(", "),
            measured.zips[OURS].name,
            mb(ZIP_MAX_BYTES),
        ));
    }

    fn shares(&mut self, measured: &Measured) {
        let names: Vec<&str> = measured.functions.iter().map(|function| function.name.as_str()).collect();
        self.head(
            "At the CPU share of Lambda's memory sizes, a creation of two.",
            &["memory", "figure"],
            &names,
        );
        for (megabytes, runs) in &measured.shares {
            let label = format!("{megabytes} MB");
            match runs {
                Some(runs) => self.times(&label, runs, 1),
                None => self.cells([label, "not measured: this machine allows no CPU quota".to_owned()]),
            }
        }
    }

    fn sizes(&mut self, functions: &[Function], events: &Events) {
        let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
        self.head("How long an event takes, full CPU.", &["event", "figure"], &names);
        events.runs.iter().for_each(|(kind, runs)| self.times(&kind.name(), runs, 2));
    }

    /// CPU and instructions, ours beside each of the others but the first.
    fn events(&mut self, functions: &[Function], ours: usize, events: &Events) {
        let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
        let others = || (1..functions.len()).filter(|index| *index != ours);
        let ratios: Vec<String> =
            others().map(|other| format!("{} / {}", names[ours], names[other])).collect();
        let numbers: Vec<&str> = names.iter().copied().chain(ratios.iter().map(String::as_str)).collect();
        self.head("What a warm event takes, no pause, full CPU.", &["event", "figure"], &numbers);
        let mut row = |kind: &Kind, figure: &str, values: Vec<f64>, cells: Vec<String>| {
            let ratios = others().map(|other| format!("{:.2} ×", values[ours] / values[other]));
            self.cells([kind.name(), figure.to_owned()].into_iter().chain(cells).chain(ratios));
        };
        for (kind, runs) in &events.runs {
            let spreads: Vec<Spread> = runs.iter().map(|runs| spread(runs, event_cpu)).collect();
            let cells = spreads.iter().map(|spread| spread.cell(3)).collect();
            row(kind, "CPU, ms", spreads.iter().map(|spread| spread.median).collect(), cells);
        }
        for (kind, counts) in &events.instructions {
            let cells = counts.iter().map(|count| format!("{:.0}", count / 1e3)).collect();
            row(kind, "thousands of instructions, the kernel's left out", counts.clone(), cells);
        }
        if events.instructions.is_empty() {
            self.line("\nInstructions are not counted, as valgrind is not installed.");
        }
    }

    /// The rows that tell how long somebody waits.
    fn times(&mut self, label: &str, runs: &[Vec<Run>], digits: usize) {
        let label = label.to_owned();
        let first = runs.iter().map(|runs| spread(runs, first_ms).cell(digits));
        self.cells([label.clone(), "start to first answer, ms".to_owned()].into_iter().chain(first));
        for (figure, part) in [("warm event, p50, ms", 0.5), ("warm event, p99, ms", 0.99)] {
            let values = runs.iter().map(|runs| format!("{:.2}", percentile(runs, part)));
            self.cells([label.clone(), figure.to_owned()].into_iter().chain(values));
        }
    }

    #[expect(clippy::cast_precision_loss)]
    fn requests(&mut self, by_members: &[(usize, Run)]) {
        let numbers = ["members", "requests", "at most", "waves", "write units, index included", "at most"];
        self.head("What webhook asks of DynamoDB for a creation.", &[], &numbers);
        for (members, run) in by_members {
            let most = members.div_ceil(BATCH) + 1 + usize::from(*members > BATCH);
            let most_units = 2 * (members + 1);
            self.check(run.requests <= most, &format!("requests for {members} members"));
            self.check(run.write_units <= most_units as f64, &format!("write units for {members} members"));
            let counts = [*members, run.requests, most, run.waves].map(|count| count.to_string());
            self.cells(counts.into_iter().chain([run.write_units.to_string(), most_units.to_string()]));
        }
    }

    fn large(&mut self, measured: &Measured) {
        let Some(runs) = &measured.large else { return };
        let title = "A creation of 500 as the first event, at the CPU share of 512 MB, each request to DynamoDB taking 5 ms: \
                     at most 900 ms in the handler.";
        let numbers = ["outcomes", "in the handler, ms", "start to first answer, ms"];
        self.head(title, &["function"], &numbers);
        for (function, runs) in measured.functions.iter().zip(runs).skip(USUAL) {
            let handler = spread(runs, |run| run.record["duration_ms"].as_f64().unwrap_or(f64::NAN));
            let first = spread(runs, first_ms);
            self.cells([function.name.clone(), outcomes(runs), handler.cell(0), first.cell(0)]);
        }
        let is_stored = |run: &Run| {
            run.record["outcome"] == "stored"
                && run.record["duration_ms"].as_f64().is_some_and(|ms| ms <= BUDGET_MS)
        };
        self.check(runs[OURS].iter().all(is_stored), "500 members stored in time");
    }

    fn forward(&mut self, measured: &Measured) {
        let (cold, warm) = (&measured.forward_cold, &measured.forward_warm);
        let title = "What forwarding adds to a creation of two, with a downstream receiver on loopback, over plain HTTP.";
        self.head(title, &["figure"], &["without FORWARD_URL", "with it"]);
        let mut row = |figure: &str, runs: &[Vec<Run>], of: fn(&Run) -> f64| {
            let cells = runs.iter().map(|runs| spread(runs, of).cell(3));
            self.cells(std::iter::once(figure.to_owned()).chain(cells));
        };
        row("start to ready for an event, ms", cold, |run| ms(run.ready));
        row("start to first answer, ms", cold, first_ms);
        row("CPU until the first answer, ms", cold, first_cpu);
        row("CPU for a warm event, no pause, ms", warm, event_cpu);
        row("peak memory after 1,000 events, MB", warm, megabytes);
        let p50 = warm.iter().map(|runs| format!("{:.3}", percentile(runs, 0.5)));
        self.cells(std::iter::once("warm event, p50, ms".to_owned()).chain(p50));
        let is = |runs: &[Run], forward: &str| runs.iter().all(|run| run.record["forward"] == forward);
        self.check(is(&cold[1], "ok") && is(&warm[1], "ok"), "every event forwarded");
    }
}

/// How many runs ended how, as the function logged it.
fn outcomes(runs: &[Run]) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for run in runs {
        *counts.entry(run.record["outcome"].as_str().unwrap_or("none")).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    counts.join(", ")
}

#[expect(clippy::cast_precision_loss)]
fn event_count(run: &Run) -> f64 {
    run.warm.len() as f64
}

fn event_cpu(run: &Run) -> f64 {
    ms(run.warm_cpu) / event_count(run)
}

#[expect(clippy::cast_precision_loss)]
fn megabytes(run: &Run) -> f64 {
    run.peak_kib as f64 * 1024.0 / 1e6
}

#[expect(clippy::cast_precision_loss)]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A bar for each function at each CPU share: from the process's start to its first answer.
pub fn chart(measured: &Measured) -> String {
    let full = ("full CPU".to_owned(), &measured.cold);
    let shares = measured
        .shares
        .iter()
        .rev()
        .filter_map(|(megabytes, runs)| Some((format!("{megabytes} MB"), runs.as_ref()?)));
    let mut body = String::new();
    let mut y = 56.0;
    for (label, runs) in std::iter::once(full).chain(shares) {
        let bars: Vec<(f64, f64)> = runs
            .iter()
            .take(OURS + 1)
            .map(|runs| (spread(runs, |run| ms(run.ready)).median, spread(runs, |run| ms(run.first)).median))
            .collect();
        let longest = bars.iter().map(|(_, first)| *first).fold(0.0, f64::max);
        body.push_str(&format!("<text x=\"8\" y=\"{}\" class=\"share\">{label}</text>\n", y + 32.0));
        for ((ready, first), function) in bars.into_iter().zip(&measured.functions) {
            let width = |value: f64| (420.0 * value / longest).max(1.0);
            body.push_str(&format!(
                "<text x=\"170\" y=\"{0}\" class=\"name\">{1}</text>\
                 <rect x=\"180\" y=\"{2}\" width=\"{3:.1}\" height=\"14\" class=\"first\"/>\
                 <rect x=\"180\" y=\"{2}\" width=\"{4:.1}\" height=\"14\" class=\"ready\"/>\
                 <text x=\"{5:.1}\" y=\"{0}\">{first:.1} ms</text>\n",
                y + 12.0,
                function.name,
                y,
                width(first),
                width(ready),
                188.0 + width(first),
            ));
            y += 18.0;
        }
        y += 14.0;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 {y}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <style>text {{ fill: #333 }} .title {{ font-size: 14px; font-weight: bold }} .share {{ font-weight: bold }}\n\
         .name {{ text-anchor: end }} .ready {{ fill: #2f6f9f }} .first {{ fill: #8fbbdb }}</style>\n\
         <rect width=\"720\" height=\"{y}\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"20\" class=\"title\">From process start to the first answer: TLS handshake and write included</text>\n\
         <rect x=\"8\" y=\"30\" width=\"12\" height=\"12\" class=\"ready\"/><text x=\"24\" y=\"40\">ready for an event</text>\n\
         <rect x=\"150\" y=\"30\" width=\"12\" height=\"12\" class=\"first\"/><text x=\"166\" y=\"40\">first answer; \
         each group of bars to its own scale</text>\n{body}</svg>\n"
    )
}
