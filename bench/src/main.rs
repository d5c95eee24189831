//! Measures functions side by side in one run: an empty one, the usual one, ours.
//!
//! Arguments: `name=binary` for each; the first is the floor, the second the usual one, the third ours, and more may
//! follow to compare ours with. A `batch:name=binary` is a redrive, which gets batches of queued creations; more may follow
//! to compare it with. Of `zip:name=binary` only the size is taken. After a first argument `events`, only the
//! costs of warm events are measured.

mod cpu;
// Some files of `testkit`; the crate would bring the AWS SDK, to be compiled a third time.
#[path = "../../testkit/src/table.rs"]
#[allow(dead_code)]
mod database;
mod dynamodb;
mod lambda;
mod receiver;
mod report;
#[path = "../../testkit/src/runtime_api.rs"]
mod runtime_api;
#[path = "../../testkit/src/tls.rs"]
mod tls;
#[path = "../../testkit/src/wire.rs"]
mod wire;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cpu::Share;
use lambda::{Kind, Run, Way, Work};
use report::{Events, Measured, Warm};

/// Fresh processes for each cold figure.
const COLD_PROCESSES: usize = 30;
/// The events whose warm figures are limited; the last is that of the cold figures.
const KINDS: [Kind; 3] = [Kind::Creation(0), Kind::Join, Kind::Creation(2)];
/// Fresh processes for each warm figure, and their events.
const WARM_PROCESSES: usize = 5;
const WARM_EVENTS: usize = 1_000;
/// Fresh processes for what an event costs that finds the function idle, their events, and the idle time.
const PACED_PROCESSES: usize = 5;
const PACED_EVENTS: usize = 200;
const PACE: Duration = Duration::from_millis(5);
/// The sizes of groups whose requests are counted.
const GROUP_SIZES: [usize; 4] = [2, 20, 99, 500];
/// The events that are measured apart, those of redrive, and the fresh processes for each.
const EVENTS: [Kind; 5] =
    [Kind::Creation(2), Kind::Creation(20), Kind::Creation(99), Kind::Creation(500), Kind::Join];
const BATCH: Kind = Kind::Batch(10);
const GROUP_PROCESSES: usize = 5;
/// So many members are written by one process, so that all sizes take about the same time.
const GROUP_MEMBERS: usize = 20_000;
/// The events whose instructions are counted: the difference between two fresh processes that get so many of them. Larger
/// groups would not be stored in time.
const COUNTED: [Kind; 4] = [Kind::Creation(2), Kind::Creation(20), Kind::Creation(99), Kind::Join];
const FEW_EVENTS: (usize, usize) = (10, 60);
const FEW_BATCHES: (usize, usize) = (2, 8);
/// How long answers are held back where requests are counted.
const HOLD: Duration = Duration::from_millis(100);
/// Lambda's memory sizes, and the fresh processes for each.
const MEMORY_SIZES: [u64; 3] = [128, 256, 512];
const SHARE_PROCESSES: usize = 12;
/// The memory size that the functions have, and what is measured there: joins, and a large group on a slow table.
const MEMORY_SIZE: u64 = 512;
const LARGE_GROUP: Kind = Kind::Creation(500);
const LARGE_HOLD: Duration = Duration::from_millis(5);

/// A function that is measured.
pub struct Function {
    /// What it is called in the tables.
    pub name: String,
    binary: PathBuf,
    /// GLIBC_TUNABLES, which the template sets for ours.
    tunables: Option<&'static str>,
}

/// The bytes of a zip file with a binary as `bootstrap`.
pub struct Zip {
    pub name: String,
    pub bytes: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("chat-groups-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = measure(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    let Some(measured) = result? else { return Ok(()) };
    print!("{}", report::tables(&measured));
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("chart.svg");
    std::fs::write(&chart, report::chart(&measured))?;
    eprintln!("wrote {}", chart.display());
    Ok(())
}

/// Measures everything; `None` where the costs of warm events alone were asked for, and are printed.
async fn measure(folder: &Path) -> Result<Option<Measured>, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let only_events = arguments.next_if_eq("events").is_some();
    let Functions { functions, batches, zips } = functions(arguments, folder)?;
    let bench = Bench { functions: &functions, folder };
    let redrives = Bench { functions: &batches, folder };
    let full = Share::all();
    let work = Work {
        function: &functions[report::OURS],
        share: &full,
        kind: Kind::Creation(2),
        events: 2,
        pause: Duration::ZERO,
        way: Way::Tls,
        hold: Duration::ZERO,
        forward: false,
        counts_instructions: false,
    };
    if only_events {
        print!("{}", report::events(&functions, report::OURS, &bench.events(&EVENTS, &COUNTED, work).await?));
        print!("{}", report::events(&batches, 0, &redrives.events(&[BATCH], &[BATCH], work).await?));
        return Ok(None);
    }
    eprintln!("cold, at full CPU");
    let cold = bench.all(COLD_PROCESSES, work).await?;
    eprintln!("cold, with the trust that is there without a bundle");
    let trust = bench.all(COLD_PROCESSES, Work { way: Way::DefaultTrust, ..work }).await?;
    let mut warm = Vec::new();
    for kind in KINDS {
        warm.push(bench.warm(kind, work).await?);
    }
    let events = bench.events(&EVENTS, &COUNTED, work).await?;
    let batch_events = redrives.events(&[BATCH], &[BATCH], work).await?;
    let requests = bench.requests(work).await?;
    let shares = bench.shares(work).await?;
    let (joins, large) = bench.at_memory_size(work).await?;
    let (forward_cold, forward_warm) = bench.forward(work).await?;
    Ok(Some(Measured {
        zips,
        cold,
        trust,
        warm,
        events,
        batches,
        batch_events,
        requests,
        shares,
        joins,
        large,
        forward_cold,
        forward_warm,
        functions,
    }))
}

