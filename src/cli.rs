//! The command line of `jitspan`. A new command is a file under `cli/` with what the user can say, a `Command`, and a
//! line where commands are carried out: [`run`] here, and `python/surface/api.rs` for those that need Python.
//!
//! Exit statuses are the same for all of them, and in the help of each: 0 done, 1 it failed, 2 called wrongly. The one of
//! `jitspan busy` is its answer.

pub mod busy;
pub mod doctor;
pub mod manifest;
mod processes;
pub mod report;
pub mod run;
pub mod shell;
pub mod top;
pub mod view;
pub mod warm;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::config::environment::Shell;
use busy::BusyArguments;
use doctor::DoctorArguments;
use manifest::ManifestArguments;
use report::ReportArguments;
use run::RunArguments;
use shell::{CompletionsArguments, ManArguments};
use top::TopArguments;
use view::ViewArguments;
use warm::WarmArguments;

/// The version, and the commit that it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("COMMIT"), ")");

/// It was called wrongly.
const USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  jitspan run --arm after=60 -- python serve.py   watch a program that knows nothing of jitspan
  jitspan view                                    print each request that waited for a compile
  jitspan top                                     what compiles now, for whom
  jitspan doctor                                  why do I see nothing?

vLLM and SGLang need no command: install jitspan beside them.

Exit status: 0 done; 1 it failed; 2 called wrongly; `jitspan run` ends as the program that it runs, and
`jitspan busy` says by it whether something compiles.";

/// Which request paid for a kernel compile?
#[derive(Debug, Parser)]
#[command(name = "jitspan", bin_name = "jitspan", version = VERSION, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `jitspan` can be asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program with jitspan in each Python that it starts
    Run(RunArguments),
    /// Receive OpenTelemetry traces and print those in which a request waited for a compile
    View(ViewArguments),
    /// Show what each process of this host compiles now, for whom, and what it has lost
    Top(TopArguments),
    /// Say by the exit status whether something compiles: for liveness probes
    Busy(BusyArguments),
    /// Say what is watched, what each setting comes to, and whether the collector answers
    Doctor(DoctorArguments),
    /// Show which kernels compiled late, what it cost, and what to add to the warm-up
    Report(ReportArguments),
    /// Add manifests up, or make one of what a tracing backend has
    Manifest(Box<ManifestArguments>),
    /// Compile what a manifest names into Triton's cache on disk, without a GPU
    Warm(WarmArguments),
    /// Print the completions for a shell
    Completions(CompletionsArguments),
    /// Print the manual page
    Man(ManArguments),
}

/// Reads the command line, program name first. What there is to say at once (help, a usage error) is printed, and the
/// exit status comes back as the error.
///
/// # Errors
/// The exit status: 0 after help, 2 after a usage error.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, u8> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let parsed = Cli::try_parse_from(&arguments);
    parsed.map(|cli| cli.command).map_err(|error| {
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if asked || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            // Help for a closed pipe is no reason to fail.
            let _ = error.print();
        } else {
            say(in_one_line(&error.render().to_string(), &arguments));
        }
        if asked { 0 } else { USAGE }
    })
}

/// Clap's paragraphs as one line: what is wrong, its tips, and where to read more.
fn in_one_line(rendered: &str, arguments: &[OsString]) -> String {
    // Clap's own tip is about values, and a program that is run has options.
    const OWN_OPTION: &str = "put `--` before the command if this is an option of its own";
    let mut parts: Vec<String> = Vec::new();
    for paragraph in rendered.split("\n\n") {
        let words = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
        if !words.is_empty() && !words.starts_with("Usage:") && !words.starts_with("For more information") {
            parts.push(words.trim_start_matches("error: ").replace(" tip: ", "; ").replace("tip: ", ""));
        }
    }
    for part in &mut parts {
        if let Some((before, _)) = part.split_once("to pass '").filter(|(_, rest)| rest.contains("as a value, use '--"))
        {
            *part = format!("{before}{OWN_OPTION}");
        }
    }
    let said = arguments.get(1).and_then(|argument| argument.to_str());
    let command = said.filter(|said| Cli::command().find_subcommand(said).is_some());
    let command = command.map(|command| format!(" {command}")).unwrap_or_default();
    format!("{} (see `jitspan{command} --help`)", parts.join("; "))
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
        Ok(command) => run(command).unwrap_or_else(|_| {
            say("this command is about Python programs: use the `jitspan` of the Python package (pip install jitspan)");
            1
        }),
        Err(exit_status) => exit_status,
    }
}

