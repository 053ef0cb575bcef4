//! W3C Trace Context in: the headers of a request become the span context that its stall is a child of.
//! Never fails: what cannot be read is a [`Malformed`], and the caller makes a root span of it.

use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The header that names the parent span.
pub const TRACEPARENT: &str = "traceparent";
/// The header that carries the vendors' own state.
pub const TRACESTATE: &str = "tracestate";

/// A carrier held something under `traceparent` that is not a trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

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
