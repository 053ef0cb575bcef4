//! Groups spans by trace and hands out each trace once it has been quiet for a while. Bounded in traces, spans and
//! bytes; reads no clock: whoever calls says what time it is.
//!
//! A trace that was handed out is remembered for a while. When more of its spans arrive, it settles again and is
//! handed out whole, marked as updated.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::trace::TraceId;

use super::record::{Event, NOT_RECEIVED, Span, Trace};
use super::text::number_of;

/// How long a trace that was handed out waits for late spans: longer than most requests take, since a child span
/// leaves minutes before the span of a long request does.
const REMEMBER: Duration = Duration::from_secs(300);

/// A trace that never becomes quiet (one trace for a whole job, say) is handed out after this many settle times.
const PATIENCE: u32 = 10;

/// What the store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Traces at a time.
    pub traces: usize,
    /// Spans in one trace.
    pub spans_per_trace: usize,
    /// Bytes of all spans together, roughly.
    pub bytes: usize,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Traces seen.
    pub traces: usize,
    /// Traces seen that hold a stall.
    pub stalled: usize,
    /// Spans left out of a trace that was full.
    pub omitted_spans: usize,
    /// Traces pushed out for want of room before they could be printed.
    pub lost_traces: usize,
    /// Spans refused for an invalid id.
    pub rejected_spans: usize,
}

/// The traces that are on their way.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    settle: Duration,
    all: bool,
    traces: HashMap<TraceId, Entry>,
    /// Every trace once, the one to push out first in front. The number grows with each touch, so that within one
    /// rank the quietest trace comes first.
    order: BTreeMap<(Rank, u64), TraceId>,
    touches: u64,
    bytes: usize,
    counts: Counts,
}

#[derive(Debug)]
struct Entry {
    trace: Arc<Trace>,
    /// Its place in `Store::order`.
    position: (Rank, u64),
    pending_since: Instant,
    last_seen: Instant,
    printed: bool,
    bytes: usize,
}

/// What is missed least when it goes, first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Handed out already.
    Settled,
    Pending,
    /// Pending, and it holds a stall.
    Stalled,
}

impl Store {
    /// An empty store that hands out traces which have been quiet for `settle`: those with a stall, or all.
    #[must_use]
    pub fn new(limits: Limits, settle: Duration, all: bool) -> Self {
        Self {
            limits,
            settle,
            all,
            traces: HashMap::new(),
            order: BTreeMap::new(),
            touches: 0,
            bytes: 0,
            counts: Counts::default(),
        }
    }

    /// Takes spans in, pushing out what no longer fits.
    pub fn add(&mut self, spans: Vec<Span>, now: Instant) {
        for span in spans {
            self.add_span(span, now);
            while self.traces.len() > self.limits.traces || self.bytes > self.limits.bytes {
                self.push_out_first();
            }
        }
    }

    /// Notes that spans had no usable id.
    pub fn count_rejected(&mut self, spans: usize) {
        self.counts.rejected_spans += spans;
    }

    /// The traces to print now: those that have become quiet, and those that have been busy for too long.
    pub fn settle(&mut self, now: Instant) -> Vec<Arc<Trace>> {
        self.forget(now);
        let (settle, patience) = (self.settle, self.settle * PATIENCE);
        self.take(|entry| {
            now.saturating_duration_since(entry.last_seen) >= settle
                || now.saturating_duration_since(entry.pending_since) >= patience
        })
    }

