//! The table of settings. A new one is a row: its variable, how it is read, and what is shown of it. What it comes to by
//! default stands in [`Config::new`] and [`Endpoint`].

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::otlp::{self, Draft};
use super::read::{ConfigError, Said, UNLIMITED, Variables, seconds};
use super::{
    ARM, Arm, BOARD, BoardPlace, Compression, Config, Endpoint, Events, Exporters, MODE, Mode, Protocol, SWITCH,
    Signal, VERBOSE, redact,
};
use crate::model::event::Kind;
use crate::propagation::Format;

/// One setting.
pub(super) struct Setting {
    /// Its variable, and behind it others that say the same for more than this: the first one that can be used counts.
    names: &'static [&'static str],
    /// Puts what was said into what we run with.
    read: fn(&Said<'_>, &mut Config) -> Result<(), ConfigError>,
    /// What we run with, for people.
    show: fn(&Config) -> Shown,
}

/// One setting of where a signal goes; `OTEL_EXPORTER_OTLP_<SIGNAL>_<word>`, else `OTEL_EXPORTER_OTLP_<word>`.
pub(super) struct EndpointSetting {
    word: &'static str,
    read: fn(&Said<'_>, &mut Draft) -> Result<(), ConfigError>,
    show: fn(&Endpoint) -> Shown,
}

/// The switches: read before everything else.
pub(super) const SWITCHES: &[Setting] = &[
    Setting {
        names: &[SWITCH],
        read: |said, config| put(&mut config.disabled, said.flag()?.map(|on| !on)),
        show: |config| Shown::Flag(!config.disabled),
    },
    Setting {
        names: &["OTEL_SDK_DISABLED", SWITCH],
        read: |said, config| {
            config.disabled |= said.own().flag()?.unwrap_or(false);
            Ok(())
        },
        show: |config| Shown::Flag(config.disabled),
    },
];

/// All others, in the order of the documentation.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        names: &[MODE],
        // It wins over what a server's flag or a call says: it is how an operator overrides both.
        read: |said, config| {
            let words = [("warn", Mode::Warn), ("error", Mode::Error)];
            put(&mut config.mode, said.word("warn or error", &words)?)
        },
        show: |config| Shown::text(config.mode.word()),
    },
    Setting {
        names: &[VERBOSE],
        read: |said, config| put(&mut config.verbose, said.flag()?),
        show: |config| Shown::Flag(config.verbose),
    },
    Setting {
        names: &[ARM],
        read: |said, config| put(&mut config.arm, said.value(Arm::ACCEPTED, Arm::from_text)?),
        show: |config| Shown::text(config.arm),
    },
    Setting {
        names: &["JITSPAN_EVENTS"],
        read: |said, config| put(&mut config.events, said.word("span, log or both", EVENTS)?),
        show: |config| Shown::text(word_of(EVENTS, &config.events)),
    },
    Setting {
        names: &["JITSPAN_COMPILE_SPANS"],
        read: |said, config| put(&mut config.compile_spans, said.flag()?),
        show: |config| Shown::Flag(config.compile_spans),
    },
    Setting {
        names: &["JITSPAN_ERROR_ON"],
        read: |said, config| {
            const ACCEPTED: &str = "compile, autotune, load, tuner_miss, or several with commas";
            let words = [Kind::Compile, Kind::Autotune, Kind::Load, Kind::TunerMiss].map(|kind| (kind.word(), kind));
            put(&mut config.error_on, said.words(ACCEPTED, &words)?)
        },
        show: |config| Shown::text(config.error_on.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(",")),
    },
    Setting {
        names: &["JITSPAN_LOAD_THRESHOLD"],
        read: |said, config| put(&mut config.load_threshold, said.seconds(Duration::from_secs(3600))?),
        show: |config| Shown::Seconds(config.load_threshold),
    },
    Setting {
        names: &["JITSPAN_FLUSH_TIMEOUT"],
        // Whoever waits longer than an hour for a collector waits for nothing.
        read: |said, config| put(&mut config.flush_timeout, said.seconds(Duration::from_secs(3600))?),
        show: |config| Shown::Seconds(config.flush_timeout),
    },
    Setting {
        names: &["JITSPAN_SPECIALIZATION"],
        read: |said, config| put(&mut config.specialization, said.flag()?),
        show: |config| Shown::Flag(config.specialization),
    },
    Setting {
        names: &["JITSPAN_MANIFEST"],
        // The switch works whatever the folder is.
        read: |said, config| {
            config.manifest = if config.disabled { None } else { manifest(said)? };
            Ok(())
        },
        show: |config| {
            config.manifest.as_ref().map_or(Shown::NotSet("not set"), |folder| Shown::text(folder.display()))
        },
    },
    Setting {
        names: &[BOARD],
        // What is wrong with a folder is told when it is used, and stops nothing.
        read: |said, config| {
            config.board = board(said.text().map(|(_, value)| value));
            if config.disabled {
                config.board = BoardPlace::Off;
            }
            Ok(())
        },
        show: |config| match &config.board {
            BoardPlace::Usual => Shown::NotSet("in shared memory"),
            BoardPlace::Off => Shown::text("off"),
            BoardPlace::Folder(folder) => Shown::text(folder.display()),
        },
    },
    Setting {
        names: &["JITSPAN_PRELOAD"],
        read: |said, config| put(&mut config.preload, said.flag()?),
        show: |config| Shown::Flag(config.preload),
    },
    Setting {
        names: &["JITSPAN_PRELOAD_TIMEOUT"],
        read: |said, config| put(&mut config.preload_timeout, said.seconds(Duration::from_secs(24 * 3600))?),
        show: |config| Shown::Seconds(config.preload_timeout),
    },
    Setting {
        names: &["JITSPAN_MAX_REQUESTS"],
        read: |said, config| put(&mut config.max_requests, said.count(1..=65_536)?),
        show: |config| Shown::Count(config.max_requests),
    },
    Setting {
        names: &["JITSPAN_SLOW_LOAD"],
        read: |said, config| put(&mut config.slow_load, said.seconds(Duration::from_secs(3600))?),
        show: |config| Shown::Seconds(config.slow_load),
    },
    Setting {
        names: &["JITSPAN_LOW_MEMORY"],
        read: |said, config| put(&mut config.low_memory, said.count_from(0)?),
        show: |config| Shown::Count(config.low_memory),
    },
    Setting {
        names: &["JITSPAN_VLLM_TRACEPARENT"],
        read: |said, config| put(&mut config.vllm_traceparent, said.flag()?),
        show: |config| Shown::Flag(config.vllm_traceparent),
    },
    Setting {
        names: &["OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"],
        // The specification: what cannot be read is discarded, all of it.
        read: |said, config| put(&mut config.resource.attributes, said.own().pairs_or_ignored()),
        show: |config| {
            let pairs = config.resource.attributes.iter().map(|(key, value)| (&**key, &**value));
            Shown::text(redact::attributes(pairs))
        },
    },
    Setting {
        names: &["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"],
        read: |said, config| {
            said.own().text().into_iter().for_each(|(_, name)| config.resource.name(name));
            Ok(())
        },
        show: |config| config.resource.get("service.name").map_or(Shown::NotSet("not set"), Shown::text),
    },
    Setting {
        names: &["OTEL_PROPAGATORS"],
        read: |said, config| {
            const ACCEPTED: &str = "tracecontext, baggage, b3, b3multi, jaeger, none, or several with commas";
            let formats = said.words(ACCEPTED, PROPAGATORS)?;
            put(&mut config.propagators.0, formats.map(|formats| formats.into_iter().flatten().collect()))
        },
        show: |config| {
            let words: Vec<&str> = config.propagators.0.iter().map(|format| format.word()).collect();
            Shown::text(if words.is_empty() { "none".to_owned() } else { words.join(",") })
        },
    },
    Setting {
        names: &["OTEL_TRACES_SAMPLER"],
        read: |said, config| config.sampler.read(said),
        show: |config| Shown::text(config.sampler),
    },
    Setting {
        names: &["OTEL_TRACES_SAMPLER_ARG"],
        read: |said, config| config.sampler.read_ratio(said),
        show: |config| config.sampler.ratio_text().map_or(Shown::NotSet("not used"), Shown::text),
    },
    Setting {
        names: &["OTEL_BSP_SCHEDULE_DELAY"],
        read: |said, config| put(&mut config.batch.delay, said.milliseconds()?),
        show: |config| Shown::Milliseconds(config.batch.delay),
    },
    Setting {
        names: &["OTEL_BSP_MAX_QUEUE_SIZE"],
        read: |said, config| {
            put(&mut config.batch.queue, said.count_from(1)?)?;
            config.batch.size = config.batch.size.min(config.batch.queue);
            Ok(())
        },
        show: |config| Shown::Count(config.batch.queue),
    },
    Setting {
        names: &["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"],
        read: |said, config| put(&mut config.batch.size, said.count(1..=config.batch.queue)?),
        show: |config| Shown::Count(config.batch.size),
    },
    Setting {
        names: &["OTEL_BSP_EXPORT_TIMEOUT"],
        read: |said, config| put(&mut config.batch.timeout, said.timeout()?),
        show: |config| Shown::Milliseconds(config.batch.timeout),
    },
    Setting {
        names: &["OTEL_METRIC_EXPORT_INTERVAL"],
        // An interval of nothing would send without a pause.
        read: |said, config| {
            let every = said.milliseconds()?.map(|every| every.max(Duration::from_millis(100)));
            put(&mut config.interval.every, every)
        },
        show: |config| Shown::Milliseconds(config.interval.every),
    },
    Setting {
        names: &["OTEL_METRIC_EXPORT_TIMEOUT"],
        read: |said, config| put(&mut config.interval.timeout, said.timeout()?),
        show: |config| Shown::Milliseconds(config.interval.timeout),
    },
    Setting {
        names: &["OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"],
        read: |said, config| put(&mut config.limits.value_length, said.count_from(0)?.map(Some)),
        show: |config| length(config.limits.value_length),
    },
    Setting {
        names: &["OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"],
        read: |said, config| put(&mut config.limits.span_value_length, said.count_from(0)?.map(Some)),
        show: |config| length(config.limits.span_value_length.or(config.limits.value_length)),
    },
    Setting {
        names: &["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"],
        read: |said, config| put(&mut config.limits.attributes, said.count_from(0)?),
        show: |config| Shown::Count(config.limits.attributes),
    },
    Setting {
        names: &["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"],
        read: |said, config| put(&mut config.limits.event_attributes, said.count_from(0)?),
        show: |config| Shown::Count(config.limits.event_attributes),
    },
    Setting {
        names: &["OTEL_SPAN_EVENT_COUNT_LIMIT"],
        read: |said, config| put(&mut config.limits.events, said.count_from(0)?),
        show: |config| Shown::Count(config.limits.events),
    },
];

