//! What the user said (environment, arguments) becomes what we run with. The only place that can fail.

mod endpoint;
pub mod environment;
mod misspelt;
mod otlp;
mod propagators;
mod read;
mod redact;
mod resource;
mod sampler;
mod settings;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

#[cfg(feature = "view")]
pub use endpoint::endpoint_at;
pub use environment::variable;
pub use misspelt::{Misspelt, misspelt};
pub use otlp::{Compression, Endpoint, Protocol, Signal, TlsFiles};
pub use propagators::Propagators;
pub use read::{ConfigError, Variables};
pub use resource::Resource;
pub use sampler::Sampler;
pub use settings::{Described, Shown, variables};

use crate::model::event::Kind;
use crate::model::limits::Limits;
use settings::{SETTINGS, SWITCHES};

/// Where all signals go.
pub const OTLP_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Where spans go.
pub const OTLP_TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
/// How spans travel.
pub const OTLP_TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
/// `0` switches us off.
pub const SWITCH: &str = "JITSPAN";
/// What an unexpected compile does.
pub const MODE: &str = "JITSPAN_MODE";
/// Whether everything is told, every time.
pub const VERBOSE: &str = "JITSPAN_VERBOSE";
/// Where the board is.
const BOARD: &str = "JITSPAN_BOARD";
/// When warm-up is over.
pub const ARM: &str = "JITSPAN_ARM";

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

/// When a program that knows nothing of us is warm (`JITSPAN_ARM`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// At its start.
    Now,
    /// So long after its start.
    After(Duration),
    /// Whoever knows says so: `activate()`, an engine, a readiness path.
    Manual,
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

/// Where a process says what it compiles now (`JITSPAN_BOARD`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum BoardPlace {
    /// In shared memory, else in the user's own folder for such things.
    #[default]
    Usual,
    /// In this folder.
    Folder(PathBuf),
    /// Nowhere.
    Off,
}

/// Where the board is, as this process's environment says, whatever else is wrong with that.
#[must_use]
pub fn board_place() -> BoardPlace {
    settings::board(variable(BOARD))
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
    /// A load from a cache on disk that takes less is an event, but no stall, and never an error
    /// (`JITSPAN_LOAD_THRESHOLD`).
    pub load_threshold: Duration,
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
    /// Where this process says what it compiles now (`JITSPAN_BOARD`).
    pub board: BoardPlace,
    /// Whether an engine replays it before warm-up is over (`JITSPAN_PRELOAD`).
    pub preload: bool,
    /// Longest time of that (`JITSPAN_PRELOAD_TIMEOUT`).
    pub preload_timeout: Duration,
    /// Requests of one batch that get a span of their own (`JITSPAN_MAX_REQUESTS`).
    pub max_requests: usize,
    /// A load onto the device that takes as long is told (`JITSPAN_SLOW_LOAD`).
    pub slow_load: Duration,
    /// So is one that finds no more bytes of its memory free (`JITSPAN_LOW_MEMORY`).
    pub low_memory: usize,
    /// When a program that knows nothing of us is warm (`JITSPAN_ARM`).
    pub arm: Arm,
    /// vLLM's requests that come without a trace context are given one (`JITSPAN_VLLM_TRACEPARENT`).
    pub vllm_traceparent: bool,
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
    /// The variables whose values are used.
    used: BTreeSet<String>,
    ignored: Vec<ConfigError>,
}