/// The functions, and the folder for what a run needs.
struct Bench<'a> {
    functions: &'a [Function],
    folder: &'a Path,
}

/// The runs of one part, in the order of the functions.
type Runs = Vec<Vec<Run>>;

impl Bench<'_> {
    /// Runs every function.
    async fn all(&self, processes: usize, work: Work<'_>) -> Result<Runs, Box<dyn Error>> {
        let works: Vec<_> = self.functions.iter().map(|function| Work { function, ..work }).collect();
        self.interleaved(processes, &works).await
    }

    /// Takes the works in turns, so that whatever else the machine does meets all of them; back and forth, as each finds
    /// the caches as the one before it left them.
    async fn interleaved(&self, processes: usize, works: &[Work<'_>]) -> Result<Runs, Box<dyn Error>> {
        let mut runs: Runs = works.iter().map(|_| Vec::new()).collect();
        for round in 0..processes {
            let mut turn: Vec<_> = works.iter().zip(&mut runs).collect();
            if round % 2 == 1 {
                turn.reverse();
            }
            for (work, runs) in turn {
                let run = lambda::run(*work, self.folder).await;
                runs.push(run.map_err(|error| format!("{}: {error}", work.function.name))?);
            }
        }
        Ok(runs)
    }

    async fn warm(&self, kind: Kind, work: Work<'_>) -> Result<Warm, Box<dyn Error>> {
        eprintln!("warm, {kind:?}");
        let busy = Work { kind, events: 1 + WARM_EVENTS, ..work };
        let idle = Work { kind, events: 1 + PACED_EVENTS, pause: PACE, ..work };
        Ok(Warm {
            kind,
            busy: self.all(WARM_PROCESSES, busy).await?,
            idle: self.all(PACED_PROCESSES, idle).await?,
        })
    }

    /// What warm events cost, by the accounts that they name.
    async fn events(
        &self,
        kinds: &[Kind],
        counted: &[Kind],
        work: Work<'_>,
    ) -> Result<Events, Box<dyn Error>> {
        let mut runs = Vec::new();
        for &kind in kinds {
            eprintln!("warm, {}", kind.name());
            let accounts = match kind {
                Kind::Creation(members) => members,
                Kind::Join => 1,
                Kind::Batch(size) => size * 99,
            };
            let events = 1 + (GROUP_MEMBERS / accounts).min(WARM_EVENTS);
            runs.push((kind, self.all(GROUP_PROCESSES, Work { kind, events, ..work }).await?));
        }
        Ok(Events { runs, instructions: self.instructions(counted, work).await? })
    }

    /// The instructions of a warm event, by function; nothing where valgrind is not installed.
    async fn instructions(
        &self,
        counted: &[Kind],
        work: Work<'_>,
    ) -> Result<Vec<(Kind, Vec<f64>)>, Box<dyn Error>> {
        if Command::new("valgrind").arg("--version").output().is_err() {
            return Ok(Vec::new());
        }
        let mut instructions = Vec::new();
        for &kind in counted {
            eprintln!("instructions, {}", kind.name());
            let mut counts = Vec::new();
            for function in self.functions {
                let way = Way::DefaultTrust;
                let work = Work { function, kind, way, counts_instructions: true, ..work };
                let (few_events, many_events) =
                    if let Kind::Batch(_) = kind { FEW_BATCHES } else { FEW_EVENTS };
                let few = lambda::run(Work { events: few_events, ..work }, self.folder).await?;
                let many = lambda::run(Work { events: many_events, ..work }, self.folder).await?;
                if !many.record.is_null() && many.record["outcome"] != "stored" {
                    eprintln!("{}: too slow to be stored in time: {}", function.name, many.record);
                }
                #[expect(clippy::cast_precision_loss)]
                let events = (many_events - few_events) as f64;
                #[expect(clippy::cast_precision_loss)]
                counts.push(many.instructions.saturating_sub(few.instructions) as f64 / events);
            }
            instructions.push((kind, counts));
        }
        Ok(instructions)
    }

    async fn requests(&self, ours: Work<'_>) -> Result<Vec<(usize, Run)>, Box<dyn Error>> {
        let mut requests = Vec::new();
        for members in GROUP_SIZES {
            let work = Work { kind: Kind::Creation(members), hold: HOLD, ..ours };
            requests.push((members, lambda::run(work, self.folder).await?));
        }
        Ok(requests)
    }

    async fn shares(&self, work: Work<'_>) -> Result<Vec<(u64, Option<Runs>)>, Box<dyn Error>> {
        let mut shares = Vec::new();
        for megabytes in MEMORY_SIZES {
            eprintln!("the CPU share of {megabytes} MB");
            let runs = match Share::of_lambda(megabytes) {
                Some(share) => {
                    Some(self.all(SHARE_PROCESSES, Work { share: &share, events: 21, ..work }).await?)
                }
                None => None,
            };
            shares.push((megabytes, runs));
        }
        Ok(shares)
    }

    /// Joins, and a large group on a slow table.
    async fn at_memory_size(&self, work: Work<'_>) -> Result<(Option<Warm>, Option<Runs>), Box<dyn Error>> {
        let Some(share) = Share::of_lambda(MEMORY_SIZE) else { return Ok((None, None)) };
        eprintln!("joins, and a large group, at the CPU share of {MEMORY_SIZE} MB");
        let joins = self.warm(Kind::Join, Work { share: &share, ..work }).await?;
        let large = Work { share: &share, kind: LARGE_GROUP, events: 1, hold: LARGE_HOLD, ..work };
        Ok((Some(joins), Some(self.all(SHARE_PROCESSES, large).await?)))
    }

    async fn forward(&self, ours: Work<'_>) -> Result<(Runs, Runs), Box<dyn Error>> {
        eprintln!("without and with forwarding");
        let both = [ours, Work { forward: true, ..ours }];
        let cold = self.interleaved(COLD_PROCESSES, &both).await?;
        let both = both.map(|work| Work { events: 1 + WARM_EVENTS, ..work });
        Ok((cold, self.interleaved(WARM_PROCESSES, &both).await?))
    }
}