/// In this order: a protocol that is not said follows from the address, and what may be packed how from both.
pub(super) const ENDPOINT_SETTINGS: &[EndpointSetting] = &[
    EndpointSetting {
        word: "ENDPOINT",
        read: |said, draft| {
            draft.address = said.text().map(|(variable, value)| (variable.to_owned(), value));
            Ok(())
        },
        show: |endpoint| Shown::text(endpoint.shown_uri()),
    },
    EndpointSetting {
        word: "PROTOCOL",
        read: |said, draft| {
            let said = said.word("grpc or http/protobuf", PROTOCOLS)?;
            draft.protocol = said.unwrap_or_else(|| draft.usual_protocol());
            Ok(())
        },
        show: |endpoint| Shown::text(word_of(PROTOCOLS, &endpoint.protocol)),
    },
    EndpointSetting {
        word: "INSECURE",
        read: |said, draft| put(&mut draft.insecure, said.flag()?),
        show: |endpoint| Shown::Flag(!endpoint.is_secure()),
    },
    EndpointSetting {
        word: "HEADERS",
        read: |said, draft| otlp::headers(said).map(|headers| draft.headers = headers),
        show: |endpoint| {
            let names = endpoint.headers.iter().map(|(name, _)| name.as_str());
            if endpoint.headers.is_empty() { Shown::NotSet("none") } else { Shown::text(redact::headers(names)) }
        },
    },
    EndpointSetting {
        word: "TIMEOUT",
        read: |said, draft| put(&mut draft.timeout, said.timeout()?),
        show: |endpoint| Shown::Milliseconds(endpoint.timeout),
    },
    EndpointSetting {
        word: "COMPRESSION",
        read: |said, draft| {
            let usable = |(_, way): &&(&str, Option<Compression>)| draft.protocol == Protocol::Grpc || *way != ZSTD;
            let words: Vec<_> = COMPRESSIONS.iter().filter(usable).copied().collect();
            put(&mut draft.compression, said.word("none or gzip (zstd too with grpc)", &words)?)
        },
        show: |endpoint| Shown::text(word_of(COMPRESSIONS, &endpoint.compression)),
    },
    EndpointSetting {
        word: "CERTIFICATE",
        read: |said, draft| otlp::file(said).map(|file| draft.tls.certificate = file),
        show: |endpoint| {
            let none = if endpoint.is_secure() { "the system's" } else { "not used" };
            file(endpoint.tls.certificate.as_ref(), none)
        },
    },
    EndpointSetting {
        word: "CLIENT_KEY",
        read: |said, draft| otlp::file(said).map(|file| draft.tls.client_key = file),
        show: |endpoint| file(endpoint.tls.client_key.as_ref(), "not set"),
    },
    EndpointSetting {
        word: "CLIENT_CERTIFICATE",
        read: |said, draft| otlp::file(said).map(|file| draft.tls.client_certificate = file),
        show: |endpoint| file(endpoint.tls.client_certificate.as_ref(), "not set"),
    },
];

