//! Where time and ids come from. Everything else takes them from here, so that a test can fix both.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanId, TraceId};

use crate::model::event::{UnixNanos, nanos};

/// A time of the system, as the wire counts it.
pub fn unix(time: SystemTime) -> UnixNanos {
    time.duration_since(UNIX_EPOCH).map_or(0, nanos)
}

/// Tells the time on the wire, and makes ids.
pub trait Source: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> UnixNanos;
    /// A new trace id, never zero.
    fn trace_id(&self) -> TraceId;
    /// A new span id, never zero.
    fn span_id(&self) -> SpanId;
    /// Both, for the first span of a trace.
    fn root_ids(&self) -> (TraceId, SpanId) {
        (self.trace_id(), self.span_id())
    }
}

/// One moment on both clocks: from it every other moment of a request is told by the monotonic one. The wall clock may be
/// set while a request is served, and a request that took a second must not have a span of an hour.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    unix: UnixNanos,
    clock: Instant,
}

impl Anchor {
    /// What is now `clock` on the monotonic clock, or was.
    pub fn new(clock: Instant, source: &dyn Source) -> Self {
        Anchor { unix: source.now().saturating_sub(nanos(clock.elapsed())), clock }
    }

    /// The moment itself.
    pub fn unix(&self) -> UnixNanos {
        self.unix
    }

    /// A later moment.
    pub fn at(&self, clock: Instant) -> UnixNanos {
        self.unix.saturating_add(nanos(clock.saturating_duration_since(self.clock)))
    }
}

/// The machine's wall clock, and ids from the operating system's randomness: a server that seeds its generators alike
/// on all ranks, or forks, must not make ids collide. Nor may two that were restored from one snapshot of a warm server
/// (CRIU, a virtual machine): so no randomness is kept in store, though asking for it is a twentieth of what recording a
/// stall costs.
///
/// Durations are never differences of this clock: whoever times a stall uses a monotonic one.
#[derive(Debug, Default, Clone, Copy)]
pub struct System;

impl Source for System {
    fn now(&self) -> UnixNanos {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos)
    }

    fn trace_id(&self) -> TraceId {
        TraceId::from_bytes(never_zero(random()))
    }

    fn span_id(&self) -> SpanId {
        SpanId::from_bytes(never_zero(random()))
    }

    fn root_ids(&self) -> (TraceId, SpanId) {
        let ids: [u8; 24] = random();
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&ids[..16]);
        span_id.copy_from_slice(&ids[16..]);
        (TraceId::from_bytes(never_zero(trace_id)), SpanId::from_bytes(never_zero(span_id)))
    }
}

/// Where the system refuses randomness, the address of a local and the time stand in.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        let seed = &raw const bytes as u64 ^ SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, nanos);
        for (place, byte) in bytes.iter_mut().zip(seed.to_be_bytes().iter().cycle()) {
            *place = *byte;
        }
    }
    bytes
}

fn never_zero<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    if bytes == [0; N] {
        bytes[N - 1] = 1;
    }
    bytes
}

/// A random UUID (version 4), as text.
pub fn uuid() -> String {
    let random = u128::from_be_bytes(random());
    let version_4 = (random & !(0xf << 76)) | (0x4 << 76);
    let variant = (version_4 & !(0b11 << 62)) | (0b10 << 62);
    let text = format!("{variant:032x}");
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}
