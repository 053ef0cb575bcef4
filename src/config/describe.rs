//! What we run with, for people: `jitspan doctor`. Shows no credential.

use super::{Config, Exporters, Signal};

/// One setting: the variable, what it comes to, and who said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// The variable.
    pub variable: String,
    /// What we run with.
    pub value: String,
    /// `environment` or `default`.
    pub origin: String,
}

impl Config {
    /// The settings that decide what is sent, and where.
    pub fn describe(&self) -> Vec<Described> {
        let mut rows = vec![
            row("OTEL_SDK_DISABLED", self.disabled.to_string()),
            row("OTEL_SERVICE_NAME", self.resource.get("service.name").unwrap_or("<not set>").to_owned()),
            row("JITSPAN_FLUSH_TIMEOUT", format!("{} s", self.flush_timeout.as_secs_f64())),
        ];
        let signals = [(Signal::Traces, &self.traces), (Signal::Metrics, &self.metrics), (Signal::Logs, &self.logs)];
        for (signal, exporters) in signals {
            rows.push(row(&format!("OTEL_{}_EXPORTER", signal.word()), chosen(exporters).to_owned()));
            let endpoint = exporters.otlp.as_ref();
            let address = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.word());
            rows.extend(endpoint.map(|endpoint| row(&address, endpoint.shown_uri())));
        }
        rows
    }
}

fn row(variable: &str, value: String) -> Described {
    let given = std::env::var_os(variable).is_some();
    let origin = if given { "environment" } else { "default" };
    Described { variable: variable.to_owned(), value, origin: origin.to_owned() }
}

fn chosen(exporters: &Exporters) -> &'static str {
    match (exporters.otlp.is_some(), exporters.console) {
        (true, true) => "otlp,console",
        (true, false) => "otlp",
        (false, true) => "console",
        (false, false) => "none",
    }
}
