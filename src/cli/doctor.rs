//! `jitspan doctor`: what the user says; and of processes that run, what they say of themselves on the board.

use std::fmt::Write;

use clap::Args;

use super::busy::of_process;
use super::top::place;
use super::view::When;
use super::{print, processes, say};
use crate::board::listing::{self, Row};
use crate::model::event::UnixNanos;
use crate::view::text::{clean, time_of_day};

const EXAMPLES: &str = "\
Examples:
  jitspan doctor                       with the variables that the server will have
  jitspan doctor --offline             nothing is sent
  jitspan doctor --json | jq .problems
  jitspan doctor --pid 1               is it armed in process 1 and those that it has started?

What is sent is one span `jitspan.doctor`, to where the variables send spans, with their headers.

Exit status: 0 there is no error, warnings at most; 1 there is an error: activate() would fail,
the collector did not take the span, no process of --pid is armed, ...; 2 called wrongly.
The schema of --json is in docs/doctor.md.";

/// What the user said to `jitspan doctor`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArguments {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// Send nothing, and ask no name server
    #[arg(long)]
    pub offline: bool,

    /// Of this process and all that it has started: whether each is armed, since when, or why not
    #[arg(long, value_name = "N", conflicts_with = "offline")]
    pub pid: Option<u32>,

    /// Use colors; auto: when the output is a terminal and NO_COLOR is not set, or when CLICOLOR_FORCE is
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub color: When,
}

/// Carries out `--pid`: what the board says of `pid` and of all that it has started. Returns the exit status.
#[must_use]
pub fn of_processes(pid: u32, as_json: bool) -> u8 {
    let listing = match place(None) {
        Ok(place) => listing::read(&place),
        Err(reason) => {
            say(reason);
            return 1;
        }
    };
    listing.refused.iter().for_each(say);
    let rows = of_process(&listing, Some(pid));
    if rows.is_empty() {
        say(format_args!(
            "neither process {pid} nor one that it has started is on the board: jitspan is not installed there, is \
             switched off (JITSPAN=0, JITSPAN_BOARD=off), or runs as another user or in another container"
        ));
        return 1;
    }
    let mut text = String::new();
    for row in &rows {
        let line = if as_json { processes::json(row).to_string() } else { in_words(row) };
        let _ = writeln!(text, "{line}");
    }
    let printed = print(text.as_bytes());
    if rows.iter().any(|row| row.record.armed.is_some()) { printed } else { 1 }
}

fn in_words(row: &Row) -> String {
    const SECOND: UnixNanos = 1_000_000_000;
    let record = &row.record;
    let armed = match (record.armed, &record.why_not_armed) {
        (Some(since), _) => format!("armed since {}", time_of_day(since / SECOND * SECOND)),
        (None, Some(why)) => format!("not armed: {}", clean(why)),
        (None, None) => "not armed: it is still warming up, or nobody has called activate()".to_owned(),
    };
    let rank = record.who.rank.map(|rank| format!(", rank {rank}")).unwrap_or_default();
    let (compiles, seconds) = (record.lost.compiles, record.lost.seconds);
    let (pid, program, version) = (record.process.pid, clean(&record.program), clean(&record.version));
    format!("{pid} {program}{rank}: jitspan {version}, {armed}; {compiles} late compiles so far, {seconds:.3} s")
}
