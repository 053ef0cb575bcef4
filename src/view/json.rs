//! A trace as one line of JSON, for scripts and tests.

use std::io;

use opentelemetry::trace::TraceId;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::decode::seconds;
use super::record::{Span, Trace, as_text};
use super::text::is_unsafe;

/// One line of `jitspan view --json`.
///
/// ```json
/// {"trace_id": "0af7651916cd43dd8448eb211c80319c", "service": ["chat"], "start_unix_nano": 1700000000000000000,
///  "duration_s": 1.31, "stalled": true, "updated": false, "omitted_spans": 0, "spans": [{"name": "inference"}]}
/// ```
#[derive(Debug, Serialize)]
pub struct TraceLine<'a> {
    /// 32 hexadecimal digits.
    #[serde(serialize_with = "as_text")]
    pub trace_id: TraceId,
    /// Names of the services that took part, sorted.
    pub service: Vec<&'a str>,
    /// Start of the first span, nanoseconds since 1970; 0 where no span has usable times.
    pub start_unix_nano: u64,
    /// Seconds from the start of the first span to the end of the last.
    pub duration_s: f64,
    /// Somebody waited for a compile.
    pub stalled: bool,
    /// The trace was printed before, with fewer spans: this line stands in for the earlier one.
    pub updated: bool,
    /// Spans that came after the trace was full.
    pub omitted_spans: usize,
    /// By start, then by arrival.
    pub spans: Vec<&'a Span>,
}

impl<'a> From<&'a Trace> for TraceLine<'a> {
    fn from(trace: &'a Trace) -> Self {
        let (start, end) = trace.interval().unwrap_or_default();
        let mut spans: Vec<&Span> = trace.spans.iter().collect();
        spans.sort_by_key(|span| span.start_unix_nano);
        Self {
            trace_id: trace.id,
            service: trace.services(),
            start_unix_nano: start,
            duration_s: seconds(end - start),
            stalled: trace.stalled,
            updated: trace.updated,
            omitted_spans: trace.omitted_spans,
            spans,
        }
    }
}

/// Writes the trace as one line.
///
/// # Errors
/// When the output cannot be written.
pub fn write(trace: &Trace, mut output: impl io::Write) -> io::Result<()> {
    let line = TraceLine::from(trace);
    line.serialize(&mut Serializer::with_formatter(&mut output, ForTerminals))?;
    output.write_all(b"\n")
}

/// JSON leaves characters as they are that a terminal takes for commands, and a reader for nothing or for another
/// order: here they are escaped. A parser reads the same text.
struct ForTerminals;

impl Formatter for ForTerminals {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, character)) = rest.char_indices().find(|(_, character)| is_unsafe(*character)) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &from[character.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}
