use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Proto, Status as ProtoStatus};
use proptest::prelude::*;

use std::borrow::Cow;
use std::time::Duration;

use super::*;
use crate::model::event::{Autotune, Cause, Detail, Failure, Kernel, Kind, Stage};
use crate::model::log_event::Severity;

// The same through prost, which knows the fields' numbers and types from OpenTelemetry's own definitions.

fn event_by_prost(from: &SpanEvent) -> span::Event {
    span::Event {
        time_unix_nano: from.time,
        name: from.name.clone().into_owned(),
        dropped_attributes_count: from.attributes().dropped(),
        attributes: attributes(&from.attributes()),
    }
}

fn span_by_prost(from: &Span) -> Vec<u8> {
    let parent = from.parent.as_ref();
    let remote = parent.is_some_and(SpanContext::is_remote);
    let flags = u32::from(from.context.trace_flags().to_u8()) | HAS_IS_REMOTE | if remote { IS_REMOTE } else { 0 };
    let span = Proto {
        trace_id: from.context.trace_id().to_bytes().to_vec(),
        span_id: from.context.span_id().to_bytes().to_vec(),
        trace_state: from.context.trace_state().header(),
        parent_span_id: parent.map(|parent| parent.span_id().to_bytes().to_vec()).unwrap_or_default(),
        flags,
        name: from.name.clone().into_owned(),
        kind: span::SpanKind::Internal as i32,
        start_time_unix_nano: from.started,
        end_time_unix_nano: from.ended,
        dropped_attributes_count: from.attributes.dropped(),
        attributes: attributes(&from.attributes),
        events: from.events.iter().map(event_by_prost).collect(),
        dropped_events_count: from.dropped_events,
        links: Vec::new(),
        dropped_links_count: 0,
        status: match &from.status {
            Status::Unset => None,
            Status::Error(message) => {
                Some(ProtoStatus { message: message.clone().into_owned(), code: status::StatusCode::Error as i32 })
            }
        },
    };
    span.encode_to_vec()
}

fn log_by_prost(from: &LogEvent) -> Vec<u8> {
    let record = LogRecord {
        time_unix_nano: from.time,
        observed_time_unix_nano: from.observed,
        severity_number: from.severity.number(),
        severity_text: from.severity.text().to_owned(),
        body: Some(proto(&Value::from(&*from.body))),
        attributes: attributes(&from.attributes),
        dropped_attributes_count: from.attributes.dropped(),
        flags: u32::from(from.context.trace_flags().to_u8()),
        trace_id: from.context.trace_id().to_bytes().to_vec(),
        span_id: from.context.span_id().to_bytes().to_vec(),
        event_name: from.name.clone().into_owned(),
    };
    record.encode_to_vec()
}

fn any_value() -> impl Strategy<Value = Value> {
    let plain = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 8.0)),
        ".{0,200}".prop_map(Value::from),
        Just(Value::from("x".repeat(20_000))),
    ];
    let list = prop::collection::vec(plain.clone(), 0..5).prop_map(Value::List);
    prop_oneof![4 => plain, 1 => list]
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    (prop::collection::vec(("[a-z.]{0,20}", any_value()), 0..12), 0..20_usize).prop_map(|(pairs, count)| {
        let mut attributes = Attributes::new();
        pairs.into_iter().for_each(|(key, value)| attributes.set(key, value));
        attributes.limit(count, None);
        attributes
    })
}

fn any_context() -> impl Strategy<Value = SpanContext> {
    let state = prop_oneof![Just(""), Just("vendor=1,other=two")];
    (any::<u128>(), any::<u64>(), any::<u8>(), any::<bool>(), state).prop_map(|(trace, span, flags, remote, state)| {
        let flags = opentelemetry::TraceFlags::new(flags);
        SpanContext::new(trace.into(), span.into(), flags, remote, state.parse().expect("a trace state"))
    })
}

fn any_event() -> impl Strategy<Value = SpanEvent> {
    let content = prop_oneof![any_attributes().prop_map(Content::from), any_stall()];
    (".{0,40}", any::<u64>(), content).prop_map(|(name, time, content)| SpanEvent { name: name.into(), time, content })
}

