//! Trace context in: the headers of a request become the span context that its stall is a child of.
//! Never fails: what cannot be read is a [`Malformed`], and the caller makes a root span of it.
//!
//! W3C Trace Context, and the two that are older: Zipkin's B3 and Jaeger's own. Only read: jitspan calls nobody.

use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The header that names the parent span.
pub const TRACEPARENT: &str = "traceparent";
/// The header that carries the vendors' own state.
pub const TRACESTATE: &str = "tracestate";

/// A carrier held something under `traceparent` that is not a trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A context as a `traceparent`.
pub fn traceparent(context: &SpanContext) -> String {
    let flags = context.trace_flags().to_u8();
    format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
}

/// Reads `traceparent` (<https://www.w3.org/TR/trace-context/#traceparent-header>) and, if given, `tracestate`.
///
/// Versions above 00 are read as far as 00 goes, as the specification asks. A `tracestate` that cannot be read is
/// left out; it does not spoil the parent.
///
/// ```
/// use jitspan::propagation::parse;
/// let context = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
/// assert!(context.is_sampled());
/// assert!(parse("00-00000000000000000000000000000000-b7ad6b7169203331-01", None).is_err());
/// ```
///
/// # Errors
/// [`Malformed`] if `traceparent` is none.
pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Result<SpanContext, Malformed> {
    let text = traceparent.trim_matches([' ', '\t']);
    let bytes = text.as_bytes();
    // Before any slicing: a field boundary inside a multi-byte character would panic.
    if !bytes.is_ascii() || bytes.len() < 55 || [2, 35, 52].iter().any(|&at| bytes[at] != b'-') {
        return Err(Malformed);
    }
    let version = hex(&text[0..2])?;
    match (version, bytes.len()) {
        (0xff, _) => return Err(Malformed),
        (0, 55) => {}
        (0, _) => return Err(Malformed),
        (_, 55) => {}
        (_, _) if bytes[55] == b'-' => {}
        _ => return Err(Malformed),
    }
    let trace_id = TraceId::from_bytes(hex(&text[3..35])?.to_be_bytes());
    let span_id = SpanId::from_bytes((hex(&text[36..52])? as u64).to_be_bytes());
    let flags = hex(&text[53..55])? as u8;
    if trace_id == TraceId::INVALID || span_id == SpanId::INVALID {
        return Err(Malformed);
    }
    let state = tracestate.and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
    // Only `sampled` is known to version 00; other bits are not ours to hand on.
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    Ok(SpanContext::new(trace_id, span_id, flags, true, state))
}

/// The header that carries all of B3, or one of them (names in small letters).
pub const B3: &str = "b3";
/// B3's trace id, where each part has a header of its own.
pub const B3_TRACE_ID: &str = "x-b3-traceid";
/// B3's span id.
pub const B3_SPAN_ID: &str = "x-b3-spanid";
/// B3's decision: `1` or `0`.
pub const B3_SAMPLED: &str = "x-b3-sampled";
/// B3's `1` for a trace that is kept whatever else holds.
pub const B3_FLAGS: &str = "x-b3-flags";
/// Jaeger's header.
pub const JAEGER: &str = "uber-trace-id";

/// A way to write a span context into headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// <https://www.w3.org/TR/trace-context/>
    TraceContext,
    /// <https://github.com/openzipkin/b3-propagation>, in one header or in several.
    B3,
    /// <https://www.jaegertracing.io/sdk-migration/#propagation-format>
    Jaeger,
}

impl Format {
    /// The word that chooses it in `OTEL_PROPAGATORS`.
    pub fn word(self) -> &'static str {
        match self {
            Format::TraceContext => "tracecontext",
            Format::B3 => "b3",
            Format::Jaeger => "jaeger",
        }
    }

    fn extract(self, header: &dyn Fn(&str) -> Option<String>) -> Result<Option<SpanContext>, Malformed> {
        match self {
            Format::TraceContext => match header(TRACEPARENT) {
                None => Ok(None),
                Some(parent) => parse(&parent, header(TRACESTATE).as_deref()).map(Some),
            },
            Format::B3 => match header(B3).map(|single| b3_single(&single)) {
                // A header that some proxy has spoilt does not hide those that are right.
                Some(Err(Malformed)) => b3_multiple(header)?.map(Some).ok_or(Malformed),
                Some(read) => read,
                None => b3_multiple(header),
            },
            Format::Jaeger => header(JAEGER).map(|value| jaeger(&value)).transpose(),
        }
    }
}

/// Every header that some format reads.
pub const HEADERS: [&str; 8] = [TRACEPARENT, TRACESTATE, B3, B3_TRACE_ID, B3_SPAN_ID, B3_SAMPLED, B3_FLAGS, JAEGER];

