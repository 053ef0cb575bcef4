//! What requests waited for, on its way from a worker to the span of the whole request: as lines of JSON, because each
//! of the three processes is another one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::board::peers::Peer;
use crate::board::waits;
use crate::model::attribute::{Attributes, Value};
use crate::model::event::{CompileEvent, Kernel, Kind, UnixNanos, nanos};
use crate::model::summary::Summary;
use crate::scope::Scope;
use crate::semconv::{attribute, engine as key};

/// The attribute under which a context travels on vLLM's objects, and the key of the stalls among a request's headers.
pub const KEY: &str = "jitspan";
/// The key among a request's trace headers that says that its trace context is from us.
pub const GIVEN: &str = "jitspan-given";

/// Stalls of one request that are carried, of all ranks; the spans of its steps have all of them.
pub const STALLS_KEPT: usize = 256;
/// Of so many the attributes are carried as well, for the events on the request's span.
const EVENTS_KEPT: usize = 32;
/// Stalls in one line.
const IN_A_LINE: usize = 64;

/// Whose step it was. Ranks of one stage run in lockstep, stages one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Pipeline stage.
    pub stage: i64,
    /// Rank of the worker within its engine.
    pub rank: i64,
}

impl Place {
    /// No place of this engine: what a peer did is told beside what each stage did.
    const PEER: Self = Place { stage: -1, rank: -1 };
}

/// What a request did while something compiled.
#[derive(Debug, Clone, Copy)]
pub enum State {
    /// It was in the step.
    Running,
    /// It waited for one.
    Queued,
    /// Its engine waited for a peer.
    Held,
}

impl State {
    /// The value on the wire.
    pub fn word(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Queued => "queued",
            State::Held => "held",
        }
    }

    /// Name of the span that tells of it.
    pub fn span(self) -> &'static str {
        match self {
            State::Running => key::VLLM_EXECUTE_MODEL,
            State::Queued => key::VLLM_QUEUED,
            State::Held => key::VLLM_HELD,
        }
    }
}

/// A time that somebody waited.
#[derive(Debug, Clone, Copy)]
pub struct Interval {
    /// Begin.
    pub started: UnixNanos,
    /// End.
    pub ended: UnixNanos,
}

impl Interval {
    /// How long it is.
    pub fn seconds(self) -> f64 {
        self.ended.saturating_sub(self.started) as f64 / 1e9
    }
}

/// One stall, as a worker tells of it.
#[derive(Debug, Clone)]
pub struct Stall {
    /// What was done.
    pub kind: Kind,
    /// What did it.
    pub runtime: String,
    /// The kernel.
    pub kernel: String,
    /// When it began.
    pub started: UnixNanos,
    /// How long it took, or how long it was waited for.
    pub duration: Duration,
    /// Whether it is long enough to be called one; a short load from a cache on disk is not.
    pub counts: bool,
    /// Whose it was.
    pub place: Place,
    /// Everything that the event on a span says.
    pub attributes: Attributes,
}

/// The stalls of one step, as a worker sends them.
#[derive(Debug)]
pub struct Sent {
    /// Requests that were in the step.
    pub requests: Vec<String>,
    /// What they waited for.
    pub stalls: Vec<Arc<Stall>>,
    /// Pipeline stages of the engine.
    pub stages: i64,
}

/// The stalls of a step, for the engine core.
pub fn of_step(scope: &Scope, requests: &[String], (place, stages): (Place, i64)) -> Vec<Sent> {
    let stalls: Vec<_> = scope.stalls().iter().map(|event| Arc::new(Stall::of(event, place))).collect();
    stalls.chunks(IN_A_LINE).map(|some| Sent { requests: requests.to_vec(), stalls: some.to_vec(), stages }).collect()
}

impl Stall {
    fn of(event: &CompileEvent, place: Place) -> Self {
        let mut short = event.clone();
        // Long, and on the step's own span.
        short.detail = None;
        let mut attributes = short.attributes();
        attributes.int(key::RANK, place.rank);
        Stall {
            kind: event.kind,
            runtime: event.runtime.to_string(),
            kernel: event.kernel.name.clone(),
            started: event.began(),
            duration: event.duration,
            counts: event.stalls,
            place,
            attributes,
        }
    }

    /// What a peer engine compiled, of which somebody waited for these times and for nothing else.
    pub fn of_peer(peer: &Peer, waited: &[waits::Span]) -> Self {
        let (started, duration) = (waited.first().map_or(peer.span.0, |span| span.0), waits::length(waited));
        let mut attributes = Attributes::new();
        attributes.text(attribute::RUNTIME, peer.runtime.clone());
        attributes.text(attribute::KERNEL_NAME, peer.kernel.clone());
        attributes.double(attribute::DURATION, waits::length(&[peer.span]).as_secs_f64());
        attributes.text(key::REQUEST_STATE, State::Held.word());
        attributes.double(key::WAITED, duration.as_secs_f64());
        let ranks = [(key::PEER_RANK, peer.rank), (key::PEER_DATA_PARALLEL_RANK, peer.data_parallel_rank)];
        for (name, rank) in ranks {
            rank.iter().for_each(|rank| attributes.int(name, *rank));
        }
        Stall {
            kind: Kind::Peer,
            runtime: peer.runtime.clone(),
            kernel: peer.kernel.clone(),
            started,
            duration,
            counts: true,
            place: Place::PEER,
            attributes,
        }
    }

    /// When it ended.
    pub fn ended(&self) -> UnixNanos {
        self.started.saturating_add(nanos(self.duration))
    }

