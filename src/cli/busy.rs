//! `jitspan busy`: whether something compiles, for a liveness probe.

use std::path::PathBuf;

use clap::Args;

use super::top::place;
use super::{processes, say};
use crate::board::life::{Identity, Life, parent};
use crate::board::listing::{self, Listing, Row};
use crate::view::text::clean;

const EXAMPLES: &str = "\
Examples:
  jitspan busy                         does anything compile?
  jitspan busy --pid 1                 does process 1, or one that it has started?
  curl -sf localhost:8000/health || jitspan busy --pid 1      a liveness probe that spares a server
                                                              which compiles

Exit status: 0 something compiles, which is printed; 1 nothing does; 2 called wrongly, or it
cannot be known: nobody has jitspan switched on, no such process, the board cannot be read.";

/// It cannot be known.
const UNKNOWN: u8 = 2;

/// What the user said to `jitspan busy`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BusyArguments {
    /// Of this process and all that it has started, in this PID namespace
    #[arg(long, value_name = "N")]
    pub pid: Option<u32>,

    /// The folder of the board [default: JITSPAN_BOARD, else where it is by default]
    #[arg(long, value_name = "PATH")]
    pub board: Option<PathBuf>,
}

/// Carries it out. Returns the exit status.
#[must_use]
pub fn run(arguments: &BusyArguments) -> u8 {
    let listing = match place(arguments.board.as_ref()) {
        Ok(place) => listing::read(&place),
        Err(reason) => return unknown(&reason),
    };
    if let (0, Some(refused)) = (listing.folders, listing.refused.first()) {
        return unknown(refused);
    }
    let meant = of_process(&listing, arguments.pid);
    if meant.is_empty() {
        return unknown(&match arguments.pid {
            None => "no process on the board: nobody here has jitspan switched on".to_owned(),
            Some(pid) => format!("neither process {pid} nor one that it has started is on the board"),
        });
    }
    let mut busy = meant.iter().filter_map(|row| Some((row, row.record.now.first()?))).peekable();
    let status = u8::from(busy.peek().is_none());
    let lines: String = busy
        .map(|(row, now)| {
            let program = clean(&row.record.program);
            format!("{} {program}: {}\n", row.record.process.pid, processes::operation_in_words(row, now))
        })
        .collect();
    // The status is the answer; that nobody reads the line changes nothing.
    super::print(lines.as_bytes());
    status
}

/// The living that are meant: `pid` and all that it has started; all of them, without it.
pub fn of_process(listing: &Listing, pid: Option<u32>) -> Vec<&Row> {
    let here = Identity::own();
    let is_meant = |row: &&Row| {
        row.life == Life::Alive
            && pid.is_none_or(|pid| row.record.process.is_near(&here) && is_below(row.record.process.pid, pid))
    };
    listing.rows.iter().filter(is_meant).collect()
}

/// Whether `process` is `above`, or was started by it, or by one that it has started.
fn is_below(process: u32, above: u32) -> bool {
    const DEPTH: usize = 64;
    std::iter::successors(Some(process), |process| parent(*process)).take(DEPTH).any(|process| process == above)
}

fn unknown(reason: &str) -> u8 {
    say(reason);
    UNKNOWN
}