impl Config {
    /// What we run with where no variable says otherwise.
    fn new(settings: &Settings) -> Self {
        let seconds = Duration::from_secs;
        Config {
            mode: settings.mode,
            verbose: settings.verbose,
            arm: Arm::Manual,
            error_on: vec![Kind::Compile, Kind::Autotune],
            load_threshold: Duration::from_millis(50),
            flush_timeout: seconds(2),
            compile_spans: true,
            events: Events::Span,
            specialization: true,
            manifest: None,
            board: BoardPlace::Usual,
            preload: true,
            preload_timeout: seconds(300),
            max_requests: 128,
            slow_load: Duration::from_millis(20),
            low_memory: 256 * 1024 * 1024,
            vllm_traceparent: true,
            disabled: false,
            traces: Exporters::default(),
            metrics: Exporters::default(),
            interval: Interval { every: seconds(60), timeout: seconds(30) },
            logs: Exporters::default(),
            batch: Batch {
                delay: seconds(5),
                queue: 2048,
                queue_bytes: 8 * 1024 * 1024,
                size: 512,
                timeout: seconds(30),
            },
            limits: Limits::default(),
            sampler: Sampler::default(),
            resource: Resource::default(),
            propagators: Propagators::default(),
            used: BTreeSet::new(),
            ignored: Vec::new(),
        }
    }

    /// What we run with where nothing is said at all.
    pub fn defaults() -> Self {
        Self::new(&Settings::default())
    }

    /// Resolves `settings` and the environment. Where we are switched off there is no error.
    ///
    /// # Errors
    /// The first setting that cannot be used: its name, its value, and what is accepted.
    pub fn resolve(settings: &Settings, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let variables = Variables::new(lookup);
        let mut config = Config::new(settings);
        let mut wrong = None;
        for switch in SWITCHES {
            wrong = wrong.or(switch.read(&variables, &mut config).err());
        }
        if config.disabled {
            variables.forgive();
        }
        variables.forgiven(wrong.map_or(Ok(()), Err))?;
        for setting in SETTINGS {
            setting.read(&variables, &mut config)?;
        }
        config.traces = config.exporters(Signal::Traces, &variables)?;
        config.metrics = config.exporters(Signal::Metrics, &variables)?;
        config.logs = config.exporters(Signal::Logs, &variables)?;
        (config.used, config.ignored) = variables.into_findings();
        Ok(config)
    }

    /// Resolves `settings` and this process's environment.
    ///
    /// # Errors
    /// As [`Config::resolve`].
    pub fn from_environment(settings: &Settings) -> Result<Self, ConfigError> {
        Self::resolve(settings, &variable)
    }

    /// Variables whose values cannot be used and are not: OpenTelemetry's, and all where we are switched off.
    pub fn ignored(&self) -> &[ConfigError] {
        &self.ignored
    }

    /// Where a signal goes. The variables of one that is not sent are not even looked at.
    fn exporters(&self, signal: Signal, variables: &Variables<'_>) -> Result<Exporters, ConfigError> {
        if self.disabled || !self.sends(signal, variables) {
            return Ok(Exporters::default());
        }
        const WORDS: &[(&str, Word)] =
            &[("otlp", Word::Otlp), ("console", Word::Console), ("none", Word::None), ("prometheus", Word::Other)];
        // Prometheus pulls, which an SDK in the same process may be told to let it do: none of ours.
        let words = if signal == Signal::Metrics { WORDS } else { &WORDS[..3] };
        let said = variables.said(&[&settings::exporter(signal)]).words("otlp, console or none", words)?;
        let said = said.unwrap_or_else(|| vec![Word::Otlp]);
        if said.contains(&Word::None) {
            return Ok(Exporters::default());
        }
        let otlp = said.contains(&Word::Otlp).then(|| Endpoint::resolve(signal, variables)).transpose()?;
        Ok(Exporters { otlp, console: said.contains(&Word::Console) })
    }

    fn sends(&self, signal: Signal, variables: &Variables<'_>) -> bool {
        match signal {
            Signal::Traces => true,
            Signal::Logs => self.events != Events::Span,
            Signal::Metrics => {
                let speaking = ["OTEL_METRICS_EXPORTER", OTLP_ENDPOINT, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"];
                speaking.into_iter().any(|name| variables.is_set(name))
            }
        }
    }
}

/// What an exporter's variable can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Otlp,
    Console,
    None,
    Other,
}
