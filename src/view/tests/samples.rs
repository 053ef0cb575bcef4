//! Traces with fixed ids and times, as senders would put them on the wire.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use crate::semconv::{attribute, event, span as on_span};
use crate::view::decode;
use crate::view::record::{self, Trace};

/// 2023-11-14 22:13:20 UTC.
pub const START: u64 = 1_700_000_000_000_000_000;
pub const TRACE_ID: [u8; 16] = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();

pub fn id(number: u8) -> Vec<u8> {
    match number {
        0 => Vec::new(),
        number => vec![number; 8],
    }
}

/// A span from one millisecond to another; parent 0 is none.
pub fn span(number: u8, parent: u8, name: &str, from_ms: u64, to_ms: u64) -> Span {
    Span {
        trace_id: TRACE_ID.to_vec(),
        span_id: id(number),
        parent_span_id: id(parent),
        name: name.to_owned(),
        kind: SpanKind::Internal as i32,
        start_time_unix_nano: START + from_ms * 1_000_000,
        end_time_unix_nano: START + to_ms * 1_000_000,
        ..Span::default()
    }
}

pub fn with(mut span: Span, attributes: &[(&str, Value)]) -> Span {
    span.attributes.extend(attributes.iter().map(|(key, value)| pair(key, value.clone())));
    span
}

pub fn failed(mut span: Span, message: &str) -> Span {
    span.status = Some(Status { code: StatusCode::Error as i32, message: message.to_owned() });
    span
}

pub fn happened(mut span: Span, name: &str, at_ms: u64, attributes: &[(&str, Value)]) -> Span {
    span.events.push(Event {
        time_unix_nano: START + at_ms * 1_000_000,
        name: name.to_owned(),
        attributes: attributes.iter().map(|(key, value)| pair(key, value.clone())).collect(),
        dropped_attributes_count: 0,
    });
    span
}

pub fn string(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

pub fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

pub fn from_service(service: &str, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource { attributes: vec![pair("service.name", string(service))], ..Resource::default() }),
        scope_spans: vec![ScopeSpans {
            scope: Some(InstrumentationScope { name: "jitspan".to_owned(), ..InstrumentationScope::default() }),
            spans,
            ..ScopeSpans::default()
        }],
        ..ResourceSpans::default()
    }
}

pub fn records(groups: Vec<ResourceSpans>) -> Vec<record::Span> {
    decode::spans(groups).spans
}

pub fn trace(groups: Vec<ResourceSpans>) -> Trace {
    let spans = records(groups);
    let stalled = spans.iter().any(record::Span::is_stalled);
    Trace { id: TRACE_ID.into_trace_id(), spans, omitted_spans: 0, stalled, updated: false }
}

trait IntoTraceId {
    fn into_trace_id(self) -> opentelemetry::trace::TraceId;
}

impl IntoTraceId for [u8; 16] {
    fn into_trace_id(self) -> opentelemetry::trace::TraceId {
        opentelemetry::trace::TraceId::from_bytes(self)
    }
}

/// What is known of one compile.
pub fn compile(kernel: &str, cause: &str, changes: &str, line: i64) -> Vec<(&'static str, Value)> {
    let mut attributes = vec![
        (attribute::RUNTIME, string("triton")),
        (attribute::KERNEL_NAME, string(kernel)),
        (attribute::CACHE_RESULT, string("miss")),
        (attribute::CAUSE, string(cause)),
        (attribute::CODE_FILE_PATH, string("/srv/model/kernels.py")),
        (attribute::CODE_LINE_NUMBER, Value::IntValue(line)),
        (on_span::STALLED, Value::BoolValue(true)),
    ];
    if !changes.is_empty() {
        attributes.push((attribute::CHANGES, string(changes)));
    }
    attributes
}

/// One request that met a shape which warm-up had missed: two compiles, then an autotune with compiles inside.
pub fn stalled_request() -> Vec<ResourceSpans> {
    let add = compile("add_kernel", "new_specialization", "BLOCK_SIZE 128 -> 256, n: i32 -> i64", 42);
    let norm = compile("rms_norm_kernel", "first_use", "", 97);
    let matmul = compile("matmul_kernel", "first_use", "", 131);
    let mut tune = compile("matmul_kernel", "new_specialization", "M 64 -> 512", 131);
    tune.retain(|(key, _)| *key != attribute::CACHE_RESULT);
    tune.extend([
        (attribute::AUTOTUNE_DECLARED, Value::IntValue(8)),
        (attribute::AUTOTUNE_BENCHMARKED, Value::IntValue(3)),
        (attribute::AUTOTUNE_BEST, string("BLOCK_M=64 BLOCK_N=128 num_warps=4")),
    ]);
    let inference = span(2, 1, "inference", 61, 1_262);
    let inference = happened(inference, event::COMPILE, 74, &add);
    let inference = happened(inference, event::COMPILE, 402, &norm);
    let inference = happened(inference, event::AUTOTUNE, 561, &tune);
    let inference = with(
        inference,
        &[
            (on_span::STALLED, Value::BoolValue(true)),
            (on_span::COMPILE_COUNT, Value::IntValue(5)),
            ("gen_ai.request.id", string("cmpl-7f3a")),
        ],
    );
    let server = Span { kind: SpanKind::Server as i32, ..span(1, 9, "POST /generate", 0, 1_310) };
    vec![
        from_service(
            "chat",
            vec![
                with(span(3, 2, event::COMPILE, 74, 391), &add),
                with(span(4, 2, event::COMPILE, 402, 548), &norm),
                with(span(6, 5, event::COMPILE, 563, 702), &matmul),
                with(span(7, 5, event::COMPILE, 706, 861), &matmul),
                with(span(8, 5, event::COMPILE, 866, 1_049), &matmul),
                with(span(5, 2, event::AUTOTUNE, 561, 1_187), &tune),
                inference,
            ],
        ),
        from_service("chat", vec![span(10, 1, "tokenize", 4, 55), server]),
    ]
}

/// A request that error mode ended, told by events alone, and its caller in another service.
pub fn failed_request() -> Vec<ResourceSpans> {
    let message = "JIT compile of softmax_kernel after warm-up";
    let mut attributes = compile("softmax_kernel", "new_specialization", "n_cols 1024 -> 1000", 12);
    attributes.push((attribute::DURATION, Value::DoubleValue(0.482)));
    let inference = happened(span(2, 1, "inference", 18, 512), event::COMPILE, 25, &attributes);
    let inference = happened(
        inference,
        event::EXCEPTION,
        510,
        &[
            (attribute::EXCEPTION_TYPE, string("jitspan.UnexpectedCompileError")),
            (attribute::EXCEPTION_MESSAGE, string(message)),
        ],
    );
    let inference = failed(with(inference, &[(on_span::STALLED, Value::BoolValue(true))]), message);
    vec![
        from_service("gateway", vec![failed(span(1, 0, "POST /v1/chat/completions", 0, 540), "")]),
        from_service("engine", vec![inference]),
    ]
}
