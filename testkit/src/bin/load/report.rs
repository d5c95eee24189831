//! The costs as a table, and their limits.

use std::error::Error;

use super::costs::{Cost, Row, SIZES};

/// A figure in one group may be so many times that in another.
const LIMIT: f64 = 1.5;

/// Times may differ by so much more, in milliseconds: one event is measured, and other programs run meanwhile. A walk
/// through 100,000 members takes seconds.
const MS_TOLERANCE: f64 = 100.0;

/// One of the costs.
type Figure = fn(&Cost) -> f64;

/// Prints the costs, in Markdown.
pub fn print(rows: &[Row]) {
    let sizes = SIZES.map(|size| size.to_string()).join(" / ");
    println!("One event into groups of {sizes} members:\n");
    println!("| function | event | requests | read units | write units | ms | peak memory, MB |");
    println!("| --- | --- | ---: | ---: | ---: | ---: | ---: |");
    for row in rows {
        let cell = |figure: Figure, digits: usize| {
            let figures = row.costs.iter().map(|cost| format!("{:.digits$}", figure(cost)));
            figures.collect::<Vec<_>>().join(" / ")
        };
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.function,
            row.event,
            cell(|cost| cost.requests, 0),
            cell(|cost| cost.read_units, 1),
            cell(|cost| cost.write_units, 0),
            cell(|cost| cost.ms, 1),
            cell(|cost| cost.megabytes, 1),
        );
    }
}

/// Fails where a figure follows the size of the group.
pub fn check(rows: &[Row]) -> Result<(), Box<dyn Error>> {
    let mut missed = Vec::new();
    for row in rows.iter().filter(|row| row.is_limited) {
        let figures: [(&str, Figure, f64); 5] = [
            ("requests", |cost| cost.requests, 0.0),
            ("read units", |cost| cost.read_units, 0.0),
            ("write units", |cost| cost.write_units, 0.0),
            ("ms", |cost| cost.ms, MS_TOLERANCE),
            ("peak memory", |cost| cost.megabytes, 0.0),
        ];
        for (name, figure, tolerance) in figures {
            let figures = row.costs.iter().map(figure);
            let (least, most) = figures
                .fold((f64::MAX, 0.0_f64), |(least, most), figure| (least.min(figure), most.max(figure)));
            if most > least * LIMIT + tolerance {
                missed.push(format!("{}, {}: {name} from {least:.1} to {most:.1}", row.function, row.event));
            }
        }
    }
    if missed.is_empty() {
        println!("\nThe figures of each event are the same in all groups, within a factor of {LIMIT}.");
        return Ok(());
    }
    Err(format!("expected figures within a factor of {LIMIT} in all groups: {}", missed.join("; ")).into())
}
