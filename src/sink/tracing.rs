//! A Rust program's own `tracing` span as the place of a stall, through `tracing-opentelemetry`.
//! Sets no subscriber: with none, or with one that has no OpenTelemetry layer, there is no such span.

use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use opentelemetry::{Array, KeyValue, StringValue};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::LiveSpan;
use crate::attribute::{Attributes, Value};
use crate::event::{CompileEvent, Failure, UnixNanos};
use crate::semconv::{attribute, event as name};

/// The `tracing` span that is current on this thread, if it has an OpenTelemetry context that is recorded.
pub fn current() -> Option<TracingSpan> {
    let span = tracing::Span::current();
    if span.is_disabled() {
        return None;
    }
    let context = span.context().span().span_context().clone();
    context.is_valid().then_some(TracingSpan { span, context })
}

/// A `tracing` span with its OpenTelemetry identity.
#[derive(Debug)]
pub struct TracingSpan {
    span: tracing::Span,
    context: SpanContext,
}

impl LiveSpan for TracingSpan {
    fn context(&self) -> SpanContext {
        self.context.clone()
    }

    fn stalled(&self, event: &CompileEvent, summary: &Attributes) {
        let name = event.kind.event_name();
        self.span.add_event_with_timestamp(name, time(event.started), pairs(&event.attributes()));
        for (key, value) in summary.iter() {
            self.span.set_attribute(key.to_owned(), converted(value));
        }
    }

    fn fail(&self, failure: &Failure) {
        let exception = vec![
            KeyValue::new(attribute::EXCEPTION_TYPE, failure.error_type.clone()),
            KeyValue::new(attribute::EXCEPTION_MESSAGE, failure.message.clone()),
        ];
        self.span.add_event(name::EXCEPTION, exception);
        self.span.set_attribute(attribute::ERROR_TYPE, failure.error_type.clone());
        self.span.set_status(Status::error(failure.message.clone()));
    }

    /// The span's SDK belongs to the program, which alone holds its provider.
    fn flush(&self, _timeout: Duration) {}
}

fn time(at: UnixNanos) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_nanos(at)
}

fn pairs(attributes: &Attributes) -> Vec<KeyValue> {
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
