//! Attributes out of any text, cut to any limits: what is encoded is a message that can be read, and holds the limits.

#![no_main]

use jitspan::attribute::{Attributes, Value};
use jitspan::sink::otlp::encode;
use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::common::v1::any_value;

fuzz_target!(|input: (u8, u8, Vec<(String, String, i64, f64)>)| {
    let (count, length, values) = input;
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
    for pair in encode::attributes(&attributes) {
        if let Some(any_value::Value::StringValue(text)) = pair.value.and_then(|value| value.value) {
            assert!(text.chars().count() <= usize::from(length));
        }
    }
});
