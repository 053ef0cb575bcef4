//! A Rust program's own span as the place of a stall: of `tracing`, through `tracing-opentelemetry`, or of the
//! OpenTelemetry API itself. Sets no subscriber: with none, or with one that has no OpenTelemetry layer, there is no
//! such span. Both crates must be the versions of our `Cargo.toml`; another version has another current span.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use opentelemetry::{Array, Context, KeyValue, StringValue};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::LiveSpan;
use crate::live::Place;
use crate::model::attribute::{Attributes, Value};
use crate::model::event::{CompileEvent, Failure, UnixNanos};
use crate::semconv::{attribute, event as name, span as key};

/// The span that is current on this thread. One that is not recorded is a parent, so that its sampling is honoured.
///
/// `spawn_blocking` and threads have no current span until one is moved in and entered:
/// `let span = Span::current(); spawn_blocking(move || span.in_scope(|| ...))`.
pub fn place() -> Place {
    let active = Context::current();
    let spans = spans();
    // An OpenTelemetry span that was made current by hand stands inside the `tracing` spans; an entered `tracing` span
    // is current there too, unless its layer has been told otherwise (`with_context_activation(false)`).
    let recording = std::iter::once(&active).chain(&spans).find(|context| context.span().is_recording());
    if let Some(context) = recording {
        let root = spans.iter().rev().find(|context| context.span().is_recording()).cloned();
        return Place::Live(Arc::new(RustSpan { context: context.clone(), root }));
    }
    let parent = std::iter::once(&active).chain(&spans).map(identity).find(SpanContext::is_valid);
    parent.map_or(Place::Nobody, Place::Under)
}

/// The contexts of the current `tracing` span and of those around it, the innermost first. A span that the
/// OpenTelemetry layer's filter has taken out has none; the request's span around it still waits.
fn spans() -> Vec<Context> {
    // `Span::current` is a span that has been entered: to ask for its context starts nothing that has not started,
    // after which the program could not set its parent.
    let current = tracing::Span::current();
    let around = current.with_subscriber(|(id, dispatch)| {
        // A subscriber that is not made of layers on a registry cannot be asked for the spans around one.
        let around = dispatch.downcast_ref::<Registry>().and_then(|registry| registry.span(id));
        let ids = around.map_or_else(|| vec![id.clone()], |span| span.scope().map(|span| span.id()).collect());
        ids.iter().filter_map(|id| tracing_opentelemetry::get_otel_context(id, dispatch)).collect()
    });
    around.unwrap_or_default()
}

fn identity(context: &Context) -> SpanContext {
    context.span().span_context().clone()
}

/// A span that an OpenTelemetry context holds.
#[derive(Debug)]
struct RustSpan {
    context: Context,
    root: Option<Context>,
}

impl LiveSpan for RustSpan {
    fn context(&self) -> SpanContext {
        identity(&self.context)
    }

    fn is_recording(&self) -> bool {
        self.context.span().is_recording()
    }

    fn root(&self) -> Option<Arc<dyn LiveSpan>> {
        let root = self.root.as_ref()?;
        let (own, other) = (identity(&self.context), identity(root));
        // A span with a trace of its own inside a request is no part of the request.
        let same = own.span_id() == other.span_id() || own.trace_id() != other.trace_id();
        (!same).then(|| Arc::new(RustSpan { context: root.clone(), root: None }) as Arc<dyn LiveSpan>)
    }

    fn add(&self, event: &CompileEvent) {
        let attributes = pairs(&event.attributes());
        self.context.span().add_event_with_timestamp(event.kind.event_name(), time(event.began()), attributes);
    }

    /// Only what cannot change: the Rust SDK (0.33) appends an attribute that is there already, and OTLP allows a name
    /// once. The numbers are on the events and on the compiles' own spans.
    fn summarise(&self, summary: &Attributes, first: bool) {
        let stalled = summary.get(key::STALLED).filter(|_| first);
        if let Some(stalled) = stalled {
            self.context.span().set_attribute(KeyValue::new(key::STALLED, converted(stalled)));
        }
    }

    fn fail(&self, failure: &Failure, first: bool) {
        let exception = vec![
            KeyValue::new(attribute::EXCEPTION_TYPE, failure.error_type.clone()),
            KeyValue::new(attribute::EXCEPTION_MESSAGE, failure.message.clone()),
        ];
        let span = self.context.span();
        span.add_event(name::EXCEPTION, exception);
        if first {
            span.set_attribute(KeyValue::new(attribute::ERROR_TYPE, failure.error_type.clone()));
        }
        span.set_status(Status::error(failure.message.clone()));
    }

    /// Its SDK belongs to the program, which alone holds the provider.
    fn flush(&self, _timeout: Duration) -> Option<Receiver<()>> {
        None
    }
}

fn time(at: UnixNanos) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_nanos(at)
}

/// Attributes as OpenTelemetry's API has them.
pub(crate) fn pairs(attributes: &Attributes) -> Vec<KeyValue> {
    attributes.iter().map(|(key, value)| KeyValue::new(key.to_owned(), converted(value))).collect()
}

fn converted(value: &Value) -> opentelemetry::Value {
    match value {
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Double(value) => (*value).into(),
        Value::Text(text) => text.clone().into_owned().into(),
        Value::List(values) => {
            let texts = values.iter().map(|value| StringValue::from(converted(value).to_string()));
            opentelemetry::Value::Array(Array::String(texts.collect()))
        }
    }
}