    /// As a request has it that waited for a part of it, in the queue.
    pub fn waited_for(&self, waited: Interval) -> Self {
        let mut part = self.clone();
        (part.started, part.duration) = (waited.started, Duration::from_nanos(waited.ended - waited.started));
        part.attributes.text(key::REQUEST_STATE, State::Queued.word());
        part.attributes.double(key::WAITED, part.duration.as_secs_f64());
        part
    }

    /// For a summary.
    pub fn event(&self, waited: Interval) -> CompileEvent {
        let mut event = CompileEvent::new(self.kind, self.runtime.clone(), Kernel::named(&*self.kernel));
        event.started = Some(waited.started);
        event.duration = Duration::from_nanos(waited.ended.saturating_sub(waited.started));
        event.stalls = self.counts;
        event
    }

    fn write(&self, with_attributes: bool) -> Json {
        let mut json = json!({
            "kind": self.kind.word(),
            "runtime": self.runtime,
            "kernel": self.kernel,
            "started": self.started,
            "duration": nanos(self.duration),
            "counts": self.counts,
            "stage": self.place.stage,
            "rank": self.place.rank,
        });
        if with_attributes {
            json["attributes"] = json!(self.attributes);
        }
        json
    }

    fn read(json: &Json) -> Option<Self> {
        let kind = Kind::from_word(json["kind"].as_str()?)?;
        let mut attributes = Attributes::new();
        for (name, value) in json["attributes"].as_object().into_iter().flatten() {
            if let Some(value) = plain(value) {
                attributes.set(name.clone(), value);
            }
        }
        Some(Stall {
            kind,
            runtime: json["runtime"].as_str()?.to_owned(),
            kernel: json["kernel"].as_str()?.to_owned(),
            started: json["started"].as_u64()?,
            duration: Duration::from_nanos(json["duration"].as_u64()?),
            counts: json["counts"].as_bool()?,
            place: Place { stage: json["stage"].as_i64()?, rank: json["rank"].as_i64()? },
            attributes,
        })
    }
}

impl Sent {
    /// As one line.
    pub fn to_line(&self) -> String {
        let stalls: Vec<Json> = self.stalls.iter().map(|stall| stall.write(true)).collect();
        format!("{}\n", json!({"requests": self.requests, "stalls": stalls, "stages": self.stages}))
    }

    /// Reads what [`Sent::to_line`] wrote.
    pub fn read(line: &str) -> Option<Self> {
        let json: Json = serde_json::from_str(line).ok()?;
        let requests = json["requests"].as_array()?.iter().filter_map(Json::as_str).map(str::to_owned).collect();
        let stalls = json["stalls"].as_array()?.iter().filter_map(Stall::read).map(Arc::new).collect();
        Some(Sent { requests, stalls, stages: json["stages"].as_i64()? })
    }
}

/// A request's stalls, for its last output. None: there were none.
pub fn to_front_end(stalls: &[Arc<Stall>]) -> Option<String> {
    let written = stalls.iter().enumerate().map(|(at, stall)| stall.write(at < EVENTS_KEPT));
    (!stalls.is_empty()).then(|| Json::Array(written.collect()).to_string())
}

/// What a request waited for, in the front end.
#[derive(Clone, Default)]
pub struct Waited {
    /// The summary, for the span.
    pub attributes: Attributes,
    /// Name, time in nanoseconds, and attributes of each event.
    pub events: Vec<(&'static str, u64, Attributes)>,
}

impl Waited {
    /// Reads what [`to_front_end`] wrote. Time is that in which some rank stalled. Counts and events are those of the
    /// rank that stalled longest, of each stage: the others of a stage compile the same kernels at the same time.
    pub fn read(text: &str) -> Option<Self> {
        let stalls: Vec<Json> = serde_json::from_str(text).ok()?;
        let stalls: Vec<Stall> = stalls.iter().filter_map(Stall::read).collect();
        let told = slowest(&stalls);
        let mut summary = Summary::default();
        let mut events = Vec::new();
        for stall in &stalls {
            let event = stall.event(Interval { started: stall.started, ended: stall.ended() });
            if told.contains(&stall.place) {
                summary.add(&event);
                if !stall.attributes.is_empty() {
                    events.push((stall.kind.event_name(), stall.started, stall.attributes.clone()));
                }
            } else {
                summary.stall(event.began(), event.ended());
            }
        }
        Some(Waited { attributes: summary.attributes(), events })
    }
}

/// Of each stage, the rank that stalled longest.
fn slowest(stalls: &[Stall]) -> Vec<Place> {
    let mut times: BTreeMap<Place, Duration> = BTreeMap::new();
    for stall in stalls {
        *times.entry(stall.place).or_default() += stall.duration;
    }
    let mut told: BTreeMap<i64, (Duration, Place)> = BTreeMap::new();
    for (place, time) in times {
        let known = told.entry(place.stage).or_insert((time, place));
        if time > known.0 {
            *known = (time, place);
        }
    }
    told.into_values().map(|(_, place)| place).collect()
}

fn plain(value: &Json) -> Option<Value> {
    match value {
        Json::Bool(flag) => Some((*flag).into()),
        Json::Number(number) => number.as_i64().map(Value::Int).or_else(|| number.as_f64().map(Value::Double)),
        Json::String(text) => Some(text.as_str().into()),
        Json::Array(values) => Some(Value::List(values.iter().filter_map(plain).collect())),
        Json::Null | Json::Object(_) => None,
    }
}
