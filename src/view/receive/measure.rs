//! How much memory a message will take, before it is decoded: a span of two bytes on the wire becomes a structure of
//! some hundred, and a packed message of 14 kB has room for seven million of them.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::Refusal;

/// Bytes that the structures of one message may take, roughly.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Levels of messages in each other. A span's attribute is five deep; each list in a list adds two.
const MAX_DEPTH: usize = 64;

/// What an object of OTLP in JSON takes, roughly: most are attributes and their values, few are spans.
const JSON_OBJECT: usize = 320;

/// A message of OTLP whose parts are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `ExportTraceServiceRequest`.
    Traces,
    /// `ExportLogsServiceRequest`.
    Logs,
    ResourceSpans,
    ScopeSpans,
    ResourceLogs,
    ScopeLogs,
    Resource,
    Entity,
    Scope,
    Span,
    Log,
    Event,
    Link,
    Status,
    Pair,
    Value,
    List,
    Map,
    Text,
}

impl Part {
    /// What stands in one of its fields, if that is a message.
    fn child(self, field: u32) -> Option<Part> {
        Some(match (self, field) {
            (Part::Traces, 1) => Part::ResourceSpans,
            (Part::Logs, 1) => Part::ResourceLogs,
            (Part::ResourceSpans | Part::ResourceLogs, 1) => Part::Resource,
            (Part::ResourceSpans, 2) => Part::ScopeSpans,
            (Part::ResourceLogs, 2) => Part::ScopeLogs,
            (Part::ScopeSpans | Part::ScopeLogs, 1) => Part::Scope,
            (Part::ScopeSpans, 2) => Part::Span,
            (Part::ScopeLogs, 2) => Part::Log,
            (Part::Span, 11) => Part::Event,
            (Part::Span, 13) => Part::Link,
            (Part::Span, 15) => Part::Status,
            (Part::Resource, 1) | (Part::Scope, 3) | (Part::Span, 9) | (Part::Event, 3) => Part::Pair,
            (Part::Link, 4) | (Part::Log, 6) | (Part::Map, 1) => Part::Pair,
            (Part::Resource, 3) => Part::Entity,
            (Part::Entity, 3 | 4) => Part::Text,
            (Part::Pair, 2) | (Part::List, 1) | (Part::Log, 5) => Part::Value,
            (Part::Value, 5) => Part::List,
            (Part::Value, 6) => Part::Map,
            _ => return None,
        })
    }

    /// What it takes in memory, decoded and as a record, roughly, without its texts.
    fn bytes(self) -> usize {
        match self {
            Part::Traces | Part::Logs => 0,
            Part::Span | Part::Log => 1000,
            Part::Event | Part::Link => 400,
            Part::ResourceSpans | Part::ScopeSpans | Part::ResourceLogs | Part::ScopeLogs => 300,
            Part::Resource | Part::Entity | Part::Scope => 200,
            Part::Pair => 160,
            Part::Value | Part::List | Part::Map | Part::Status | Part::Text => 64,
        }
    }
}

/// Measures a message in Protocol Buffers. One that is malformed is measured as far as it can be read.
///
/// # Errors
/// [`Refusal::TooMuch`].
pub fn protobuf(part: Part, message: &[u8]) -> Result<(), Refusal> {
    measure(part, message, &mut 0, 0)
}

fn measure(part: Part, mut message: &[u8], bytes: &mut usize, depth: usize) -> Result<(), Refusal> {
    *bytes += part.bytes();
    if *bytes > MAX_BYTES || depth > MAX_DEPTH {
        return Err(Refusal::TooMuch);
    }
    while !message.is_empty() {
        let Ok((field, wire_type)) = decode_key(&mut message) else { return Ok(()) };
        let child = part.child(field).filter(|_| wire_type == WireType::LengthDelimited);
        let Some(child) = child else {
            if skip_field(wire_type, field, &mut message, DecodeContext::default()).is_err() {
                return Ok(());
            }
            continue;
        };
        let length = decode_varint(&mut message).ok().and_then(|length| usize::try_from(length).ok());
        let Some((inner, rest)) = length.and_then(|length| message.split_at_checked(length)) else { return Ok(()) };
        measure(child, inner, bytes, depth + 1)?;
        message = rest;
    }
    Ok(())
}

/// Measures a message in JSON by the number of its objects. How deep they nest is bounded by the parser.
///
/// # Errors
/// [`Refusal::TooMuch`].
pub fn json(message: &[u8]) -> Result<(), Refusal> {
    // A brace in a text counts as well: no more than a sender's own fault.
    let objects = message.iter().filter(|byte| **byte == b'{').count();
    if objects.saturating_mul(JSON_OBJECT) > MAX_BYTES { Err(Refusal::TooMuch) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut message = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut message);
        message.extend_from_slice(content);
        message
    }

    fn nested(levels: usize) -> Vec<u8> {
        let mut value = field(1, b"x");
        for _ in 0..levels {
            value = field(5, &field(1, &value));
        }
        field(1, &field(2, &field(2, &field(9, &field(2, &value)))))
    }

    #[test]
    fn a_message_of_empty_spans_is_measured_by_what_they_become() {
        let spans = |count: usize| field(1, &field(2, &[0x12, 0].repeat(count)));
        assert_eq!(protobuf(Part::Traces, &spans(10_000)), Ok(()));
        assert_eq!(protobuf(Part::Traces, &spans(100_000)), Err(Refusal::TooMuch));
        let attributes = |count: usize| field(1, &field(2, &field(2, &[0x4a, 0].repeat(count))));
        assert_eq!(protobuf(Part::Traces, &attributes(100_000)), Ok(()));
        assert_eq!(protobuf(Part::Traces, &attributes(1_000_000)), Err(Refusal::TooMuch));
    }

    #[test]
    fn a_message_that_nests_too_deep_is_refused() {
        assert_eq!(protobuf(Part::Traces, &nested(20)), Ok(()));
        assert_eq!(protobuf(Part::Traces, &nested(40)), Err(Refusal::TooMuch));
    }

    #[test]
    fn a_malformed_message_is_left_to_the_decoder() {
        for message in [&b"\xff\xff"[..], b"\x0a\x7f", b"\x0b\x0b\x0b", b"\x0a"] {
            assert_eq!(protobuf(Part::Traces, message), Ok(()));
        }
    }

    #[test]
    fn json_is_measured_by_its_objects() {
        assert_eq!(json(&b"{},".repeat(100_000)), Ok(()));
        assert_eq!(json(&b"{},".repeat(300_000)), Err(Refusal::TooMuch));
    }
}
