//! What is done to each input. Used by libFuzzer (`make fuzz`), which looks for new inputs, and by `tests/nonsense.rs`,
//! which needs no nightly compiler: it runs the corpus, and mutations of it, wherever the other tests run.

use arbitrary::{Arbitrary, Unstructured};
use jitspan::export::otlp::encode;
use jitspan::model::attribute::{Attributes, Value};
use jitspan::propagation::{Format, extract};
use jitspan::{Config, Settings};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use prost::Message;

const SECRET: &str = "s3cr3t-t0ken";

/// Headers of strangers: each line is `name: value`. Whatever they hold, reading them ends, and what is read is valid.
pub fn carriers(input: &[u8]) {
    let text = text(input);
    let headers: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
    let each = [Format::TraceContext, Format::B3, Format::Jaeger];
    for formats in [&each[..1], &each[1..2], &each[2..], &each] {
        if let Ok(Some(context)) = extract(formats, &header) {
            assert!(context.is_valid() && context.is_remote());
            // What we would hand on to others can be read by them.
            let parent = format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), context.trace_flags());
            assert_eq!(jitspan::parse_traceparent(&parent, Some(&context.trace_state().header())), Ok(context));
        }
    }
}

/// The environment: each line is `VARIABLE=value`. It is accepted or refused by name, and a secret stays one.
pub fn configuration(input: &[u8]) {
    let text = text(input);
    // A file that is named would be opened: none of the fuzzer's business.
    let variables: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, _)| !name.contains("CERTIFICATE") && !name.contains("KEY"))
        .collect();
    let lookup = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_HEADERS" => Some(format!("authorization=Bearer%20{SECRET}")),
        // Of the credential in an address only what is well-formed is known to be one.
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT" => Some(format!("http://user:{SECRET}@c/?token={SECRET}")),
        _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string()),
    };
    match Config::resolve(&Settings::default(), &lookup) {
        Ok(config) => {
            assert!(!format!("{config:?} {:?}", config.describe()).contains(SECRET));
            // Each time can be waited for without an overflow of the clock.
            for time in [config.batch.delay, config.batch.timeout, config.interval.every, config.interval.timeout] {
                assert!(std::time::Instant::now().checked_add(time).is_some(), "{time:?}");
            }
        }
        Err(error) => {
            assert!(!error.variable.is_empty() && !error.accepted.is_empty());
            assert!(!error.to_string().contains(SECRET), "{error}");
        }
    }
}

type Pairs = (u8, u8, Vec<(String, String, i64, f64)>);

/// Attributes out of any text, cut to any limits: what is encoded can be read again, and holds the limits.
pub fn attributes(input: &[u8]) {
    let Ok((count, length, values)) = Pairs::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let mut attributes = Attributes::new();
    for (key, text, number, fraction) in values {
        let list = Value::List(vec![Value::from(text.clone()), Value::Int(number), Value::List(vec![fraction.into()])]);
        attributes.set(format!("{key}.list"), list);
        attributes.text(key, text);
    }
    let before = attributes.len();
    attributes.limit(usize::from(count), Some(usize::from(length)));
    assert_eq!(attributes.len() + attributes.dropped() as usize, before);
    assert!(attributes.len() <= usize::from(count));
    assert!(serde_json::to_string(&attributes).is_ok());
    for pair in encode::attributes(&attributes) {
        let read = KeyValue::decode(&*pair.encode_to_vec()).expect("what we encode can be read");
        assert_eq!(read.key, pair.key);
        match read.value.and_then(|value| value.value) {
            Some(any_value::Value::StringValue(text)) => assert!(text.chars().count() <= usize::from(length)),
            Some(any_value::Value::ArrayValue(array)) => assert_eq!(array.values.len(), 3),
            other => panic!("{other:?}"),
        }
    }
}

/// As much of it as is text.
fn text(input: &[u8]) -> &str {
    match std::str::from_utf8(input) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&input[..error.valid_up_to()]).unwrap_or_default(),
    }
}