const EVENTS: &[(&str, Events)] = &[("span", Events::Span), ("log", Events::Log), ("both", Events::Both)];

const PROTOCOLS: &[(&str, Protocol)] = &[("grpc", Protocol::Grpc), ("http/protobuf", Protocol::HttpProtobuf)];

const ZSTD: Option<Compression> = Some(Compression::Zstd);

const COMPRESSIONS: &[(&str, Option<Compression>)] =
    &[("none", None), ("gzip", Some(Compression::Gzip)), ("zstd", ZSTD)];

/// `baggage` is accepted and ignored: it carries no span, and what clients put into it is not ours to publish.
/// b3 is one propagator in the specification, whose both forms are read.
const PROPAGATORS: &[(&str, Option<Format>)] = &[
    ("tracecontext", Some(Format::TraceContext)),
    ("b3", Some(Format::B3)),
    ("b3multi", Some(Format::B3)),
    ("jaeger", Some(Format::Jaeger)),
    ("baggage", None),
    ("none", None),
];

impl Setting {
    pub(super) fn read(&self, variables: &Variables<'_>, config: &mut Config) -> Result<(), ConfigError> {
        variables.forgiven((self.read)(&variables.said(self.names), config))
    }
}

impl EndpointSetting {
    pub(super) fn read(&self, signal: Signal, variables: &Variables<'_>, draft: &mut Draft) -> Result<(), ConfigError> {
        let names = self.names(signal);
        (self.read)(&variables.said(&names.each_ref().map(String::as_str)), draft)
    }

