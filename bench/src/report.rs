//! What was measured, as tables and as a chart.

use std::fmt::Write;
use std::time::Duration;

use crate::Function;
use crate::lambda::Run;

/// Everything that was measured; the runs of each part stand in the order of the functions.
pub struct Measured {
    pub functions: Vec<Function>,
    pub cold: Vec<Vec<Run>>,
    /// Fresh processes without a bundle, over plain HTTP.
    pub trust: Vec<Vec<Run>>,
    /// Events without a pause.
    pub warm: Vec<Vec<Run>>,
    /// Events that find the function idle.
    pub paced: Vec<Vec<Run>>,
    pub sizes: Vec<(usize, Vec<Vec<Run>>)>,
    /// Ours by the members of a group, with answers held back so that the waves of requests can be told apart.
    pub waves: Vec<(usize, Run)>,
    /// By memory size; nothing where this machine allows no quota.
    pub shares: Vec<(u64, Option<Vec<Vec<Run>>>)>,
}

/// The positions of the three that the limits are about.
const FLOOR: usize = 0;
const USUAL: usize = 1;
const OURS: usize = 2;

/// The limit of the zip file.
const ZIP_MAX_BYTES: f64 = 2_500_000.0;

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
}

fn spread(runs: &[Run], figure: impl Fn(&Run) -> f64) -> Spread {
    Spread::of(runs.iter().map(figure).collect())
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A figure that not many events of one process stay above.
fn percentile(runs: &[Run], part: f64) -> f64 {
    let mut all: Vec<f64> = runs.iter().flat_map(|run| run.warm.iter().copied().map(ms)).collect();
    all.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    all.get((all.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

/// A row that compares the functions.
struct Row<'a> {
    figure: &'a str,
    /// At most so many times the floor.
    limit: Option<u32>,
    digits: usize,
    runs: &'a [Vec<Run>],
    of: &'a dyn Fn(&Run) -> f64,
}

/// All tables, in Markdown.
pub fn tables(measured: &Measured) -> String {
    let mut out = String::new();
    match write_tables(&mut out, measured) {
        Ok(()) => out,
        Err(error) => format!("{out}\n{error}\n"),
    }
}

fn write_tables(out: &mut String, measured: &Measured) -> std::fmt::Result {
    let Measured { functions, cold, trust, warm, paced, sizes, waves, shares } = measured;
    let names: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    let header = format!("| {} |", names.join(" | "));
    let rule = format!("|{}", " ---: |".repeat(names.len()));

    writeln!(
        out,
        "Two members, full CPU: median (quartiles) of {} fresh processes, of {} for what comes after the first event.\n",
        cold[OURS].len(),
        warm[OURS].len()
    )?;
    writeln!(out, "| figure {header} {} / {} | limit |", names[OURS], names[FLOOR])?;
    writeln!(out, "| --- {rule} ---: | ---: |")?;
    let rows = [
        Row {
            figure: "start to ready for an event, ms",
            limit: Some(3),
            digits: 2,
            runs: cold,
            of: &|run| ms(run.ready),
        },
        Row {
            figure: "start to first answer, ms",
            limit: Some(6),
            digits: 2,
            runs: cold,
            of: &|run| ms(run.first),
        },
        Row {
            figure: "CPU until ready, ms",
            limit: None,
            digits: 2,
            runs: cold,
            of: &|run| ms(run.ready_cpu),
        },
        Row {
            figure: "CPU until the first answer, ms",
            limit: None,
            digits: 2,
            runs: cold,
            of: &|run| ms(run.first_cpu),
        },
        Row {
            figure: "CPU until the first answer, default trust, no TLS, ms",
            limit: None,
            digits: 2,
            runs: trust,
            of: &|run| ms(run.first_cpu),
        },
        Row {
            figure: "CPU for a warm event, idle before, ms",
            limit: Some(4),
            digits: 3,
            runs: paced,
            of: &event_cpu,
        },
        Row {
            figure: "CPU for a warm event, no pause, ms",
            limit: Some(4),
            digits: 3,
            runs: warm,
            of: &event_cpu,
        },
        Row {
            figure: "peak memory after 1,000 events, MB",
            limit: Some(3),
            digits: 1,
            runs: warm,
            of: &megabytes,
        },
        Row {
            figure: "events a second, one process",
            limit: None,
            digits: 0,
            runs: warm,
            of: &|run| events(run) / run.warm_wall.as_secs_f64(),
        },
    ];
    for row in &rows {
        let spreads: Vec<Spread> = row.runs.iter().map(|runs| spread(runs, row.of)).collect();
        let ratio = spreads[OURS].median / spreads[FLOOR].median;
        let limit = row.limit.map(|limit| format!("{limit} ×")).unwrap_or_default();
        writeln!(out, "| {}{} | {ratio:.1} × | {limit} |", row.figure, cells(&spreads, row.digits))?;
    }
    let zips: Vec<String> = functions.iter().map(|function| format!("{:.2}", mb(function.zip))).collect();
    writeln!(out, "| zip, MB | {} | | {:.1} |", zips.join(" | "), ZIP_MAX_BYTES / 1e6)?;
    let first = |index: usize| spread(&cold[index], |run| ms(run.first)).median;
    writeln!(
        out,
        "\nFirst answer: {:.1} times as fast as {} (at least 6).\n",
        first(USUAL) / first(OURS),
        names[USUAL]
    )?;

    writeln!(out, "At the CPU share of Lambda's memory sizes, two members.\n")?;
    writeln!(out, "| memory | figure {header}\n| ---: | --- {rule}")?;
    for (megabytes, runs) in shares {
        let Some(runs) = runs else {
            writeln!(out, "| {megabytes} MB | not measured: this machine allows no CPU quota |")?;
            continue;
        };
        let spreads: Vec<Spread> = runs.iter().map(|runs| spread(runs, |run| ms(run.first))).collect();
        writeln!(out, "| {megabytes} MB | start to first answer, ms{} |", cells(&spreads, 1))?;
        for (figure, part) in [("warm event, p50, ms", 0.5), ("warm event, p99, ms", 0.99)] {
            let values: Vec<String> =
                runs.iter().map(|runs| format!("{:.2}", percentile(runs, part))).collect();
            writeln!(out, "| {megabytes} MB | {figure} | {} |", values.join(" | "))?;
        }
    }

    writeln!(out, "\nBy members of the group, full CPU.\n")?;
    writeln!(out, "| members | figure {header}\n| ---: | --- {rule}")?;
    for (members, runs) in
        std::iter::once((&2, paced)).chain(sizes.iter().map(|(members, runs)| (members, runs)))
    {
        let spreads: Vec<Spread> = runs.iter().map(|runs| spread(runs, |run| ms(run.first))).collect();
        writeln!(out, "| {members} | start to first answer, ms{} |", cells(&spreads, 2))?;
        for (figure, part) in [("warm event, p50, ms", 0.5), ("warm event, p99, ms", 0.99)] {
            let values: Vec<String> =
                runs.iter().map(|runs| format!("{:.2}", percentile(runs, part))).collect();
            writeln!(out, "| {members} | {figure} | {} |", values.join(" | "))?;
        }
    }

    writeln!(out, "\nWhat {} asks of DynamoDB for one event.\n", names[OURS])?;
    writeln!(out, "| members | requests | waves | write units, index included |")?;
    writeln!(out, "| ---: | ---: | ---: | ---: |")?;
    for (members, Run { requests, waves, write_units, .. }) in waves {
        writeln!(out, "| {members} | {requests} | {waves} | {write_units} |")?;
    }
    Ok(())
}

fn cells(spreads: &[Spread], digits: usize) -> String {
    spreads.iter().fold(String::new(), |mut text, Spread { low, median, high }| {
        text.push_str(&format!(" | {median:.digits$} ({low:.digits$}–{high:.digits$})"));
        text
    })
}

#[expect(clippy::cast_precision_loss)]
fn events(run: &Run) -> f64 {
    run.warm.len() as f64
}

fn event_cpu(run: &Run) -> f64 {
    ms(run.warm_cpu) / events(run)
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
