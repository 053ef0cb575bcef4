//! The command line of `jitspan`. A new command is a file under `cli/` with what the user can say, a `Command`, and a
//! line where commands are carried out: here, and in `python/surface/api.rs` for those that need Python.

pub mod doctor;
pub mod run;
pub mod view;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::environment::Shell;
use doctor::DoctorArguments;
use run::RunArguments;
use view::ViewArguments;

/// Which request paid for a kernel compile?
#[derive(Debug, Parser)]
#[command(name = "jitspan", bin_name = "jitspan", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `jitspan` can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive OpenTelemetry traces and print those in which a request waited for a compile
    View(ViewArguments),
    /// Show which runtimes are installed and can be watched, and the settings that the environment gives
    Doctor(DoctorArguments),
    /// Run a program with jitspan in each Python that it starts
    Run(RunArguments),
}

/// Reads the command line, program name first. What clap has to say (help, a usage error) is printed, and the exit
/// code comes back as the error.
///
/// # Errors
/// The exit code: 0 after help, 2 after a usage error.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, u8> {
    let parsed = Cli::try_parse_from(arguments.into_iter().map(PathBuf::from));
    parsed.map(|cli| cli.command).map_err(|error| {
        // Help for a closed pipe is no reason to fail.
        let _ = error.print();
        u8::try_from(error.exit_code()).unwrap_or(1)
    })
}

/// The program `jitspan` without Python: takes its arguments, program name first, and returns its exit status: 0, 1
/// when the command failed, 2 when it was called wrongly. Blocks until it is done.
///
/// ```no_run
/// let exit_status = jitspan::cli::main(std::env::args_os());
/// ```
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    match parse(arguments) {
        Ok(Command::View(arguments)) => view(arguments),
        Ok(Command::Doctor(_) | Command::Run(_)) => {
            say("this is about Python programs: use the program of the Python package");
            1
        }
        Err(exit_status) => exit_status,
    }
}

/// Carries out `jitspan view`. Returns the exit status.
#[must_use]
pub fn view(arguments: ViewArguments) -> u8 {
    let options = arguments.resolve(&Shell::from_environment(), io::stdout().is_terminal());
    crate::view::run(&options)
}

/// One line on standard error, which a closed terminal may refuse.
fn say(message: impl Display) {
    let _ = writeln!(io::stderr(), "jitspan: {message}");
}
