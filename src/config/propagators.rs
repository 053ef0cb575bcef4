//! `OTEL_PROPAGATORS`: in which headers a request's trace context is looked for.

use super::read::{ConfigError, Variables};
use crate::propagation::Format;

/// The formats, in the order they are read; of those that a carrier has, the last one counts, as in OpenTelemetry's
/// composite propagator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Propagators(pub Vec<Format>);

impl Default for Propagators {
    fn default() -> Self {
        Propagators(vec![Format::TraceContext])
    }
}

impl Propagators {
    /// `baggage` is accepted and ignored: it carries no span, and what clients put into it is not ours to publish.
    pub(super) fn resolve(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        const ACCEPTED: &str = "tracecontext, baggage, b3, b3multi, jaeger, none, or several with commas";
        let words = variables.list("OTEL_PROPAGATORS", ACCEPTED, |word| match word {
            "tracecontext" => Some(Some(Format::TraceContext)),
            // One propagator in the specification: both forms are read.
            "b3" | "b3multi" => Some(Some(Format::B3)),
            "jaeger" => Some(Some(Format::Jaeger)),
            "baggage" | "none" => Some(None),
            _ => None,
        })?;
        Ok(words.map_or_else(Propagators::default, |words| Propagators(words.into_iter().flatten().collect())))
    }
}
