//! What we run with, for people: `jitspan doctor`. Shows no credential.

use std::time::Duration;

use super::read::UNLIMITED;
use super::{Config, Endpoint, Events, Exporters, Protocol, Signal};
use crate::config::Compression;

/// One setting: the variable, what it comes to, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The variable.
    pub variable: String,
    /// What we run with.
    pub value: String,
    /// `environment`, the more general variable that was set instead, or `default`.
    pub origin: String,
}

impl Config {
    /// All settings, in the order of the documentation.
    pub fn describe(&self) -> Vec<Described> {
        let mut table = Table { config: self, rows: Vec::new() };
        table.row("OTEL_SDK_DISABLED", self.disabled, &["JITSPAN"]);
        table.row("JITSPAN_EVENTS", events(self.events), &[]);
        table.row("JITSPAN_COMPILE_SPANS", self.compile_spans, &[]);
        table.row("JITSPAN_ERROR_ON", self.error_on.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(","), &[]);
        table.row("JITSPAN_FLUSH_TIMEOUT", format!("{} s", self.flush_timeout.as_secs_f64()), &[]);
        table.row("JITSPAN_SPECIALIZATION", self.specialization, &[]);
        let folder = self.manifest.as_ref().map_or("<not set>".to_owned(), |folder| folder.display().to_string());
        table.row("JITSPAN_MANIFEST", folder, &[]);
        table.row("JITSPAN_PRELOAD", self.preload, &[]);
        table.row("JITSPAN_PRELOAD_TIMEOUT", format!("{} s", self.preload_timeout.as_secs_f64()), &[]);
        table.row("JITSPAN_MAX_REQUESTS", self.max_requests, &[]);
        table.row(
            "OTEL_SERVICE_NAME",
            self.resource.get("service.name").unwrap_or("<not set>"),
            &["OTEL_RESOURCE_ATTRIBUTES"],
        );
        let pairs = self.resource.attributes.iter().map(|(key, value)| format!("{key}={value}"));
        table.row("OTEL_RESOURCE_ATTRIBUTES", pairs.collect::<Vec<_>>().join(","), &["OTEL_SERVICE_NAME"]);
        table.row("OTEL_PROPAGATORS", self.propagators_text(), &[]);
        table.row("OTEL_TRACES_SAMPLER", self.sampler.to_string(), &[]);
        for (signal, exporters) in
            [(Signal::Traces, &self.traces), (Signal::Metrics, &self.metrics), (Signal::Logs, &self.logs)]
        {
            table.signal(signal, exporters);
        }
        table.row("OTEL_BSP_SCHEDULE_DELAY", milliseconds(self.batch.delay), &[]);
        table.row("OTEL_BSP_MAX_QUEUE_SIZE", self.batch.queue, &[]);
        table.row("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", self.batch.size, &[]);
        table.row("OTEL_BSP_EXPORT_TIMEOUT", timeout(self.batch.timeout), &[]);
        table.row("OTEL_METRIC_EXPORT_INTERVAL", milliseconds(self.interval.every), &[]);
        table.row("OTEL_METRIC_EXPORT_TIMEOUT", timeout(self.interval.timeout), &[]);
        let limits = &self.limits;
        let length = |length: Option<usize>| length.map_or("unlimited".to_owned(), |length| length.to_string());
        table.row("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", length(limits.value_length), &[]);
        table.row(
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            length(limits.span_value_length.or(limits.value_length)),
            &["OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"],
        );
        table.row("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", limits.attributes, &["OTEL_ATTRIBUTE_COUNT_LIMIT"]);
        table.row("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", limits.event_attributes, &["OTEL_ATTRIBUTE_COUNT_LIMIT"]);
        table.row("OTEL_SPAN_EVENT_COUNT_LIMIT", limits.events, &[]);
        table.rows
    }

    fn propagators_text(&self) -> String {
        let words: Vec<&str> = self.propagators.0.iter().map(|format| format.word()).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(",") }
    }
}

struct Table<'a> {
    config: &'a Config,
    rows: Vec<Described>,
}

impl Table<'_> {
    fn row(&mut self, variable: impl Into<String>, value: impl ToString, instead: &[&str]) {
        let variable = variable.into();
        let given = |name: &str| self.config.given.contains(name);
        let origin = if given(&variable) {
            "environment"
        } else {
            instead.iter().copied().find(|name| given(name)).unwrap_or("default")
        };
        let origin = origin.to_owned();
        self.rows.push(Described { variable, value: value.to_string(), origin });
    }

    fn signal(&mut self, signal: Signal, exporters: &Exporters) {
        let word = signal.word();
        self.row(format!("OTEL_{word}_EXPORTER"), chosen(exporters), &[]);
        let Some(endpoint) = &exporters.otlp else { return };
        for (setting, value) in settings(endpoint) {
            let general = format!("OTEL_EXPORTER_OTLP_{setting}");
            self.row(format!("OTEL_EXPORTER_OTLP_{word}_{setting}"), value, &[&general]);
        }
    }
}

fn chosen(exporters: &Exporters) -> &'static str {
    match (exporters.otlp.is_some(), exporters.console) {
        (true, true) => "otlp,console",
        (true, false) => "otlp",
        (false, true) => "console",
        (false, false) => "none",
    }
}

fn settings(endpoint: &Endpoint) -> [(&'static str, String); 9] {
    let headers = endpoint.headers.iter().map(|(name, _)| format!("{name}=<hidden>")).collect::<Vec<_>>().join(",");
    let file = |path: &Option<std::path::PathBuf>, none: &str| {
        path.as_ref().map_or(none.into(), |path| path.display().to_string())
    };
    let secure = endpoint.uri.scheme_str() == Some("https");
    [
        ("ENDPOINT", endpoint.shown_uri()),
        (
            "PROTOCOL",
            match endpoint.protocol {
                Protocol::Grpc => "grpc",
                Protocol::HttpProtobuf => "http/protobuf",
            }
            .to_owned(),
        ),
        ("HEADERS", headers),
        ("TIMEOUT", timeout(endpoint.timeout)),
        (
            "COMPRESSION",
            match endpoint.compression {
                None => "none",
                Some(Compression::Gzip) => "gzip",
                Some(Compression::Zstd) => "zstd",
            }
            .to_owned(),
        ),
        ("INSECURE", (!secure).to_string()),
        ("CERTIFICATE", file(&endpoint.tls.certificate, if secure { "<the system's>" } else { "<not used>" })),
        ("CLIENT_KEY", file(&endpoint.tls.client_key, "<not set>")),
        ("CLIENT_CERTIFICATE", file(&endpoint.tls.client_certificate, "<not set>")),
    ]
}

fn events(events: Events) -> &'static str {
    match events {
        Events::Span => "span",
        Events::Log => "log",
        Events::Both => "both",
    }
}

fn timeout(duration: Duration) -> String {
    if duration == UNLIMITED { "no limit".to_owned() } else { milliseconds(duration) }
}

fn milliseconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
