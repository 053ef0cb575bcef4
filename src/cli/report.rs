//! `jitspan report`: what the user says, and what comes of it.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::findings::{Report, github, html, junit, markdown, text};
use crate::manifest::read;

const EXAMPLES: &str = "\
Examples:
  jitspan report /srv/manifest                         what compiled late, and what to add to the warm-up
  jitspan report new.jsonl --baseline old.jsonl --fail-on new --junit > junit.xml
                                                       a CI job fails of what is new
  jitspan report /srv/manifest --html report.html

Exit status: 0 done; 1 it cannot be read or written, or --fail-on says so; 2 called wrongly.";

/// What the user said to `jitspan report`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ReportArguments {
    /// A manifest: its folder, or one of its files
    #[arg(value_name = "PATH")]
    pub path: PathBuf,

    /// Print one JSON object
    #[arg(long, group = "form")]
    pub json: bool,

    /// Write one self-contained page to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Print Markdown: for a pull request, or a job's summary
    #[arg(long, group = "form")]
    pub markdown: bool,

    /// Print JUnit's XML: a test for each kernel
    #[arg(long, group = "form")]
    pub junit: bool,

    /// Print annotations of GitHub Actions
    #[arg(long, group = "form")]
    pub github: bool,

    /// A manifest to compare with: what it has is not new
    #[arg(long, value_name = "OLD")]
    pub baseline: Option<PathBuf>,

    /// Exit with 1 if anything compiled late, or anything that the baseline does not have
    #[arg(long, value_name = "WHAT", value_enum)]
    pub fail_on: Option<FailOn>,
}

/// What makes a CI job fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "clap would show them, and the option says it")]
pub enum FailOn {
    Any,
    New,
}

/// Carries it out. Returns the exit status: 0, 1 when it failed or `--fail-on` says so, 2 when it was called wrongly.
#[must_use]
pub fn run(arguments: &ReportArguments) -> u8 {
    if arguments.fail_on == Some(FailOn::New) && arguments.baseline.is_none() {
        say("--fail-on new needs --baseline OLD");
        return 2;
    }
    match report(arguments) {
        Ok(report) => {
            let fails = match arguments.fail_on {
                Some(FailOn::Any) => !report.kernels.is_empty(),
                Some(FailOn::New) => report.new.is_some_and(|new| new > 0),
                None => false,
            };
            u8::from(fails)
        }
        Err(error) => {
            say(&error);
            1
        }
    }
}

fn report(arguments: &ReportArguments) -> Result<Report, String> {
    let read = |path: &PathBuf| read::read(path, None).map_err(|error| format!("{}: {error}", path.display()));
    let manifest = read(&arguments.path)?;
    let baseline = arguments.baseline.as_ref().map(read).transpose()?;
    for refused in &manifest.refused {
        say(refused);
    }
    let report = Report::new(&manifest, baseline.as_ref());
    let printed = if arguments.json {
        serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?
    } else if arguments.markdown {
        markdown::write(&report)
    } else if arguments.junit {
        junit::write(&report)
    } else if arguments.github {
        github::write(&report)
    } else {
        text::write(&report)
    };
    if let Some(file) = &arguments.html {
        std::fs::write(file, html::write(&report)).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    // A reader who has gone away has seen what he wanted.
    let _ = writeln!(io::stdout(), "{printed}");
    Ok(report)
}

fn say(message: &str) {
    let _ = writeln!(io::stderr(), "jitspan report: {message}");
}
