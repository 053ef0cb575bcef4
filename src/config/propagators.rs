//! `OTEL_PROPAGATORS`: in which headers a request's trace context is looked for.

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