/// What the arguments name, and the sizes of all of it.
#[derive(Default)]
struct Functions {
    functions: Vec<Function>,
    batches: Vec<Function>,
    zips: Vec<Zip>,
}

fn functions(arguments: impl Iterator<Item = String>, folder: &Path) -> Result<Functions, Box<dyn Error>> {
    let Functions { mut functions, mut batches, mut zips } = Functions::default();
    for argument in arguments {
        let (name, binary) = argument.split_once('=').ok_or("expected NAME=BINARY")?;
        let binary = std::path::absolute(binary)?;
        let bytes = zipped(&binary, folder)?;
        let (list, ours, name) = match name.split_once(':') {
            Some(("batch", name)) => (Some(&mut batches), 0, name),
            Some((_, name)) => (None, 0, name),
            None => (Some(&mut functions), report::OURS, name),
        };
        zips.push(Zip { name: name.to_owned(), bytes });
        if let Some(list) = list {
            let tunables = (list.len() == ours).then(tunables).transpose()?;
            list.push(Function { name: name.to_owned(), binary, tunables });
        }
    }
    if functions.len() <= report::OURS {
        return Err("expected FLOOR=BINARY USUAL=BINARY OURS=BINARY".into());
    }
    Ok(Functions { functions, batches, zips })
}

/// The variable GLIBC_TUNABLES of the deployed functions.
fn tunables() -> Result<&'static str, &'static str> {
    let mut lines = include_str!("../../template.yaml").lines();
    let value = lines.find_map(|line| line.trim_start().strip_prefix("GLIBC_TUNABLES: "));
    value.ok_or("template.yaml: expected GLIBC_TUNABLES")
}

/// The size of a deployment package, which has no symbols.
fn zipped(binary: &Path, folder: &Path) -> Result<u64, Box<dyn Error>> {
    let (bootstrap, zip) = (folder.join("bootstrap"), folder.join("bootstrap.zip"));
    let status = Command::new("strip").arg("-o").args([bootstrap.as_path(), binary]).status();
    if !status.map_err(|error| format!("strip: {error}"))?.success() {
        return Err("strip failed".into());
    }
    let status = Command::new("zip").args(["-q", "-j"]).args([&zip, &bootstrap]).status();
    if !status.map_err(|error| format!("zip: {error}"))?.success() {
        return Err("zip failed".into());
    }
    let bytes = std::fs::metadata(&zip)?.len();
    std::fs::remove_file(&zip)?;
    Ok(bytes)
}
