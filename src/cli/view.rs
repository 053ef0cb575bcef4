//! `jitspan view`: what the user says, and what the environment adds.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::config::environment::Shell;
use crate::view::{Format, Limits, MIN_WIDTH, Options};

/// Wide enough for a picture, narrow enough for a terminal beside an editor.
const DEFAULT_WIDTH: usize = 100;

const BYTES_PER_MIB: usize = 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  jitspan view                                    what OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 is for
  jitspan view --grpc-port 0 --http-port 0        where a Collector has the usual ports
  jitspan view --json | jq 'select(.duration_s > 1) | .spans[].name'
  jitspan view --all --settle 6                   every trace, each once

Each port takes OTLP over gRPC and over HTTP.
Ctrl-C prints what is pending and ends it; a second one ends it at once.

Exit status: 0 ended by a signal, or its reader has gone; 1 it cannot listen or print;
2 called wrongly.";

/// What the user said to `jitspan view`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
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

    /// Use colors; auto: when the output is a terminal and NO_COLOR is not set, or when CLICOLOR_FORCE is
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

impl When {
    /// Whether to use them now.
    #[must_use]
    pub fn resolve(self, shell: &Shell, is_terminal: bool) -> bool {
        match self {
            When::Always => true,
            When::Never => false,
            When::Auto => shell.colors(is_terminal),
        }
    }
}

impl ViewArguments {
    /// Fills in what the environment decides.
    #[must_use]
    pub fn resolve(self, shell: &Shell, is_terminal: bool) -> Options {
        let color = self.color.resolve(shell, is_terminal);
        let columns = || shell.columns.as_ref().and_then(|columns| parse_width(columns).ok());
        let width = self.width.or_else(columns).unwrap_or(DEFAULT_WIDTH);
        Options {
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
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{Command, parse};

    fn view(arguments: &[&str]) -> Result<ViewArguments, u8> {
        match parse(["jitspan", "view"].iter().chain(arguments).map(OsString::from))? {
            Command::View(view) => Ok(view),
            _ => Err(2),
        }
    }

    fn color_of(options: &Options) -> bool {
        matches!(options.format, Format::Waterfall { color: true, .. })
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
        let (plain, no_color) = (Shell::default(), Shell { no_color: true, ..Shell::default() });
        assert!(!color_of(&view(&[]).unwrap().resolve(&no_color, true)));
        assert!(color_of(&view(&["--color", "always"]).unwrap().resolve(&no_color, false)));
        assert!(color_of(&view(&[]).unwrap().resolve(&plain, true)));
        assert!(!color_of(&view(&[]).unwrap().resolve(&plain, false)));
        assert!(!color_of(&view(&["--color", "never"]).unwrap().resolve(&plain, true)));
    }

    #[test]
    fn the_width_is_the_option_else_columns_else_100() {
        let width = |arguments: &[&str], columns: &'static str| {
            let shell = Shell { columns: Some(columns.to_owned()), ..Shell::default() };
            match view(arguments).unwrap().resolve(&shell, false).format {
                Format::Waterfall { width, .. } => width,
                Format::Json => unreachable!("--json was not given"),
            }
        };
        assert_eq!(width(&["--width", "80"], "120"), 80);
        assert_eq!(width(&[], "120"), 120);
        assert_eq!(width(&[], "wide"), 100);
    }
}
