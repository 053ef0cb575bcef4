//! Export messages as senders would put them on the wire.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

pub const START: u64 = 1_700_000_000_000_000_000;

/// A trace of one span that stalled, using every field and type there is.
pub fn stalled(number: u8) -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![number; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![1; 8],
        name: "inference".to_owned(),
        kind: 1,
        start_time_unix_nano: START,
        end_time_unix_nano: START + 1_310_000_000,
        attributes: vec![
            pair("jit.stalled", Value::BoolValue(true)),
            // One more than a double can say exactly.
            pair("jit.compile.count", Value::IntValue(9_007_199_254_740_993)),
            pair("jit.stall.time", Value::DoubleValue(0.76)),
            pair("shape", list(vec![Some(Value::IntValue(128)), Some(string("x")), None])),
            pair("raw", Value::BytesValue(vec![0, 255])),
        ],
        events: vec![Event {
            time_unix_nano: START + 10_000_000,
            name: "jit.compile".to_owned(),
            attributes: vec![
                pair("jit.kernel.name", string("add_kernel")),
                pair("jit.duration", Value::DoubleValue(0.76)),
            ],
            ..Event::default()
        }],
        links: vec![Link {
            trace_id: vec![7; 16],
            span_id: vec![8; 8],
            attributes: vec![pair("why", string("same batch"))],
            ..Link::default()
        }],
        status: Some(Status { code: 2, message: "JIT compile of add_kernel".to_owned() }),
        ..Span::default()
    };
    request(span)
}

/// A trace of one span that waited for nothing.
pub fn plain(number: u8) -> ExportTraceServiceRequest {
    let (trace_id, span_id) = (vec![number; 16], vec![2; 8]);
    request(Span { trace_id, span_id, name: "tokenize".to_owned(), ..Span::default() })
}

/// A compile told as a log record, and a record that is none of our business.
pub fn log_based_event() -> ExportLogsServiceRequest {
    let compile = LogRecord {
        time_unix_nano: START,
        event_name: "jit.compile".to_owned(),
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..LogRecord::default()
    };
    let unrelated = LogRecord { event_name: "hello".to_owned(), ..compile.clone() };
    let logs = ScopeLogs { log_records: vec![compile, unrelated], ..ScopeLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs: vec![logs], ..ResourceLogs::default() }] }
}

pub fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn request(span: Span) -> ExportTraceServiceRequest {
    let resource = vec![pair("service.name", string("chat")), pair("process.pid", Value::IntValue(4242))];
    let scope = InstrumentationScope { name: "jitspan".to_owned(), ..InstrumentationScope::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes: resource, ..Resource::default() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    }
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn string(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

fn list(values: Vec<Option<Value>>) -> Value {
    Value::ArrayValue(ArrayValue { values: values.into_iter().map(|value| AnyValue { value }).collect() })
}
