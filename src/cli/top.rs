//! `jitspan top`: what each process of this host compiles now.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::view::When;
use super::{print, processes, say};
use crate::board::listing::{self, Listing};
use crate::clock::unix;
use crate::config::environment::Shell;
use crate::config::{self, BoardPlace};
use crate::process::output;
use crate::view::text::Palette;

const EXAMPLES: &str = "\
Examples:
  jitspan top                          refreshed each second, until Ctrl-C
  jitspan top --once                   once, also where the output is no terminal
  jitspan top --json | jq 'select(.compiling != []) | .pid'

Processes of this user that have jitspan switched on (of all users, to root), of this machine or
container: those that share its /dev/shm, or the folder that JITSPAN_BOARD names.
The fields of --json are in docs/board.md.

Exit status: 0 printed, or ended by Ctrl-C; 1 the board cannot be read, or the output not be
written; 2 called wrongly.";

/// Where nothing says how wide the output is.
const WIDTH: usize = 160;

/// What the user said to `jitspan top`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct TopArguments {
    /// Print once and end
    #[arg(long)]
    pub once: bool,

    /// Print one JSON object a line for each process; once, unless --interval is given
    #[arg(long)]
    pub json: bool,

    /// Seconds between two looks [default: 1 on a terminal]
    #[arg(long, value_name = "SECONDS", value_parser = parse_interval)]
    pub interval: Option<Duration>,

    /// The folder of the board [default: JITSPAN_BOARD, else where it is by default]
    #[arg(long, value_name = "PATH")]
    pub board: Option<PathBuf>,

    /// Use colors; auto: when the output is a terminal and NO_COLOR is not set, or when CLICOLOR_FORCE is
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub color: When,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let range = Duration::from_millis(100)..=Duration::from_secs(3600);
    seconds.filter(|seconds| range.contains(seconds)).ok_or_else(|| "expected seconds, from 0.1 to 3600".to_owned())
}

/// The board that is meant.
///
/// # Errors
/// In words: it is switched off.
pub fn place(said: Option<&PathBuf>) -> Result<BoardPlace, String> {
    let place = match said {
        Some(folder) => BoardPlace::Folder(folder.clone()),
        // What else cannot be used is no matter here.
        None => config::board_place(),
    };
    if place == BoardPlace::Off { Err("the board is switched off (JITSPAN_BOARD)".to_owned()) } else { Ok(place) }
}

/// Carries it out. Returns the exit status.
#[must_use]
pub fn run(arguments: &TopArguments) -> u8 {
    let place = match place(arguments.board.as_ref()) {
        Ok(place) => place,
        Err(reason) => {
            say(reason);
            return 1;
        }
    };
    let is_terminal = io::stdout().is_terminal();
    let every = arguments.interval.or_else(|| (is_terminal && !arguments.json).then_some(Duration::from_secs(1)));
    let color = arguments.color.resolve(&Shell::from_environment(), is_terminal);
    let look = Look { place, json: arguments.json, palette: Palette { color } };
    match every.filter(|_| !arguments.once) {
        None => look.once(),
        Some(every) => repeat(&look, every, is_terminal && !arguments.json),
    }
}

struct Look {
    place: BoardPlace,
    json: bool,
    palette: Palette,
}

impl Look {
    fn once(&self) -> u8 {
        let listing = listing::read(&self.place);
        let unusable = is_unusable(&listing);
        let text = self.text(&listing, None);
        if unusable { 1 } else { print(text.as_bytes()) }
    }

    /// As many lines as fit into a terminal of this height.
    fn text(&self, listing: &Listing, height: Option<usize>) -> String {
        let lines: Vec<String> = if self.json {
            listing.rows.iter().map(|row| processes::json(row).to_string()).collect()
        } else {
            let columns = output::terminal_size().map(|(columns, _)| columns).or_else(said_columns);
            processes::table(listing, unix(SystemTime::now()), columns.unwrap_or(WIDTH).max(20), self.palette)
        };
        let shown = height.map_or(lines.len(), |height| lines.len().min(height.saturating_sub(1)));
        lines[..shown].iter().map(|line| format!("{line}\n")).collect()
    }
}

fn said_columns() -> Option<usize> {
    Shell::from_environment().columns.and_then(|columns| columns.parse().ok())
}

/// Nothing could be read that there is.
fn is_unusable(listing: &Listing) -> bool {
    listing.refused.iter().for_each(say);
    listing.folders == 0 && !listing.refused.is_empty()
}

/// Until Ctrl-C, or until the reader is gone.
fn repeat(look: &Look, every: Duration, is_screen: bool) -> u8 {
    // Another screen than the one with the shell's history, without a cursor; and back.
    const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
    const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(error);
            return 1;
        }
    };
    runtime.block_on(async {
        let signals = signal(SignalKind::interrupt()).and_then(|one| Ok((one, signal(SignalKind::terminate())?)));
        let (mut interrupt, mut terminate) = match signals {
            Ok(signals) => signals,
            Err(error) => {
                say(error);
                return 1;
            }
        };
        if is_screen {
            print(ENTER);
        }
        let status = loop {
            let listing = listing::read(&look.place);
            let text = if is_screen {
                let height = output::terminal_size().map(|(_, rows)| rows);
                // Each line clears what was behind it, and the last what was below: nothing flickers.
                format!("\x1b[H{}\x1b[J", look.text(&listing, height).replace('\n', "\x1b[K\r\n"))
            } else {
                look.text(&listing, None)
            };
            if let Err(error) = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
                break u8::from(error.kind() != io::ErrorKind::BrokenPipe);
            }
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                _ = interrupt.recv() => break 0,
                _ = terminate.recv() => break 0,
            }
        };
        if is_screen {
            print(LEAVE);
        }
        status
    })
}