    /// The traces that are still to print, quiet or not.
    pub fn drain(&mut self) -> Vec<Arc<Trace>> {
        self.take(|_| true)
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn add_span(&mut self, span: Span, now: Instant) {
        let id = span.trace_id;
        self.touches += 1;
        let entry = self.traces.entry(id).or_insert_with(|| {
            self.counts.traces += 1;
            Entry::new(id, now, self.touches)
        });
        let trace = Arc::make_mut(&mut entry.trace);
        let is_stalled = span.is_stalled();
        match merge(&mut trace.spans, span, self.limits.spans_per_trace) {
            // A message sent twice tells nothing new, so the trace is not printed again.
            Merged::AsBefore => return,
            Merged::Replaced { added, removed } => {
                entry.bytes = entry.bytes + added - removed;
                self.bytes = self.bytes + added - removed;
            }
            Merged::NoRoom => {
                trace.omitted_spans += 1;
                self.counts.omitted_spans += 1;
            }
        }
        if is_stalled && !trace.stalled {
            trace.stalled = true;
            self.counts.stalled += 1;
        }
        trace.updated = entry.printed;
        if entry.position.0 == Rank::Settled {
            entry.pending_since = now;
        }
        entry.last_seen = now;
        let rank = if trace.stalled { Rank::Stalled } else { Rank::Pending };
        self.order.remove(&entry.position);
        entry.position = (rank, self.touches);
        self.order.insert(entry.position, id);
    }

    fn take(&mut self, is_due: impl Fn(&Entry) -> bool) -> Vec<Arc<Trace>> {
        let pending = self.order.range((Rank::Pending, 0)..);
        let mut due: Vec<_> = pending
            .filter(|(_, id)| self.traces.get(id).is_some_and(&is_due))
            .map(|(&position, &id)| (position, id))
            .collect();
        due.sort_unstable_by_key(|((_, touch), _)| *touch);

        let mut printable = Vec::new();
        for (position, id) in due {
            self.order.remove(&position);
            let Some(entry) = self.traces.get_mut(&id) else { continue };
            entry.position = (Rank::Settled, position.1);
            self.order.insert(entry.position, id);
            if self.all || entry.trace.stalled {
                entry.printed = true;
                printable.push(Arc::clone(&entry.trace));
            }
        }
        printable
    }

    fn forget(&mut self, now: Instant) {
        while let Some((&(Rank::Settled, _), id)) = self.order.first_key_value() {
            let recent = |entry: &Entry| now.saturating_duration_since(entry.last_seen) < REMEMBER;
            if self.traces.get(id).is_some_and(recent) {
                break;
            }
            self.push_out_first();
        }
    }

    fn push_out_first(&mut self) {
        let Some(((rank, _), id)) = self.order.pop_first() else { return };
        if let Some(entry) = self.traces.remove(&id) {
            self.bytes -= entry.bytes;
            if rank != Rank::Settled {
                self.counts.lost_traces += 1;
            }
        }
    }
}

impl Entry {
    fn new(id: TraceId, now: Instant, touch: u64) -> Self {
        let trace = Trace { id, spans: Vec::new(), omitted_spans: 0, stalled: false, updated: false };
        Self {
            trace: Arc::new(trace),
            position: (Rank::Pending, touch),
            pending_since: now,
            last_seen: now,
            printed: false,
            bytes: 0,
        }
    }
}

enum Merged {
    AsBefore,
    Replaced { added: usize, removed: usize },
    NoRoom,
}

/// Puts a span among the others. A span that is there already is replaced, but keeps the events that came as logs.
fn merge(spans: &mut Vec<Span>, mut span: Span, limit: usize) -> Merged {
    let Some(known) = spans.iter_mut().find(|known| known.span_id == span.span_id) else {
        if spans.len() >= limit {
            return Merged::NoRoom;
        }
        let added = span.weight();
        spans.push(span);
        return Merged::Replaced { added, removed: 0 };
    };
    let removed = known.weight();
    if span.name == NOT_RECEIVED {
        let before = known.events.len();
        add_missing(&mut known.events, span.events);
        if known.events.len() == before {
            return Merged::AsBefore;
        }
    } else {
        let from_logs = known.events.iter().filter(|event| event.from_log).cloned().collect();
        add_missing(&mut span.events, from_logs);
        if *known == span {
            return Merged::AsBefore;
        }
        *known = span;
    }
    Merged::Replaced { added: known.weight(), removed }
}

fn add_missing(events: &mut Vec<Event>, others: Vec<Event>) {
    for other in others {
        if !events.iter().any(|event| event.is_same_as(&other)) {
            events.push(other);
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {} with a stall", number_of(self.traces, "trace"), self.stalled)?;
        let troubles = [
            (self.lost_traces, "trace", "pushed out before it settled (raise --max-traces or --max-memory)"),
            (self.omitted_spans, "span", "over the limit of its trace (raise --max-spans)"),
            (self.rejected_spans, "span", "refused for an invalid id"),
        ];
        for (count, noun, what) in troubles.into_iter().filter(|(count, ..)| *count > 0) {
            write!(formatter, "; {} {what}", number_of(count, noun))?;
        }
        Ok(())
    }
}
