//! What the user said (environment, arguments) becomes what we run with. The only place that can fail.

mod describe;
mod otlp;
mod propagators;
mod read;
mod resource;
mod sampler;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

pub use describe::Described;
pub use otlp::{Compression, Endpoint, Protocol, Signal, TlsFiles};
pub use propagators::Propagators;
pub use read::{ConfigError, Variables};
pub use resource::Resource;
pub use sampler::Sampler;

use crate::model::event::Kind;
use crate::model::limits::Limits;
use read::wrong;

/// What an unexpected compile does to its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is reported.
    Warn,
    /// It is reported, and fails.
    Error,
}

impl Mode {
    /// The mode that a user's word means.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "warn" => Some(Mode::Warn),
            "error" => Some(Mode::Error),
            _ => None,
        }
    }

    /// The user's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Warn => "warn",
            Mode::Error => "error",
        }
    }
}

/// Where a signal goes (`OTEL_{TRACES,METRICS,LOGS}_EXPORTER`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exporters {
    /// Over OTLP, to here.
    pub otlp: Option<Endpoint>,
    /// To standard output, as JSON lines.
    pub console: bool,
}

/// How compiles are told of (`JITSPAN_EVENTS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Events {
    /// Span events.
    Span,
    /// Log-based events.
    Log,
    /// Both.
    Both,
}

/// What the user said in code; the environment says the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `activate(mode=...)`.
    pub mode: Mode,
    /// `activate(verbose=...)`.
    pub verbose: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { mode: Mode::Warn, verbose: false }
    }
}

/// `OTEL_BSP_*`: how finished spans wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Longest wait of a span for others to travel with.
    pub delay: Duration,
    /// Spans that may wait.
    pub queue: usize,
    /// Bytes that may wait, roughly. Ours, not the specification's: verbose spans are large.
    pub queue_bytes: usize,
    /// Spans in one message.
    pub size: usize,
    /// Longest time of one attempt to send a batch. A batch that ran out of it is tried again.
    pub timeout: Duration,
}

/// `OTEL_METRIC_EXPORT_*`: how often metrics are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// Between two exports.
    pub every: Duration,
    /// Longest time of one.
    pub timeout: Duration,
}

/// What we run with.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What an unexpected compile does (`JITSPAN_MODE`).
    pub mode: Mode,
    /// Send and log everything known, every time (`JITSPAN_VERBOSE`).
    pub verbose: bool,
    /// What error mode raises on (`JITSPAN_ERROR_ON`).
    pub error_on: Vec<Kind>,
    /// Longest wait for the collector in error mode and at exit (`JITSPAN_FLUSH_TIMEOUT`).
    pub flush_timeout: Duration,
    /// A span for each compile (`JITSPAN_COMPILE_SPANS`).
    pub compile_spans: bool,
    /// How compiles are told of (`JITSPAN_EVENTS`).
    pub events: Events,
    /// Put on each event what it takes to compile its kernel again (`JITSPAN_SPECIALIZATION`).
    pub specialization: bool,
    /// Folder that a line goes to for each compile, and that is replayed (`JITSPAN_MANIFEST`).
    pub manifest: Option<PathBuf>,
    /// Whether an engine replays it before warm-up is over (`JITSPAN_PRELOAD`).
    pub preload: bool,
    /// Longest time of that (`JITSPAN_PRELOAD_TIMEOUT`).
    pub preload_timeout: Duration,
    /// Requests of one batch that get a span of their own (`JITSPAN_MAX_REQUESTS`).
    pub max_requests: usize,
    /// Nothing is sent (`OTEL_SDK_DISABLED`, `JITSPAN=0`).
    pub disabled: bool,
    /// Where spans go.
    pub traces: Exporters,
    /// Where metrics go. Nowhere, unless a variable speaks of metrics or of a collector for everything: they are sent
    /// without a compile having happened, and a process that nobody set up must not call an address every minute.
    pub metrics: Exporters,
    /// How often metrics are sent.
    pub interval: Interval,
    /// Where log-based events go.
    pub logs: Exporters,
    /// How finished spans wait.
    pub batch: Batch,
    /// What a span may hold.
    pub limits: Limits,
    /// Which traces are kept.
    pub sampler: Sampler,
    /// Who we are.
    pub resource: Resource,
    /// In which headers a trace context is looked for.
    pub propagators: Propagators,
    /// The variables that were set.
    given: BTreeSet<String>,
}

