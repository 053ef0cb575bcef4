//! Whatever a sender puts into a span, it is printed or refused, and the terminal obeys none of it.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::prelude::*;

use super::samples::{START, TRACE_ID};
use crate::semconv::{attribute, event, span as on_span};
use crate::view::decode;
use crate::view::json;
use crate::view::store::{Limits, Store};
use crate::view::text::Palette;
use crate::view::waterfall::render;

fn text() -> impl Strategy<Value = String> {
    let names = [event::COMPILE, event::AUTOTUNE, event::LOAD, event::EXCEPTION, event::SUMMARY, ""];
    prop_oneof![
        prop::sample::select(names.to_vec()).prop_map(str::to_owned),
        any::<String>(),
        "[\u{1b}\u{9b}\\[2J\n]{0,9}"
    ]
}

fn key() -> impl Strategy<Value = String> {
    let keys = [
        on_span::STALLED,
        on_span::STALL_TIME,
        attribute::KERNEL_NAME,
        attribute::DURATION,
        attribute::CAUSE,
        attribute::CHANGES,
        attribute::AUTOTUNE_DECLARED,
        attribute::CODE_FILE_PATH,
        attribute::ERROR_TYPE,
        attribute::EXCEPTION_MESSAGE,
        "service.name",
    ];
    prop_oneof![4 => prop::sample::select(keys.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        text().prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        any::<f64>().prop_map(Value::DoubleValue),
        vec(any::<u8>(), 0..9).prop_map(Value::BytesValue),
    ];
    let leaf = prop::option::of(leaf).prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 4, |inner| {
        vec(inner, 0..4).prop_map(|values| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = (key(), prop::option::of(value()));
    vec(pair.prop_map(|(key, value)| KeyValue { key, value, ..KeyValue::default() }), 0..6)
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![8 => START..START + 2_000_000_000, 1 => any::<u64>(), 1 => Just(0), 1 => Just(u64::MAX)]
}

/// Few ids, so that parents, circles and repeated spans come about.
fn span_id() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => (0..12_u8).prop_map(|number| vec![number; 8]), 1 => vec(any::<u8>(), 0..20)]
}

fn trace_id() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![9 => Just(TRACE_ID.to_vec()), 1 => vec(any::<u8>(), 0..20)]
}

prop_compose! {
    fn span()(
        (trace_id, span_id, parent_span_id) in (trace_id(), span_id(), span_id()),
        (name, kind, flags) in (text(), -1..9_i32, any::<u32>()),
        (start_time_unix_nano, end_time_unix_nano) in (time(), time()),
        attributes in attributes(),
        events in vec((time(), text(), attributes()), 0..4),
        links in vec((trace_id(), span_id(), attributes()), 0..2),
        status in prop::option::of((-1..5_i32, text())),
    ) -> Span {
        Span {
            trace_id, span_id, parent_span_id, name, kind, flags, start_time_unix_nano, end_time_unix_nano, attributes,
            events: events
                .into_iter()
                .map(|(time_unix_nano, name, attributes)| Event { time_unix_nano, name, attributes, ..Event::default() })
                .collect(),
            links: links
                .into_iter()
                .map(|(trace_id, span_id, attributes)| Link { trace_id, span_id, attributes, ..Link::default() })
                .collect(),
            status: status.map(|(code, message)| Status { code, message }),
            ..Span::default()
        }
    }
}

fn groups() -> impl Strategy<Value = Vec<ResourceSpans>> {
    let group = (prop::option::of(attributes()), vec(span(), 0..30)).prop_map(|(resource, spans)| ResourceSpans {
        resource: resource.map(|attributes| Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    });
    vec(group, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_spans_are_printed_without_a_panic_or_a_control_character(
        groups in groups(),
        spans_per_trace in 1..90_usize,
        width in 0..200_usize,
    ) {
        let limits = Limits { traces: 3, spans_per_trace, bytes: 100_000 };
        let mut store = Store::new(limits, Duration::ZERO, true);
        let batch = decode::spans(groups);
        store.add(batch.spans, Instant::now());
        for trace in store.settle(Instant::now()) {
            let picture = render(&trace, width, Palette { color: false });
            prop_assert!(!picture.contains(|character: char| character.is_control() && character != '\n'), "{picture:?}");
            let mut line = Vec::new();
            json::write(&trace, &mut line)?;
            let parsed: serde_json::Value = serde_json::from_slice(&line)?;
            prop_assert_eq!(parsed["spans"].as_array().map(Vec::len), Some(trace.spans.len()));
        }
    }
}