/// Carries out a command that needs no Python. Returns the exit status.
///
/// # Errors
/// The command, which needs Python.
pub fn run(command: Command) -> Result<u8, Command> {
    match command {
        Command::View(arguments) => {
            let options = arguments.resolve(&Shell::from_environment(), io::stdout().is_terminal());
            Ok(crate::view::run(&options))
        }
        Command::Report(arguments) => Ok(report::run(&arguments)),
        Command::Manifest(arguments) => Ok(manifest::run(&arguments)),
        Command::Top(arguments) => Ok(top::run(&arguments)),
        Command::Busy(arguments) => Ok(busy::run(&arguments)),
        Command::Doctor(DoctorArguments { pid: Some(pid), json, .. }) => Ok(doctor::of_processes(pid, json)),
        Command::Completions(arguments) => Ok(arguments.run()),
        Command::Man(arguments) => Ok(arguments.run()),
        Command::Doctor(_) | Command::Run(_) | Command::Warm(_) => Err(command),
    }
}

/// One line on standard error, which a closed terminal may refuse.
pub fn say(message: impl Display) {
    let _ = writeln!(io::stderr(), "jitspan: {message}");
}

/// Prints what was asked for. Returns the exit status; a reader who leaves early is no failure.
pub fn print(text: &[u8]) -> u8 {
    let mut output = io::stdout().lock();
    match output.write_all(text).and_then(|()| output.flush()) {
        Ok(()) => 0,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            say(format_args!("cannot print: {error}"));
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> String {
        let error = Cli::try_parse_from(arguments).expect_err("a usage error");
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        in_one_line(&error.render().to_string(), &arguments)
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_usage_error_is_one_line_that_says_what_to_do() {
        assert_eq!(
            refusal(&["jitspan", "run", "--arm", "foo", "--", "true"]),
            "invalid value 'foo' for '--arm <WHEN>': expected now, manual, or after=<seconds> with at most 604800 seconds, \
             a week (see `jitspan run --help`)"
        );
        assert_eq!(
            refusal(&["jitspan", "veiw"]),
            "unrecognized subcommand 'veiw'; a similar subcommand exists: 'view' (see `jitspan --help`)"
        );
        let lines = refusal(&["jitspan", "run", "--port", "80", "serve"]);
        assert_eq!(
            lines,
            "unexpected argument '--port' found; put `--` before the command if this is an option of its own (see \
             `jitspan run --help`)"
        );
    }

    #[test]
    fn a_program_needs_no_dashes_before_it_and_keeps_its_own_options() {
        for dashes in [&["--"][..], &[]] {
            let said =
                [&["jitspan", "run", "--arm", "now"], dashes, &["python", "-m", "serve", "--arm", "x", "--help"]];
            let Command::Run(run) = Cli::try_parse_from(said.concat()).unwrap().command else { panic!() };
            assert_eq!(run.command, ["python", "-m", "serve", "--arm", "x", "--help"]);
            assert_eq!(run.arm.as_deref(), Some("now"));
        }
    }

    #[test]
    fn each_command_teaches_by_examples_and_says_how_it_ends() {
        for command in Cli::command().get_subcommands_mut() {
            let (name, help) = (command.get_name().to_owned(), command.render_long_help().to_string());
            if name != "help" {
                assert!(help.contains("Examples:\n  jitspan"), "{name}: {help}");
                assert!(help.contains("Exit status:"), "{name}: {help}");
            }
        }
    }

    #[test]
    fn the_version_names_the_commit() {
        assert!(VERSION.starts_with(concat!(env!("CARGO_PKG_VERSION"), " (")) && VERSION.len() > 12, "{VERSION}");
    }
}