impl Config {
    /// Resolves `settings` and the environment.
    ///
    /// # Errors
    /// The first setting that cannot be used: its name, its value, and what is accepted.
    pub fn resolve(settings: &Settings, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let variables = &Variables::new(lookup);
        let switched_off = variables.flag("JITSPAN")? == Some(false);
        let disabled = variables.flag("OTEL_SDK_DISABLED")?.unwrap_or(false) || switched_off;
        let mut config = Config {
            mode: mode(variables)?.unwrap_or(settings.mode),
            verbose: variables.flag("JITSPAN_VERBOSE")?.unwrap_or(settings.verbose),
            error_on: variables
                .list("JITSPAN_ERROR_ON", "compile, autotune, load, or several with commas", kind)?
                .unwrap_or_else(|| vec![Kind::Compile, Kind::Autotune]),
            flush_timeout: variables.seconds("JITSPAN_FLUSH_TIMEOUT")?.unwrap_or(Duration::from_secs(2)),
            compile_spans: variables.flag("JITSPAN_COMPILE_SPANS")?.unwrap_or(true),
            events: events(variables)?,
            specialization: variables.flag("JITSPAN_SPECIALIZATION")?.unwrap_or(true),
            // The switch works whatever the folder is.
            manifest: if disabled { None } else { manifest(variables)? },
            preload: variables.flag("JITSPAN_PRELOAD")?.unwrap_or(true),
            preload_timeout: variables.seconds("JITSPAN_PRELOAD_TIMEOUT")?.unwrap_or(Duration::from_secs(300)),
            max_requests: variables.count("JITSPAN_MAX_REQUESTS", 1)?.unwrap_or(128),
            disabled,
            traces: exporters(Signal::Traces, variables)?,
            metrics: metrics(variables)?,
            interval: interval(variables)?,
            logs: exporters(Signal::Logs, variables)?,
            batch: batch(variables)?,
            limits: limits(variables)?,
            sampler: Sampler::resolve(variables)?,
            resource: Resource::resolve(variables)?,
            propagators: Propagators::resolve(variables)?,
            given: BTreeSet::new(),
        };
        config.given = variables.given();
        Ok(config)
    }

    /// Resolves `settings` and this process's environment.
    ///
    /// # Errors
    /// As [`Config::resolve`].
    pub fn from_environment(settings: &Settings) -> Result<Self, ConfigError> {
        Self::resolve(settings, &|variable| std::env::var(variable).ok())
    }
}

fn kind(word: &str) -> Option<Kind> {
    [Kind::Compile, Kind::Autotune, Kind::Load].into_iter().find(|kind| kind.word() == word)
}

/// Said in the environment it wins over what a server's flag or a call says: it is how an operator overrides both.
fn mode(variables: &Variables<'_>) -> Result<Option<Mode>, ConfigError> {
    let Some(value) = variables.text("JITSPAN_MODE") else { return Ok(None) };
    Mode::from_word(&value).map(Some).ok_or_else(|| wrong("JITSPAN_MODE", &value, "warn or error"))
}

fn events(variables: &Variables<'_>) -> Result<Events, ConfigError> {
    let Some(value) = variables.text("JITSPAN_EVENTS") else { return Ok(Events::Span) };
    match value.to_ascii_lowercase().as_str() {
        "span" => Ok(Events::Span),
        "log" => Ok(Events::Log),
        "both" => Ok(Events::Both),
        _ => Err(wrong("JITSPAN_EVENTS", &value, "span, log or both")),
    }
}

