//! A compiler that was found among the processes that were started here.

use std::thread::ThreadId;
use std::time::Instant;

use super::command::Command;

/// Who started it.
pub struct Starter {
    /// The thread.
    pub thread: ThreadId,
    /// The same for the event: id of the operating system, and name.
    pub shown: Option<(i64, String)>,
    /// When the scope was entered that it ran in.
    pub scope: Option<Instant>,
}

/// A compiler that runs, or ran.
#[derive(Clone)]
pub struct Compiler {
    pub pid: i32,
    pub born: u64,
    /// The command's name.
    pub name: String,
    /// What it was given.
    pub source: Option<String>,
    pub began: Instant,
    /// None: it still runs.
    pub ended: Option<Instant>,
    /// Whether it is the process that was started, whose exit code is known.
    pub is_root: bool,
    /// Whether it compiles anything: `ninja` may have nothing to do.
    pub compiles: bool,
}

pub fn compiler(command: Command, pid: i32, born: u64, began: Instant, is_root: bool) -> Option<Compiler> {
    let (name, source, compiles) = match command {
        Command::Compiles { name, source } => (name, source, true),
        Command::Builds { name } => (name, None, false),
        Command::Asked | Command::Other => return None,
    };
    Some(Compiler { pid, born, name, source, began, ended: None, is_root, compiles })
}