/// The span context in a request's headers, read in these formats; `header` looks one up by its name in small letters.
/// Of those that can be read the last one counts.
///
/// ```
/// use jitspan::propagation::{Format, extract};
/// let header = |name: &str| (name == "b3").then(|| "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1".to_owned());
/// assert!(extract(&[Format::TraceContext, Format::B3], &header).unwrap().unwrap().is_sampled());
/// ```
///
/// # Errors
/// [`Malformed`] if there is a trace context, and none that can be read.
pub fn extract(formats: &[Format], header: &dyn Fn(&str) -> Option<String>) -> Result<Option<SpanContext>, Malformed> {
    let read: Vec<_> = formats.iter().map(|format| format.extract(header)).collect();
    let found = read.iter().rev().find_map(|read| read.clone().ok().flatten());
    match found {
        None if read.iter().any(Result::is_err) => Err(Malformed),
        found => Ok(found),
    }
}

/// `{trace id}-{span id}[-{sampled}[-{parent span id}]]`, or the decision alone, which names no parent.
fn b3_single(value: &str) -> Result<Option<SpanContext>, Malformed> {
    let parts: Vec<&str> = value.trim().split('-').collect();
    match parts[..] {
        ["0" | "1" | "d"] => Ok(None),
        [trace, span] => remote(trace, span, None).map(Some),
        [trace, span, sampled] | [trace, span, sampled, _] => remote(trace, span, Some(sampled)).map(Some),
        _ => Err(Malformed),
    }
}

fn b3_multiple(header: &dyn Fn(&str) -> Option<String>) -> Result<Option<SpanContext>, Malformed> {
    let (Some(trace), Some(span)) = (header(B3_TRACE_ID), header(B3_SPAN_ID)) else { return Ok(None) };
    let sampled = if header(B3_FLAGS).as_deref() == Some("1") { Some("d".to_owned()) } else { header(B3_SAMPLED) };
    remote(trace.trim(), span.trim(), sampled.as_deref()).map(Some)
}

/// A decision that is left to us is yes: else a stall would vanish because a proxy had nothing to say.
fn remote(trace: &str, span: &str, sampled: Option<&str>) -> Result<SpanContext, Malformed> {
    let sampled = match sampled.map(str::trim) {
        None | Some("1" | "d" | "true") => true,
        Some("0" | "false") => false,
        Some(_) => return Err(Malformed),
    };
    if !matches!(trace.len(), 16 | 32) || span.len() != 16 {
        return Err(Malformed);
    }
    context(hex(&trace.to_ascii_lowercase())?, hex(&span.to_ascii_lowercase())?, sampled)
}

/// `{trace id}:{span id}:{parent span id}:{flags}`, leading zeros left out, percent-encoded by some clients.
fn jaeger(value: &str) -> Result<SpanContext, Malformed> {
    let value = value.trim().to_ascii_lowercase().replace("%3a", ":");
    let parts: Vec<&str> = value.split(':').collect();
    let [trace, span, _, flags] = parts[..] else { return Err(Malformed) };
    let short = |text: &str, longest: usize| !text.is_empty() && text.len() <= longest;
    if !(short(trace, 32) && short(span, 16) && short(flags, 2)) {
        return Err(Malformed);
    }
    context(hex(trace)?, hex(span)?, hex(flags)? & 1 == 1)
}

fn context(trace: u128, span: u128, sampled: bool) -> Result<SpanContext, Malformed> {
    let (trace, span) = (TraceId::from_bytes(trace.to_be_bytes()), SpanId::from_bytes((span as u64).to_be_bytes()));
    if trace == TraceId::INVALID || span == SpanId::INVALID {
        return Err(Malformed);
    }
    let flags = TraceFlags::default().with_sampled(sampled);
    Ok(SpanContext::new(trace, span, flags, true, TraceState::default()))
}

