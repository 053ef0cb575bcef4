//! What a span of opentelemetry-python says of itself, whatever its class.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId};
use pyo3::prelude::*;

use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{self, get};

/// Whether a span of opentelemetry-python takes anything.
pub fn is_recording(span: &Bound<'_, PyAny>) -> bool {
    span.call_method0("is_recording").and_then(|answer| answer.is_truthy()).or_none().unwrap_or(false)
}

/// The identity of a span of opentelemetry-python, if it is valid.
pub fn context(span: &Bound<'_, PyAny>) -> Option<SpanContext> {
    let context = span.call_method0("get_span_context").or_none()?;
    let trace_id = get(&context, "trace_id")?.extract::<u128>().or_none()?;
    let span_id = get(&context, "span_id")?.extract::<u64>().or_none()?;
    let flags = get(&context, "trace_flags").and_then(|flags| flags.extract::<u8>().or_none()).unwrap_or_default();
    let remote = get(&context, "is_remote").is_some_and(|remote| remote.is_truthy().or_none().unwrap_or(false));
    let state = get(&context, "trace_state").and_then(|state| state.call_method0("to_header").or_none());
    let state = state.and_then(|state| convert::text(&state).parse().ok());
    let identity = SpanContext::new(
        TraceId::from(trace_id),
        SpanId::from(span_id),
        TraceFlags::new(flags),
        remote,
        state.unwrap_or_default(),
    );
    identity.is_valid().then_some(identity)
}