    fn names(&self, signal: Signal) -> [String; 2] {
        let word = self.word;
        [format!("OTEL_EXPORTER_OTLP_{}_{word}", signal.word()), format!("OTEL_EXPORTER_OTLP_{word}")]
    }
}

/// Where a signal goes: `OTEL_<SIGNAL>_EXPORTER`.
pub(super) fn exporter(signal: Signal) -> String {
    format!("OTEL_{}_EXPORTER", signal.word())
}

/// Our own variables.
pub(super) fn ours() -> impl Iterator<Item = &'static str> {
    SWITCHES
        .iter()
        .chain(SETTINGS)
        .filter_map(|row| row.names.first().copied())
        .filter(|name| name.starts_with("JITSPAN"))
}

/// One setting, for people: `jitspan doctor`. Shows no credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The variable.
    pub variable: String,
    /// What we run with.
    pub value: Shown,
    /// `environment`, the more general variable that was set instead, or `default`.
    pub origin: String,
}

/// What we run with, for people and for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Nothing, and what that means.
    NotSet(&'static str),
    /// Yes or no.
    Flag(bool),
    /// A number.
    Count(usize),
    /// A number, or no limit.
    Milliseconds(Duration),
    /// A number.
    Seconds(Duration),
    /// A word, an address, a list.
    Text(String),
}

impl Shown {
    fn text(text: impl ToString) -> Self {
        Shown::Text(text.to_string())
    }

    /// For a program: null, a Boolean, a number, or text. A number's unit is the variable's own.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Shown::NotSet(_) => serde_json::Value::Null,
            Shown::Flag(flag) => (*flag).into(),
            Shown::Count(count) => (*count).into(),
            Shown::Milliseconds(time) if *time == UNLIMITED => serde_json::Value::Null,
            Shown::Milliseconds(time) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into(),
            Shown::Seconds(time) => time.as_secs_f64().into(),
            Shown::Text(text) => text.as_str().into(),
        }
    }
}

/// For a person.
impl std::fmt::Display for Shown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shown::NotSet(meaning) => write!(formatter, "({meaning})"),
            Shown::Flag(flag) => write!(formatter, "{flag}"),
            Shown::Count(count) => write!(formatter, "{count}"),
            Shown::Milliseconds(time) if *time == UNLIMITED => write!(formatter, "no limit"),
            Shown::Milliseconds(time) => write!(formatter, "{} ms", time.as_millis()),
            Shown::Seconds(time) => write!(formatter, "{} s", time.as_secs_f64()),
            Shown::Text(text) => write!(formatter, "{text}"),
        }
    }
}