fn manifest(variables: &Variables<'_>) -> Result<Option<PathBuf>, ConfigError> {
    const VARIABLE: &str = "JITSPAN_MANIFEST";
    let Some(value) = variables.text(VARIABLE) else { return Ok(None) };
    let folder = PathBuf::from(&value);
    match crate::manifest::folder::check_or_parent(&folder) {
        Ok(()) => Ok(Some(folder)),
        Err(reason) => {
            Err(wrong(VARIABLE, &value, format!("a folder of our own that not everybody may write ({reason})")))
        }
    }
}

fn exporters(signal: Signal, variables: &Variables<'_>) -> Result<Exporters, ConfigError> {
    let variable = format!("OTEL_{}_EXPORTER", signal.word());
    let words = variables.list(&variable, "otlp, console or none", |word| match word {
        "otlp" | "console" | "none" => Some(word.to_owned()),
        // The specification's pull exporter, which an SDK in the same process may be told to be: none of ours.
        "prometheus" if signal == Signal::Metrics => Some(word.to_owned()),
        _ => None,
    })?;
    let words = words.unwrap_or_else(|| vec!["otlp".to_owned()]);
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    if has("none") {
        return Ok(Exporters::default());
    }
    let otlp = has("otlp").then(|| Endpoint::resolve(signal, variables)).transpose()?;
    Ok(Exporters { otlp, console: has("console") })
}

fn metrics(variables: &Variables<'_>) -> Result<Exporters, ConfigError> {
    let resolved = exporters(Signal::Metrics, variables)?;
    let wanted = ["OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"];
    let wanted = wanted.into_iter().any(|variable| variables.text(variable).is_some());
    Ok(if wanted { resolved } else { Exporters::default() })
}

fn interval(variables: &Variables<'_>) -> Result<Interval, ConfigError> {
    let every = variables.milliseconds("OTEL_METRIC_EXPORT_INTERVAL")?.unwrap_or(Duration::from_secs(60));
    Ok(Interval {
        // An interval of nothing would send without a pause.
        every: every.max(Duration::from_millis(100)),
        timeout: variables.timeout("OTEL_METRIC_EXPORT_TIMEOUT")?.unwrap_or(Duration::from_secs(30)),
    })
}

fn batch(variables: &Variables<'_>) -> Result<Batch, ConfigError> {
    let queue = variables.count("OTEL_BSP_MAX_QUEUE_SIZE", 1)?.unwrap_or(2048);
    let size = variables.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1)?;
    if let Some(size) = size.filter(|size| *size > queue) {
        let accepted = format!("at most OTEL_BSP_MAX_QUEUE_SIZE, which is {queue}");
        return Err(wrong("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &size.to_string(), accepted));
    }
    Ok(Batch {
        delay: variables.milliseconds("OTEL_BSP_SCHEDULE_DELAY")?.unwrap_or(Duration::from_secs(5)),
        queue,
        queue_bytes: 8 * 1024 * 1024,
        size: size.unwrap_or(512).min(queue),
        timeout: variables.timeout("OTEL_BSP_EXPORT_TIMEOUT")?.unwrap_or(Duration::from_secs(30)),
    })
}

fn limits(variables: &Variables<'_>) -> Result<Limits, ConfigError> {
    let defaults = Limits::default();
    let attributes = variables.count("OTEL_ATTRIBUTE_COUNT_LIMIT", 0)?;
    Ok(Limits {
        attributes: variables
            .count("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", 0)?
            .or(attributes)
            .unwrap_or(defaults.attributes),
        events: variables.count("OTEL_SPAN_EVENT_COUNT_LIMIT", 0)?.unwrap_or(defaults.events),
        event_attributes: variables
            .count("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", 0)?
            .or(attributes)
            .unwrap_or(defaults.event_attributes),
        value_length: variables.count("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0)?.or(defaults.value_length),
        span_value_length: variables.count("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", 0)?,
    })
}
