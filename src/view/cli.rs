//! The command line of `jitspan`, and what `jitspan view` makes of it. A new subcommand is a new `Command`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::store::Limits;
use super::waterfall::MIN_WIDTH;
use crate::manifest::cli::{ManifestArguments, WarmArguments};
use crate::report::cli::ReportArguments;

/// Wide enough for a picture, narrow enough for a terminal beside an editor.
const DEFAULT_WIDTH: usize = 100;

const BYTES_PER_MIB: usize = 1024 * 1024;

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
    /// Show which kernels compiled late, what it cost, and what to add to the warm-up
    Report(ReportArguments),
    /// Add manifests up, or make one of what a tracing backend has
    Manifest(ManifestArguments),
    /// Compile what a manifest names into Triton's cache on disk, without a GPU
    Warm(WarmArguments),
}

/// What the user said to `jitspan run`. The flags are vLLM's.
#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// What a compile after warm-up does: it is reported, or it fails as well
    #[arg(long, value_name = "MODE", value_parser = ["warn", "error"])]
    pub jit_monitor_mode: Option<String>,

    /// Log every compile, with everything known
    #[arg(long)]
    pub jit_monitor_verbose: bool,

    /// When warm-up is over: now, after=SECONDS, or manual: the program calls jitspan.activate(), or is a server that
    /// jitspan knows [default: JITSPAN_ARM, or manual]
    #[arg(long, value_name = "WHEN")]
    pub arm: Option<String>,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What the user said to `jitspan doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArguments {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What the user said to `jitspan view`.
#[derive(Args, Clone, Debug)]
pub struct ViewArguments {
    /// Port for OTLP over gRPC; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 4317)]
    pub grpc_port: u16,

    /// Port for OTLP over HTTP (protobuf or JSON); 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 4318)]
    pub http_port: u16,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: String,

    /// Print one JSON object a line instead of pictures
    #[arg(long)]
    pub json: bool,

    /// Write one JSON object a line to this file, beside what is printed
    #[arg(long, value_name = "PATH")]
    pub json_file: Option<PathBuf>,

    /// Print every trace, not only those with a stall
    #[arg(long)]
    pub all: bool,

    /// Use colors; auto: when the output is a terminal and NO_COLOR is not set
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub color: When,

    /// Width of a picture in columns [default: COLUMNS, or 100]
    #[arg(long, value_name = "COLUMNS", value_parser = parse_width)]
    pub width: Option<usize>,

    /// Print a trace once no span of it has come for this long. Later spans print it again, marked as updated;
    /// OpenTelemetry SDKs send every 5 s unless told otherwise, so 6 waits for all of them
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    pub settle: Duration,

    /// Traces to hold at a time
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = parse_positive)]
    pub max_traces: usize,

    /// Spans to hold of one trace
    #[arg(long, value_name = "COUNT", default_value_t = 2_000, value_parser = parse_positive)]
    pub max_spans: usize,

    /// Memory for spans that wait to be printed, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = parse_positive)]
    pub max_memory: usize,
}

/// When to use colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "clap would show them, and they are plain")]
pub enum When {
    Auto,
    Always,
    Never,
}

/// What `jitspan view` runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub host: String,
    /// Port for gRPC; 0 for any.
    pub grpc_port: u16,
    /// Port for HTTP; 0 for any.
    pub http_port: u16,
    /// How a trace is printed.
    pub format: Format,
    /// Where each trace is written as JSON as well.
    pub json_file: Option<PathBuf>,
    /// Print traces without a stall, too.
    pub all: bool,
    /// How long a trace must be quiet.
    pub settle: Duration,
    /// What may be held.
    pub limits: Limits,
}

/// How a trace is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// A picture.
    Waterfall {
        /// Columns it may take.
        width: usize,
        /// Escape sequences may be used.
        color: bool,
    },
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

impl ViewArguments {
    /// Fills in what the environment decides.
    #[must_use]
    pub fn resolve(self, environment: impl Fn(&str) -> Option<OsString>, is_terminal: bool) -> Config {
        let set = |name| environment(name).filter(|value| !value.is_empty());
        let color = match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => is_terminal && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb"),
        };
        let columns = || set("COLUMNS").and_then(|columns| parse_width(columns.to_str()?).ok());
        let width = self.width.or_else(columns).unwrap_or(DEFAULT_WIDTH);
        Config {
            host: self.host,
            grpc_port: self.grpc_port,
            http_port: self.http_port,
            format: if self.json { Format::Json } else { Format::Waterfall { width, color } },
            json_file: self.json_file,
            all: self.all,
            settle: self.settle,
            limits: Limits {
                traces: self.max_traces,
                spans_per_trace: self.max_spans,
                bytes: self.max_memory.saturating_mul(BYTES_PER_MIB),
            },
        }
    }
}

fn parse_width(text: &str) -> Result<usize, String> {
    let accepted = MIN_WIDTH..=1_000;
    let width = text.parse().ok().filter(|width| accepted.contains(width));
    width.ok_or_else(|| format!("expected a number from {} to {}", accepted.start(), accepted.end()))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=3_600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds from 0 to 3600, such as 0.5".to_owned())
}

fn parse_positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "expected a whole number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(arguments: &[&str]) -> Result<ViewArguments, u8> {
        match parse(["jitspan", "view"].iter().chain(arguments).map(OsString::from))? {
            Command::View(view) => Ok(view),
            _ => Err(2),
        }
    }

    fn color_of(config: &Config) -> bool {
        matches!(config.format, Format::Waterfall { color: true, .. })
    }

    #[test]
    fn a_usage_error_exits_with_2() {
        assert_eq!(view(&["--settle", "-1"]).unwrap_err(), 2);
        assert_eq!(view(&["--max-traces", "0"]).unwrap_err(), 2);
        assert_eq!(view(&["--grpc-port", "65536"]).unwrap_err(), 2);
        assert_eq!(parse([]).unwrap_err(), 2);
    }

    #[test]
    fn help_exits_with_0() {
        assert_eq!(view(&["--help"]).unwrap_err(), 0);
    }

    #[test]
    fn an_explicit_color_wins_over_terminal_and_environment() {
        let no_color = |name: &str| (name == "NO_COLOR").then(|| "1".into());
        assert!(!color_of(&view(&[]).unwrap().resolve(no_color, true)));
        assert!(color_of(&view(&["--color", "always"]).unwrap().resolve(no_color, false)));
        assert!(color_of(&view(&[]).unwrap().resolve(|_| None, true)));
        assert!(!color_of(&view(&[]).unwrap().resolve(|_| None, false)));
        assert!(!color_of(&view(&["--color", "never"]).unwrap().resolve(|_| None, true)));
    }

    #[test]
    fn the_width_is_the_option_else_columns_else_100() {
        let width = |arguments: &[&str], columns: &'static str| {
            let environment = |name: &str| (name == "COLUMNS").then(|| columns.into());
            match view(arguments).unwrap().resolve(environment, false).format {
                Format::Waterfall { width, .. } => width,
                Format::Json => unreachable!("--json was not given"),
            }
        };
        assert_eq!(width(&["--width", "80"], "120"), 80);
        assert_eq!(width(&[], "120"), 120);
        assert_eq!(width(&[], "wide"), 100);
    }
}