impl Config {
    /// All settings, in the order of the documentation. Of a signal that is not sent there is one row.
    pub fn describe(&self) -> Vec<Described> {
        let mut rows: Vec<Described> =
            SWITCHES.iter().chain(SETTINGS).map(|row| self.row(row.names, (row.show)(self))).collect();
        for (signal, exporters) in
            [(Signal::Traces, &self.traces), (Signal::Metrics, &self.metrics), (Signal::Logs, &self.logs)]
        {
            rows.push(self.row(&[&exporter(signal)], Shown::text(chosen(exporters))));
            for row in
                exporters.otlp.iter().flat_map(|endpoint| ENDPOINT_SETTINGS.iter().map(move |row| (row, endpoint)))
            {
                let names = row.0.names(signal);
                rows.push(self.row(&names.each_ref().map(String::as_str), (row.0.show)(row.1)));
            }
        }
        rows
    }

    fn row(&self, names: &[&str], value: Shown) -> Described {
        let used = names.iter().position(|name| self.used.contains(*name));
        let origin = match used {
            None => "default",
            Some(0) => "environment",
            Some(other) => names[other],
        };
        let variable = names.first().copied().unwrap_or_default();
        Described { variable: variable.to_owned(), value, origin: origin.to_owned() }
    }
}

/// The names of all variables that we read, those of a signal for each signal.
pub fn variables() -> BTreeSet<String> {
    let plain = SWITCHES.iter().chain(SETTINGS).flat_map(|row| row.names).map(|name| (*name).to_owned());
    let signals = [Signal::Traces, Signal::Metrics, Signal::Logs];
    let of_signals = signals.into_iter().flat_map(|signal| {
        let endpoint = ENDPOINT_SETTINGS.iter().flat_map(move |row| row.names(signal));
        endpoint.chain(std::iter::once(exporter(signal)))
    });
    plain.chain(of_signals).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "the last step of a row, whose other steps can fail")]
fn put<T>(place: &mut T, said: Option<T>) -> Result<(), ConfigError> {
    if let Some(said) = said {
        *place = said;
    }
    Ok(())
}

/// What is said of it.
pub(super) fn board(said: Option<String>) -> BoardPlace {
    match said.as_deref().map(str::trim) {
        None | Some("") => BoardPlace::Usual,
        Some("off" | "0" | "none") => BoardPlace::Off,
        Some(folder) => BoardPlace::Folder(PathBuf::from(folder)),
    }
}

fn manifest(said: &Said<'_>) -> Result<Option<PathBuf>, ConfigError> {
    let Some((variable, value)) = said.text() else { return Ok(None) };
    let folder = PathBuf::from(&value);
    match crate::manifest::folder::check_or_parent(&folder) {
        Ok(()) => Ok(Some(folder)),
        Err(reason) => {
            let accepted = format!("a folder of our own that not everybody may write ({reason})");
            Err(ConfigError::new(variable, &value, accepted))
        }
    }
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

fn length(length: Option<usize>) -> Shown {
    length.map_or(Shown::NotSet("unlimited"), Shown::Count)
}

fn file(path: Option<&std::path::PathBuf>, none: &'static str) -> Shown {
    path.map_or(Shown::NotSet(none), |path| Shown::Text(redact::file(path)))
}

fn chosen(exporters: &Exporters) -> &'static str {
    match (exporters.otlp.is_some(), exporters.console) {
        (true, true) => "otlp,console",
        (true, false) => "otlp",
        (false, true) => "console",
        (false, false) => "none",
    }
}

impl Arm {
    const ACCEPTED: &'static str = "now, manual, or after=<seconds> with at most 604800 seconds, a week";

    /// What a user's word means.
    pub fn from_text(text: &str) -> Option<Self> {
        match text.trim() {
            "now" => Some(Arm::Now),
            "manual" => Some(Arm::Manual),
            text => {
                let week = Duration::from_secs(7 * 24 * 3600);
                text.strip_prefix("after=").and_then(|text| seconds(text, week)).map(Arm::After)
            }
        }
    }

    /// What is accepted, for an error.
    pub fn accepted() -> &'static str {
        Self::ACCEPTED
    }
}

/// As the variable would say it.
impl std::fmt::Display for Arm {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Arm::Now => write!(formatter, "now"),
            Arm::After(time) => write!(formatter, "after={}", time.as_secs_f64()),
            Arm::Manual => write!(formatter, "manual"),
        }
    }
}
