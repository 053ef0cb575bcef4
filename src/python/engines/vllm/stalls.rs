//! What requests waited for, on its way from a worker to the span of the whole request: as one line of JSON beside what
//! vLLM sends anyway, because each of the three processes is another one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::model::attribute::{Attributes, Value};
use crate::model::event::{CompileEvent, Kernel, Kind};
use crate::model::summary::Summary;
use crate::scope::Scope;

/// The attribute under which it travels on vLLM's objects, and the key among a request's trace headers.
pub const KEY: &str = "jitspan";
/// The key among a request's trace headers that says that its trace context is from us.
pub const GIVEN: &str = "jitspan-given";

/// Stalls of one request that are carried; the spans of its steps have all of them.
const STALLS_KEPT: usize = 256;
/// Of so many the attributes are carried as well, for the events on the request's span.
const EVENTS_KEPT: usize = 32;
/// Requests whose stalls are kept; those of the oldest are forgotten.
const REQUESTS_KEPT: usize = 4096;

/// The stalls of a step as JSON. None: there were none.
pub fn of_step(scope: &Scope, requests: &[String]) -> Option<String> {
    let stalls: Vec<Json> = scope.stalls().iter().map(|event| of_event(event)).collect();
    (!stalls.is_empty()).then(|| json!({"requests": requests, "stalls": stalls}).to_string())
}

fn of_event(event: &CompileEvent) -> Json {
    let mut short = event.clone();
    // Long, and on the step's own span.
    short.detail = None;
    json!({
        "kind": event.kind.word(),
        "runtime": event.runtime,
        "kernel": event.kernel.name,
        "started": event.started,
        "duration": u64::try_from(event.duration.as_nanos()).unwrap_or(u64::MAX),
        "attributes": short.attributes(),
    })
}

/// The stalls of one step, as a worker sent them.
pub struct Sent {
    requests: Vec<String>,
    stalls: Vec<Arc<Json>>,
}

impl Sent {
    /// Reads what [`of_step`] wrote.
    pub fn read(text: &str) -> Option<Self> {
        let mut sent: Json = serde_json::from_str(text).ok()?;
        let Json::Array(stalls) = sent["stalls"].take() else { return None };
        let requests = sent["requests"].as_array()?.iter().filter_map(Json::as_str).map(str::to_owned).collect();
        Some(Sent { requests, stalls: stalls.into_iter().map(Arc::new).collect() })
    }

    /// Without the requests that are not wanted.
    pub fn only(mut self, wanted: impl Fn(&str) -> bool) -> Self {
        self.requests.retain(|request| wanted(request));
        self
    }
}

/// Stalls by request, in the scheduler's process, until the request is finished.
#[derive(Default)]
pub struct Stalled {
    requests: HashMap<String, Vec<Arc<Json>>>,
    oldest: VecDeque<String>,
}

impl Stalled {
    /// Adds what a worker sent with a step's output.
    pub fn add(&mut self, sent: Sent) {
        for request in sent.requests {
            if !self.requests.contains_key(&request) {
                self.oldest.push_back(request.clone());
            }
            let known = self.requests.entry(request).or_default();
            known.extend(sent.stalls.iter().take(STALLS_KEPT.saturating_sub(known.len())).cloned());
        }
        while self.oldest.len() > REQUESTS_KEPT {
            if let Some(oldest) = self.oldest.pop_front() {
                self.requests.remove(&oldest);
            }
        }
    }

    /// Takes a request's stalls, as JSON.
    pub fn take(&mut self, request: &str) -> Option<String> {
        let stalls = self.requests.remove(request)?;
        self.oldest.retain(|other| other != request);
        let stalls: Vec<Json> = stalls.iter().enumerate().map(|(at, stall)| shortened(at, stall)).collect();
        Some(Json::Array(stalls).to_string())
    }

    /// How many requests are known.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether no request is known.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

fn shortened(at: usize, stall: &Json) -> Json {
    let mut stall = stall.clone();
    if at >= EVENTS_KEPT
        && let Some(stall) = stall.as_object_mut()
    {
        stall.remove("attributes");
    }
    stall
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
    /// Reads what [`Stalled::take`] wrote.
    pub fn read(text: &str) -> Option<Self> {
        let stalls: Vec<Json> = serde_json::from_str(text).ok()?;
        let mut summary = Summary::default();
        let mut events = Vec::new();
        for stall in &stalls {
            let kind = Kind::ALL.into_iter().find(|kind| stall["kind"] == kind.word())?;
            let kernel = Kernel::named(stall["kernel"].as_str()?);
            let mut event = CompileEvent::new(kind, stall["runtime"].as_str()?.to_owned(), kernel);
            event.started = stall["started"].as_u64()?;
            event.duration = Duration::from_nanos(stall["duration"].as_u64()?);
            summary.add(&event);
            if let Some(attributes) = stall["attributes"].as_object() {
                let mut known = Attributes::new();
                for (name, value) in attributes {
                    if let Some(value) = plain(value) {
                        known.set(name.clone(), value);
                    }
                }
                events.push((kind.event_name(), event.started, known));
            }
        }
        Some(Waited { attributes: summary.attributes(), events })
    }
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
