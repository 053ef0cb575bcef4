//! A source of fixed time and ids.

use std::sync::atomic::{AtomicU64, Ordering};

use jitspan::clock::Source;
use opentelemetry::trace::{SpanId, TraceId};

/// Time stands still, ids count up.
#[derive(Debug, Default)]
pub struct Fixed(AtomicU64);

/// 2023-11-14T22:13:20Z.
pub const NOW: u64 = 1_700_000_000_000_000_000;

impl Source for Fixed {
    fn now(&self) -> u64 {
        NOW
    }

    fn trace_id(&self) -> TraceId {
        TraceId::from_bytes(u128::from(self.0.fetch_add(1, Ordering::SeqCst) + 1).to_be_bytes())
    }

    fn span_id(&self) -> SpanId {
        SpanId::from_bytes((self.0.fetch_add(1, Ordering::SeqCst) + 1).to_be_bytes())
    }
}