/// Long and short texts, some stages twice, each optional part there or not, any limit.
fn any_stall() -> impl Strategy<Value = Content> {
    let text = || prop_oneof![4 => ".{0,30}", 1 => ".{100,200}"];
    let pairs = || prop::collection::vec((text(), text()), 0..4);
    let stage = ("[ab]{1,2}", any::<u32>()).prop_map(|(name, nanoseconds)| Stage {
        name: name.into(),
        duration: Duration::from_nanos(nanoseconds.into()),
    });
    let kernel = (text(), prop::option::of(text()), prop::option::of(text()), prop::option::of(any::<u32>()))
        .prop_map(|(name, module, file, line)| Kernel { name, module, file, line });
    let autotune = (pairs(), prop::option::of(any::<u32>()), prop::option::of(text()), any::<u8>()).prop_map(
        |(key, declared, best, timings)| Autotune {
            key,
            declared: declared.map(u64::from),
            benchmarked: None,
            best,
            timings: (0..timings).map(|at| (at.to_string(), f64::from(at))).collect(),
        },
    );
    let what = (kernel, any::<u32>(), prop::collection::vec(text(), 0..3), prop::collection::vec(stage, 0..5));
    let more = (pairs(), prop::option::of(autotune), prop::option::of((text(), text())), any::<[bool; 4]>());
    let limit = (0..30_usize, prop::option::of(0..150_usize));
    (what, more, limit).prop_map(|(what, more, (attributes, value_length))| {
        let (kernel, duration, changes, stages) = what;
        let (options, autotune, failure, [owned, cause, thread, detail]) = more;
        let runtime = if owned { Cow::Owned("other".to_owned()) } else { Cow::Borrowed("triton") };
        let mut event = CompileEvent::new(Kind::Compile, runtime, kernel);
        event.duration = Duration::from_nanos(duration.into());
        (event.changes, event.stages, event.options, event.autotune) = (changes, stages, options, autotune);
        event.failure = failure.map(|(error_type, message)| Failure { error_type, message });
        event.cause = cause.then_some(Cause::Recompile);
        event.thread = thread.then(|| (-1, "main".to_owned()));
        (event.manual_warmup, event.first_in_process) = (thread, detail);
        event.detail = detail.then(|| Box::new(Detail { stack: Some("at\n".repeat(99)), ..Detail::default() }));
        Content::Stall(Arc::new(event), EventLimit { attributes, value_length })
    })
}

fn any_span() -> impl Strategy<Value = Span> {
    let status = prop_oneof![Just(Status::Unset), ".{0,40}".prop_map(|text| Status::Error(text.into()))];
    let identity = (any_context(), prop::option::of(any_context()), ".{0,40}", any::<[u64; 2]>());
    let content = (any_attributes(), prop::collection::vec(any_event(), 0..4), any::<u32>(), status);
    (identity, content).prop_map(|((context, parent, name, [started, ended]), content)| {
        let (attributes, events, dropped_events, status) = content;
        let (name, events) = (name.into(), Arc::new(events));
        Span { context, parent, name, started, ended, attributes, events, dropped_events, status }
    })
}

fn any_log() -> impl Strategy<Value = LogEvent> {
    let severity = prop_oneof![Just(Severity::Info), Just(Severity::Warn), Just(Severity::Error)];
    (any_context(), any_event(), any::<u64>(), severity, ".{0,200}").prop_map(
        |(context, SpanEvent { name, time, content }, observed, severity, body)| LogEvent {
            context,
            name,
            time,
            observed,
            severity,
            body,
            attributes: content.attributes().into_owned(),
        },
    )
}

proptest! {
    #[test]
    fn records_are_the_bytes_that_prost_writes(spans in prop::collection::vec(any_span(), 1..4), log in any_log()) {
        let mut shared = SharedEvents::default();
        for one in &spans {
            prop_assert_eq!(span(one, &mut shared), span_by_prost(one));
            // A sibling in the batch.
            let other = Span { started: one.started ^ 1, ..one.clone() };
            prop_assert_eq!(span(&other, &mut shared), span_by_prost(&other));
        }
        prop_assert_eq!(super::log(&log), log_by_prost(&log));
    }

    #[test]
    fn a_message_put_together_by_hand_is_the_one_that_prost_encodes(
        names in prop::collection::vec(".{0,300}", 0..20), service in ".{0,200}",
    ) {
        let resource = Resource { attributes: vec![pair("service.name", &Value::from(service))], ..Default::default() };
        let spans: Vec<Proto> = names.into_iter().map(|name| Proto { name, ..Default::default() }).collect();
        let records: Vec<Vec<u8>> = spans.iter().map(Proto::encode_to_vec).collect();
        let bytes = message(&resource.encode_to_vec(), &records);
        let scope_spans = ScopeSpans { scope: Some(scope()), spans, schema_url: SCHEMA_URL.to_owned() };
        let resource_spans =
            ResourceSpans { resource: Some(resource), scope_spans: vec![scope_spans], schema_url: String::new() };
        let whole = ExportTraceServiceRequest { resource_spans: vec![resource_spans] };
        prop_assert_eq!(bytes, Bytes::from(whole.encode_to_vec()));
    }
}
