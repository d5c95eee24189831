//! Measures functions side by side in one run: an empty one, the usual one, ours.
//!
//! Arguments: `name=binary` for each; the first is the floor, the second the usual one, the third ours.

mod cpu;
#[path = "../../dev/src/table.rs"]
#[allow(dead_code)]
mod database;
mod dynamodb;
mod lambda;
mod report;
mod wire;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cpu::Share;
use lambda::{Run, Way, Work};
use report::Measured;

/// Fresh processes for each cold figure.
const COLD_PROCESSES: usize = 30;
/// Fresh processes for each warm figure, and their events.
const WARM_PROCESSES: usize = 5;
const WARM_EVENTS: usize = 1_000;
/// Fresh processes for what an event costs that finds the function idle, their events, and the idle time.
const PACED_PROCESSES: usize = 5;
const PACED_EVENTS: usize = 200;
const PACE: Duration = Duration::from_millis(5);
/// Fresh processes for groups of other sizes.
const GROUP_SIZES: [usize; 3] = [20, 99, 500];
const GROUP_PROCESSES: usize = 5;
/// So many members are written by one process, so that all sizes take about the same time.
const GROUP_MEMBERS: usize = 20_000;
/// How long answers are held back where requests are counted.
const HOLD: Duration = Duration::from_millis(100);
/// Lambda's memory sizes, and the fresh processes for each.
const MEMORY_SIZES: [u64; 3] = [128, 256, 512];
const SHARE_PROCESSES: usize = 12;

/// A function that is measured.
pub struct Function {
    /// What it is called in the tables.
    pub name: String,
    binary: PathBuf,
    /// The bytes of a zip file with the binary as `bootstrap`.
    pub zip: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("chat-groups-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = measure(&folder).await;
    std::fs::remove_dir_all(&folder)?;
    let measured = result?;
    print!("{}", report::tables(&measured));
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("chart.svg");
    std::fs::write(&chart, report::chart(&measured))?;
    eprintln!("wrote {}", chart.display());
    Ok(())
}

async fn measure(folder: &Path) -> Result<Measured, Box<dyn Error>> {
    let mut functions = Vec::new();
    for argument in std::env::args().skip(1) {
        let (name, binary) = argument.split_once('=').ok_or("expected NAME=BINARY")?;
        let binary = std::path::absolute(binary)?;
        let zip = zipped(&binary, folder)?;
        functions.push(Function { name: name.to_owned(), binary, zip });
    }
    if functions.len() < 3 {
        return Err("expected FLOOR=BINARY USUAL=BINARY OURS=BINARY".into());
    }
    let full = Share::all();
    let run = async |processes, work| interleaved(&functions, processes, folder, work).await;
    let work = Work {
        binary: Path::new(""),
        share: &full,
        members: 2,
        events: 2,
        pause: Duration::ZERO,
        way: Way::Tls,
        hold: Duration::ZERO,
    };
    eprintln!("cold, at full CPU");
    let cold = run(COLD_PROCESSES, work).await?;
    eprintln!("cold, with the trust that is there without a bundle");
    let trust = run(COLD_PROCESSES, Work { way: Way::DefaultTrust, ..work }).await?;
    eprintln!("warm, {WARM_EVENTS} events without a pause");
    let warm = run(WARM_PROCESSES, Work { events: 1 + WARM_EVENTS, ..work }).await?;
    eprintln!("warm, {PACED_EVENTS} events, {} ms of idle time before each", PACE.as_millis());
    let paced = run(PACED_PROCESSES, Work { events: 1 + PACED_EVENTS, pause: PACE, ..work }).await?;
    let mut sizes = Vec::new();
    for members in GROUP_SIZES {
        eprintln!("groups of {members}");
        sizes.push((
            members,
            run(GROUP_PROCESSES, Work { members, events: 1 + GROUP_MEMBERS / members, ..work }).await?,
        ));
    }
    let mut waves = Vec::new();
    for members in [2].into_iter().chain(GROUP_SIZES) {
        let work = Work { binary: &functions[2].binary, members, hold: HOLD, ..work };
        waves.push((members, lambda::run(work, folder).await?));
    }
    let mut shares = Vec::new();
    for megabytes in MEMORY_SIZES {
        eprintln!("the CPU share of {megabytes} MB");
        let Some(share) = Share::of_lambda(megabytes) else {
            shares.push((megabytes, None));
            continue;
        };
        let work = Work { share: &share, events: 21, ..work };
        let runs = interleaved(&functions, SHARE_PROCESSES, folder, work).await?;
        shares.push((megabytes, Some(runs)));
    }
    Ok(Measured { functions, cold, trust, warm, paced, sizes, waves, shares })
}

/// The runs of every function, taken in turns, so that whatever else the machine does meets all of them; back and
/// forth, as each finds the caches as the one before it left them.
async fn interleaved(
    functions: &[Function],
    processes: usize,
    folder: &Path,
    work: Work<'_>,
) -> Result<Vec<Vec<Run>>, Box<dyn Error>> {
    let mut runs: Vec<Vec<Run>> = functions.iter().map(|_| Vec::new()).collect();
    for round in 0..processes {
        let mut turn: Vec<_> = functions.iter().zip(&mut runs).collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for (function, runs) in turn {
            let run = lambda::run(Work { binary: &function.binary, ..work }, folder).await;
            runs.push(run.map_err(|error| format!("{}: {error}", function.name))?);
        }
    }
    Ok(runs)
}

/// The size of a deployment package.
fn zipped(binary: &Path, folder: &Path) -> Result<u64, Box<dyn Error>> {
    let (bootstrap, zip) = (folder.join("bootstrap"), folder.join("bootstrap.zip"));
    std::fs::copy(binary, &bootstrap)?;
    let status = Command::new("zip").args(["-q", "-j"]).args([&zip, &bootstrap]).status();
    if !status.map_err(|error| format!("zip: {error}"))?.success() {
        return Err("zip failed".into());
    }
    let bytes = std::fs::metadata(&zip)?.len();
    std::fs::remove_file(&zip)?;
    Ok(bytes)
}
