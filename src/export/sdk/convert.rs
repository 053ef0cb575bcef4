//! Our spans as the SDK's, and its resource as attributes of ours.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status as TheirStatus};
use opentelemetry::{Array, InstrumentationScope, KeyValue, Value as TheirValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::export::resource::Foreign;
use crate::live::rust::pairs;
use crate::model::attribute::Value;
use crate::model::event::UnixNanos;
use crate::model::span::{Span, SpanEvent, Status};
use crate::semconv::SCOPE_NAME;
use crate::semconv::resource::{PROCESS_PID, SERVICE_INSTANCE_ID};

/// The span as an exporter of the SDK takes it.
pub fn span_data(span: &Span) -> SpanData {
    let parent = span.parent.as_ref();
    let mut events = SpanEvents::default();
    events.events = span.events.iter().map(event).collect();
    events.dropped_count = span.dropped_events;
    SpanData {
        span_context: span.context.clone(),
        parent_span_id: parent.map_or(SpanId::INVALID, SpanContext::span_id),
        parent_span_is_remote: parent.is_some_and(SpanContext::is_remote),
        span_kind: SpanKind::Internal,
        name: span.name.clone(),
        start_time: time(span.started),
        end_time: time(span.ended),
        attributes: pairs(&span.attributes),
        dropped_attributes_count: span.attributes.dropped(),
        events,
        links: SpanLinks::default(),
        status: match &span.status {
            Status::Unset => TheirStatus::Unset,
            Status::Error(message) => TheirStatus::error(message.clone()),
        },
        instrumentation_scope: InstrumentationScope::builder(SCOPE_NAME)
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    }
}

fn event(event: &SpanEvent) -> Event {
    let attributes = event.attributes();
    Event::new(event.name.clone(), time(event.time), pairs(&attributes), attributes.dropped())
}

fn time(at: UnixNanos) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(at)
}

/// What a resource says.
pub fn attributes(resource: &Resource) -> Foreign {
    resource.iter().map(|(key, value)| (key.to_string(), value_of(value))).collect()
}

fn value_of(value: &TheirValue) -> Value {
    match value {
        TheirValue::Bool(value) => Value::from(*value),
        TheirValue::I64(value) => Value::from(*value),
        TheirValue::F64(value) => Value::from(*value),
        TheirValue::Array(Array::Bool(values)) => Value::List(values.iter().copied().map(Value::from).collect()),
        TheirValue::Array(Array::I64(values)) => Value::List(values.iter().copied().map(Value::from).collect()),
        TheirValue::Array(Array::F64(values)) => Value::List(values.iter().copied().map(Value::from).collect()),
        TheirValue::Array(Array::String(values)) => {
            Value::List(values.iter().map(|value| Value::from(value.as_str())).collect())
        }
        other => Value::from(other.to_string()),
    }
}

/// The resource, as far as it holds in a forked child: with its parent's ids two processes would look like one.
pub fn of_this_process(parents: &Resource) -> Resource {
    let attributes: Vec<KeyValue> = parents
        .iter()
        .map(|(key, value)| match key.as_str() {
            PROCESS_PID => KeyValue::new(key.clone(), i64::from(std::process::id())),
            SERVICE_INSTANCE_ID => KeyValue::new(key.clone(), crate::clock::uuid()),
            _ => KeyValue::new(key.clone(), value.clone()),
        })
        .collect();
    match parents.schema_url() {
        Some(schema) => Resource::builder_empty().with_schema_url(attributes, schema.to_owned()).build(),
        None => Resource::builder_empty().with_attributes(attributes).build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_keeps_what_its_parent_said_but_for_the_parents_own_ids() {
        let said = [
            KeyValue::new("service.name", "server"),
            KeyValue::new(PROCESS_PID, 1),
            KeyValue::new(SERVICE_INSTANCE_ID, "parent"),
        ];
        let parents = Resource::builder_empty().with_schema_url(said, "https://opentelemetry.io/schemas/1.0.0").build();
        let own = of_this_process(&parents);
        let value = |key: &'static str| own.get(&key.into());
        assert_eq!(value("service.name"), Some("server".into()));
        assert_eq!(value(PROCESS_PID), Some(i64::from(std::process::id()).into()));
        assert_ne!(value(SERVICE_INSTANCE_ID), Some("parent".into()));
        assert_eq!((own.len(), own.schema_url()), (3, parents.schema_url()));
    }

    #[test]
    fn every_kind_of_value_in_a_resource_is_taken_over() {
        let list = |values: Vec<Value>| Value::List(values);
        for (theirs, ours) in [
            (TheirValue::from(true), Value::from(true)),
            (TheirValue::from(7), Value::from(7)),
            (TheirValue::from(0.5), Value::from(0.5)),
            (TheirValue::from("a"), Value::from("a")),
            (TheirValue::Array(Array::from(vec![true])), list(vec![true.into()])),
            (TheirValue::Array(Array::from(vec![7])), list(vec![7.into()])),
            (TheirValue::Array(Array::from(vec![0.5])), list(vec![0.5.into()])),
            (TheirValue::Array(Array::String(vec!["a".into()])), list(vec!["a".into()])),
        ] {
            assert_eq!(value_of(&theirs), ours, "{theirs:?}");
        }
    }
}