/// Lower-case hexadecimal only, as the specification has it; `u128::from_str_radix` would also take `+` and `A`.
fn hex(digits: &str) -> Result<u128, Malformed> {
    if digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        u128::from_str_radix(digits, 16).map_err(|_| Malformed)
    } else {
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use opentelemetry::propagation::TextMapPropagator;
    use opentelemetry::trace::TraceContextExt;
    use opentelemetry_propagator_b3::{B3Encoding, Propagator};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use proptest::prelude::*;

    use super::*;

    fn oracle(traceparent: &str) -> Option<SpanContext> {
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
        let context = TraceContextPropagator::new().extract(&carrier);
        let span = context.span().span_context().clone();
        span.is_valid().then_some(span)
    }

    /// Whether we read it; then the oracle reads the same.
    fn agree(traceparent: &str) -> bool {
        let ours = parse(traceparent, None).ok();
        let theirs = oracle(traceparent);
        let Some(ours) = ours else { return false };
        let theirs = theirs.unwrap_or_else(|| panic!("{traceparent:?}: only we read it"));
        assert_eq!(ours.trace_id(), theirs.trace_id(), "{traceparent}");
        assert_eq!(ours.span_id(), theirs.span_id(), "{traceparent}");
        assert_eq!(ours.is_sampled(), theirs.is_sampled(), "{traceparent}");
        true
    }

    proptest! {
        #[test]
        fn well_formed_headers_are_read_as_the_opentelemetry_propagator_reads_them(
            trace in "[0-9a-f]{32}", span in "[0-9a-f]{16}", flags in "0[0-1]",
        ) {
            let zero = trace.bytes().all(|digit| digit == b'0') || span.bytes().all(|digit| digit == b'0');
            prop_assert_eq!(agree(&format!("00-{trace}-{span}-{flags}")), !zero);
        }

        // Not the other way round: opentelemetry 0.33.1 also reads ids that are too short, filling them up with
        // zeros, which the specification calls invalid.
        #[test]
        fn what_we_read_of_a_damaged_header_the_opentelemetry_propagator_reads_alike(
            trace in "[0-9a-f]{30,34}", span in "[0-9a-f]{14,18}", flags in "[0-9a-g]{1,3}",
        ) {
            let right = trace.len() == 32 && span.len() == 16 && flags.len() == 2 && !flags.contains('g');
            prop_assert_eq!(agree(&format!("00-{trace}-{span}-{flags}")), right);
        }

        #[test]
        fn no_text_panics(text in any::<String>(), state in any::<Option<String>>()) {
            let _ = parse(&text, state.as_deref());
        }

        #[test]
        fn no_text_of_the_right_shape_panics(text in "[-0-9a-zA-Z+é\u{0}]{50,60}") {
            let _ = parse(&text, None);
        }
    }

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn from(formats: &[Format], headers: &[(&str, &str)]) -> Result<Option<SpanContext>, Malformed> {
        let find = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        extract(formats, &find)
    }

    #[test]
    fn each_format_is_read_in_every_form_it_has() {
        let single = format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90");
        let bare = format!("{TRACE}-{SPAN}");
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let jaeger = format!("{}:{SPAN}:0:1", &TRACE[1..]);
        let encoded = jaeger.replace(':', "%3A");
        let cases: [(Format, &[(&str, &str)]); 7] = [
            (Format::TraceContext, &[("traceparent", &parent)]),
            (Format::B3, &[("b3", &single)]),
            (Format::B3, &[("b3", &bare)]),
            (Format::B3, &[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")]),
            (Format::B3, &[("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-flags", "1")]),
            (Format::Jaeger, &[("uber-trace-id", &jaeger)]),
            (Format::Jaeger, &[("uber-trace-id", &encoded)]),
        ];
        for (format, headers) in cases {
            let context = from(&[format], headers).unwrap().unwrap_or_else(|| panic!("{headers:?}"));
            assert_eq!(context.trace_id().to_string(), TRACE, "{headers:?}");
            assert_eq!(context.span_id().to_string(), SPAN, "{headers:?}");
            assert!(context.is_sampled() && context.is_remote(), "{headers:?}");
        }
    }

    fn b3_oracle(headers: &HashMap<String, String>, encoding: B3Encoding) -> Option<SpanContext> {
        let context = Propagator::with_encoding(encoding).extract(headers);
        let span = context.span().span_context().clone();
        span.is_valid().then_some(span)
    }

    fn b3_ours(headers: &HashMap<String, String>) -> Option<SpanContext> {
        extract(&[Format::B3], &|name| headers.get(name).cloned()).ok().flatten()
    }

    /// Zeros in front of a short trace id, among others.
    fn ids(context: SpanContext) -> (TraceId, SpanId, bool) {
        (context.trace_id(), context.span_id(), context.is_sampled())
    }

    fn b3(headers: &[(&str, Option<&str>)]) -> HashMap<String, String> {
        headers.iter().filter_map(|(name, value)| Some((name.to_string(), (*value)?.to_owned()))).collect()
    }

    proptest! {
        // opentelemetry-propagator-b3 0.33.1, where it is right. It is not: with `d`, or with no decision, which it
        // does not take as sampled (the first means it is, and of the second we make it); with `true`, which it reads
        // in one form of the headers alone; and with a `+` in an id, which it takes for a digit.
        #[test]
        fn b3_is_read_as_the_opentelemetry_propagator_reads_it(
            trace in "([0-9a-f]{16}){1,2}|[0-9a-fA-F]{15,33}|0{32}",
            span in "[0-9a-f]{16}|[0-9a-fA-F]{15,17}|0{16}",
            sampled in "[012]|false",
            parent in proptest::option::of("[0-9a-f]{16}"),
        ) {
            let lower = ![&trace, &span].iter().any(|id| id.bytes().any(|digit| digit.is_ascii_uppercase()));
            let single = match &parent {
                Some(parent) => format!("{trace}-{span}-{sampled}-{parent}"),
                None => format!("{trace}-{span}-{sampled}"),
            };
            let headers = b3(&[("b3", Some(&single))]);
            let (ours, theirs) = (b3_ours(&headers).map(ids), b3_oracle(&headers, B3Encoding::SingleHeader).map(ids));
            // B3's ids are in small letters; we read others too, as the proxies that write them mean them.
            prop_assert_eq!(ours.filter(|_| lower), theirs, "{}", single);
            let headers = b3(&[
                ("x-b3-traceid", Some(&trace)),
                ("x-b3-spanid", Some(&span)),
                ("x-b3-sampled", Some(&sampled)),
                ("x-b3-parentspanid", parent.as_deref()),
            ]);
            let (ours, theirs) = (b3_ours(&headers).map(ids), b3_oracle(&headers, B3Encoding::MultipleHeader).map(ids));
            prop_assert_eq!(ours.filter(|_| lower), theirs, "{:?}", headers);
        }

        #[test]
        fn one_header_of_b3_counts_if_it_can_be_read_and_the_others_else(
            // Not a decision alone, which it does not know.
            bad in "([0-9a-f]{2,15}(-[0-9a-f]{0,20})?)?",
            good in proptest::bool::ANY,
            debug in proptest::option::of("[01]"),
        ) {
            let single = if good { format!("{}-{SPAN}-0", &TRACE[16..]) } else { bad };
            let headers = b3(&[
                ("b3", Some(&single)),
                ("x-b3-traceid", Some(TRACE)),
                ("x-b3-spanid", Some(SPAN)),
                ("x-b3-sampled", Some("1")),
                ("x-b3-flags", debug.as_deref()),
            ]);
            let ours = b3_ours(&headers).map(ids);
            // `x-b3-flags: 0` says nothing; it takes it for a decision.
            if good || debug.as_deref() != Some("0") {
                prop_assert_eq!(ours, b3_oracle(&headers, B3Encoding::SingleAndMultiHeader).map(ids), "{:?}", headers);
            }
            prop_assert_eq!(ours.map(|(.., sampled)| sampled), Some(!good));
        }
    }

    #[test]
    fn a_short_b3_trace_id_is_filled_with_zeros_in_front() {
        let context = from(&[Format::B3], &[("b3", "8448eb211c80319c-b7ad6b7169203331-0")]).unwrap().unwrap();
        assert_eq!(context.trace_id().to_string(), "00000000000000008448eb211c80319c");
        assert!(!context.is_sampled());
    }

    #[test]
    fn a_b3_decision_alone_names_no_parent() {
        assert_eq!(from(&[Format::B3], &[("b3", "0")]), Ok(None));
    }

    #[test]
    fn the_last_format_that_can_be_read_counts() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let headers = [("traceparent", parent.as_str()), ("uber-trace-id", "1:2:0:1"), ("b3", "nonsense")];
        let formats = [Format::TraceContext, Format::Jaeger, Format::B3];
        assert_eq!(from(&formats, &headers).unwrap().unwrap().span_id().to_string(), "0000000000000002");
        assert_eq!(from(&[Format::B3], &headers), Err(Malformed));
        assert_eq!(from(&[], &headers), Ok(None));
    }

    proptest! {
        #[test]
        fn no_header_of_another_format_panics(text in any::<String>(), shaped in "[-:0-9a-fA-F%é]{0,80}") {
            for value in [text, shaped] {
                let _ = extract(&[Format::B3, Format::Jaeger], &|_| Some(value.clone()));
                let _ = extract(&[Format::B3, Format::Jaeger], &|name| (name != B3).then(|| value.clone()));
            }
        }
    }

    #[test]
    fn zero_ids_and_version_ff_are_refused() {
        for bad in [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "",
        ] {
            assert_eq!(parse(bad, None), Err(Malformed), "{bad:?}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_version_00_goes() {
        assert!(parse("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-holds", None).is_ok());
        assert!(parse("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.nonsense", None).is_err());
    }

    #[test]
    fn an_unreadable_tracestate_does_not_spoil_the_parent() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(parse(parent, Some("a=1,b=2")).unwrap().trace_state().header(), "a=1,b=2");
        assert_eq!(parse(parent, Some("no pair at all")).unwrap().trace_state().header(), "");
    }
}
