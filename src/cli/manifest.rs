//! `jitspan manifest`: what the user says, and what comes of it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::manifest::jaeger::{self, Query};
use crate::manifest::line::Line;
use crate::manifest::read::{self, Manifest};
use crate::manifest::traces::Stalls;

const EXAMPLES: &str = "\
Examples:
  jitspan manifest /srv/a /srv/b --out all.jsonl       what several servers wrote, as one
  jitspan manifest --from-jaeger http://localhost:16686 --service vllm --since 7d
                                                       of the traces that Jaeger has
  jitspan manifest --from-otlp traces.json             of what the Collector wrote to a file

Exit status: 0 done; 1 something cannot be read or written; 2 called wrongly.";

/// What the user said to `jitspan manifest`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ManifestArguments {
    /// Manifests to add up: folders, or files
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Take the stalls that this Jaeger has: http://localhost:16686
    #[arg(long, value_name = "URL", requires = "service")]
    pub from_jaeger: Option<String>,

    /// Of this service
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,

    /// Not older than this: 90s, 30m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_time)]
    pub since: Duration,

    /// Take the stalls in a file of OTLP JSON, as the Collector's file exporter writes it
    #[arg(long, value_name = "FILE")]
    pub from_otlp: Vec<PathBuf>,

    /// Write the lines to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Carries `jitspan manifest` out. Returns the exit status.
#[must_use]
pub fn run(arguments: &ManifestArguments) -> u8 {
    if arguments.paths.is_empty() && arguments.from_jaeger.is_none() && arguments.from_otlp.is_empty() {
        say("nothing to read: give a PATH, --from-jaeger URL --service NAME, or --from-otlp FILE");
        return 2;
    }
    match make(arguments).and_then(|manifest| write(arguments, &manifest).map(|()| manifest)) {
        Ok(manifest) => {
            let seconds = manifest.lines.iter().fold(0.0, |seconds, line| seconds + line.duration);
            let (lines, malformed, dropped) = (manifest.lines.len(), manifest.malformed, manifest.dropped);
            say(&format!("{lines} lines, {seconds:.1} s; {malformed} could not be read, {dropped} beyond the bounds"));
            0
        }
        Err(error) => {
            say(&error);
            1
        }
    }
}

fn make(arguments: &ManifestArguments) -> Result<Manifest, String> {
    let mut lines = Vec::new();
    let (mut malformed, mut dropped) = (0, 0);
    let mut take = |manifest: Manifest| {
        malformed += manifest.malformed;
        dropped += manifest.dropped;
        manifest.refused.iter().for_each(|refused| say(refused));
        lines.extend(manifest.lines);
    };
    for path in &arguments.paths {
        take(read::read(path, None).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    let mut traced = Vec::new();
    if let (Some(url), Some(service)) = (&arguments.from_jaeger, &arguments.service) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let from = now.saturating_sub(arguments.since.as_secs());
        traced.push(jaeger::stalls(&Query { url: url.clone(), service: service.clone(), from, to: now + 1 })?);
    }
    for file in &arguments.from_otlp {
        let named = |error: String| format!("{}: {error}", file.display());
        let mut stalls = Stalls::default();
        stalls.add_text(&std::fs::read(file).map_err(|error| named(error.to_string()))?).map_err(named)?;
        traced.push(stalls);
    }
    for stalls in traced {
        if stalls.without > 0 {
            say(&format!("{} stalls carry no recipe: another runtime's, too long, or switched off", stalls.without));
        }
        take(stalls.finish());
    }
    let mut manifest = read::merge(lines);
    manifest.malformed += malformed;
    manifest.dropped += dropped;
    Ok(manifest)
}

fn write(arguments: &ManifestArguments, manifest: &Manifest) -> Result<(), String> {
    let bytes: Vec<u8> = manifest.lines.iter().filter_map(Line::bytes).flatten().collect();
    match &arguments.out {
        Some(file) => std::fs::write(file, bytes).map_err(|error| format!("{}: {error}", file.display())),
        None => {
            // A reader who has gone away has seen what he wanted.
            let _ = io::stdout().write_all(&bytes);
            Ok(())
        }
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number with s, m, h or d, such as 24h".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(expected)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(expected()),
    };
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    number.map(Duration::from_secs).ok_or_else(expected)
}

fn say(message: &str) {
    let _ = writeln!(io::stderr(), "jitspan manifest: {message}");
}
