//! The engine core: each request from the time it is added to the scheduler until it is finished. From here its trace
//! context goes to the workers, and what it waited for to the front end; and here is known who waited in the queue.
//!
//! Each point is called once for a request. None is called in a step that neither begins nor ends one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::SpanContext;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::peers::{Told, Wait};
use super::queued::Queued;
use super::stalls::{self, KEY, STALLS_KEPT, Sent, Stall};
use super::stalls::{Interval, State};
use super::{contexts, group, mailbox};
use crate::board::peers::Peer;
use crate::board::waits::Span;
use crate::model::event::UnixNanos;
use crate::process::lock::Mutex;
use crate::propagation::{TRACEPARENT, TRACESTATE, traceparent};
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text};
use crate::python::host::report;
use crate::python::patch::{After, Call};

static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
/// Whether workers are in this process, and whether the scheduler is: with one GPU both may be.
static WORKERS: AtomicBool = AtomicBool::new(false);
static SCHEDULER: AtomicBool = AtomicBool::new(false);

/// Requests kept; only a scheduler that never frees one could reach it.
const REQUESTS_KEPT: usize = 1 << 16;
/// Ids of finished requests that wait for the next one that is new; beyond it the workers keep some contexts.
const FINISHED_KEPT: usize = 1 << 16;
/// Steps kept for requests that came while they stalled, and are added only after it.
const RECENT_KEPT: usize = 64;

/// A worker is made in this process.
pub fn workers_are_here() {
    WORKERS.store(true, Ordering::Relaxed);
}

fn has_workers() -> bool {
    WORKERS.load(Ordering::Relaxed)
}

/// Whether the scheduler is in this process.
pub fn are_here() -> bool {
    SCHEDULER.load(Ordering::Relaxed)
}

/// Requests that are alive.
pub fn kept() -> usize {
    KNOWN.lock().as_ref().map_or(0, |known| known.alive.len())
}

/// What the engine core knows.
#[derive(Default)]
struct Known {
    told: Told,
    alive: HashMap<String, Alive>,
    /// Since the last request that was new in a step.
    finished: Vec<String>,
    recent: VecDeque<Sent>,
}

/// A request that is in the scheduler.
struct Alive {
    parent: Option<SpanContext>,
    /// When the front end got it.
    arrived: UnixNanos,
    /// When it was put into a step for the first time, or again after it was preempted.
    scheduled: Option<UnixNanos>,
    queued: Option<Queued>,
    stalls: Vec<Arc<Stall>>,
}

fn with<T>(body: impl FnOnce(&mut Known) -> T) -> T {
    body(KNOWN.lock().get_or_insert_default())
}

/// `Scheduler.add_request(request)`. A later part of a prompt that comes in parts is no new request.
pub fn added(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(request) = call.arg(1).or_else(|| call.keyword("request")) else { return Ok(None) };
    let Some(id) = get_text(&request, "request_id") else { return Ok(None) };
    SCHEDULER.store(true, Ordering::Relaxed);
    group::join_as_scheduler(call.arg(0).as_ref());
    let parent = contexts::of_request(&request, &id);
    if parent.is_none() {
        tell_of_rust_front_end(py);
    }
    let now = crate::monitor().map_or(0, |monitor| monitor.now());
    let arrived = get(&request, "arrival_time").and_then(|arrived| arrived.extract::<f64>().or_none());
    // The front end may be on another machine, whose clock is another one.
    let arrived = arrived.map_or(now, |arrived| ((arrived * 1e9) as u64).min(now));
    with(|known| {
        if known.alive.len() < REQUESTS_KEPT && !known.alive.contains_key(&id) {
            let mut alive = Alive { parent, arrived, scheduled: None, queued: None, stalls: Vec::new() };
            known.recent.iter().for_each(|sent| alive.wait(&id, sent, None));
            known.alive.insert(id, alive);
        }
    });
    Ok(None)
}

/// Once, where it matters: a request came without a context.
fn tell_of_rust_front_end(py: Python<'_>) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if let Some(note) = super::note()
        && !SAID.swap(true, Ordering::Relaxed)
    {
        report::log(py, "warning", &note);
    }
}

/// `NewRequestData.from_request(request, ...)`: the request is new in a step, or again after it was preempted.
pub fn scheduled(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(request) = call.arg(1).or_else(|| call.keyword("request")) else { return Ok(None) };
    let Some(id) = get_text(&request, "request_id") else { return Ok(None) };
    hear();
    Ok(Some(Box::new(move |py, outcome| {
        let Ok(new) = outcome else { return Ok(None) };
        let (parent, finished) = with(|known| {
            let alive = known.alive.get_mut(&id);
            let parent = alive.and_then(|alive| {
                alive.scheduled = crate::monitor().map(|monitor| monitor.now());
                alive.leave_queue();
                alive.parent.clone()
            });
            (parent, std::mem::take(&mut known.finished))
        });
        let said = PyDict::new(py);
        if let Some(parent) = parent {
            said.set_item(TRACEPARENT, traceparent(&parent))?;
            let state = parent.trace_state().header();
            if !state.is_empty() {
                said.set_item(TRACESTATE, state)?;
            }
        }
        if !finished.is_empty() {
            said.set_item(contexts::FINISHED, &finished)?;
        }
        if let Some(address) = (!has_workers()).then(mailbox::address).flatten() {
            said.set_item(contexts::MAILBOX, address)?;
        }
        if said.is_empty() {
            return Ok(None);
        }
        new.setattr(KEY, said)?;
        if has_workers() {
            contexts::came(new)?;
        }
        Ok(None)
    })))
}

/// `Scheduler._free_request(request, ...)`: it is finished, or was aborted. vLLM makes its last output, with its trace
/// headers, after it.
pub fn finished(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(request) = call.arg(1).or_else(|| call.keyword("request")) else { return Ok(None) };
    let Some(id) = get_text(&request, "request_id") else { return Ok(None) };
    let going_on = hear();
    let alive = with(|known| {
        let mut alive = known.alive.remove(&id)?;
        for (peer, waited) in going_on {
            alive.hold(&id, &peer, &waited);
        }
        if alive.parent.is_some() && known.finished.len() < FINISHED_KEPT {
            known.finished.push(id.clone());
        }
        Some(alive)
    });
    if has_workers() {
        contexts::forget(std::slice::from_ref(&id));
    }
    let Some(mut alive) = alive else { return Ok(None) };
    alive.leave_queue();
    if let Some(stalls) = stalls::to_front_end(&alive.stalls) {
        let headers = PyDict::new(py);
        if let Some(known) = get(&request, "trace_headers") {
            headers.call_method1("update", (known,))?;
        }
        headers.set_item(KEY, stalls)?;
        request.setattr("trace_headers", headers)?;
    }
    Ok(None)
}

/// Takes what workers have sent, and what peer engines have compiled. Returns what those compile now.
fn hear() -> Vec<Wait> {
    if !has_workers() {
        mailbox::receive().into_iter().for_each(heard);
    }
    let peers = crate::monitor().map(|monitor| monitor.board().peers()).unwrap_or_default();
    if peers.is_empty() {
        return Vec::new();
    }
    with(|known| {
        let own: Vec<_> =
            known.recent.iter().flat_map(|sent| &sent.stalls).map(|stall| (stall.started, stall.ended())).collect();
        let (ended, going_on) = known.told.waits(&peers, &own);
        for (peer, waited) in &ended {
            known.alive.iter_mut().for_each(|(id, alive)| alive.hold(id, peer, waited));
        }
        going_on
    })
}

/// A step has ended that stalled.
pub fn heard(sent: Sent) {
    with(|known| {
        let running: HashSet<&str> = sent.requests.iter().map(String::as_str).collect();
        let of = |id: &str| known.alive.get(id).and_then(|alive| alive.scheduled);
        let newest = sent.requests.iter().filter_map(|id| of(id)).max();
        for (id, alive) in &mut known.alive {
            if running.contains(id.as_str()) {
                alive.stalls.extend(sent.stalls.iter().take(STALLS_KEPT.saturating_sub(alive.stalls.len())).cloned());
            } else {
                alive.wait(id, &sent, newest);
            }
        }
        known.recent.push_back(sent);
        if known.recent.len() > RECENT_KEPT {
            known.recent.pop_front();
        }
    });
}

impl Alive {
    /// What it waited in the queue because of a step that it was not in. `newest`: when the last of the step's own
    /// requests was put into a step for the first time.
    fn wait(&mut self, id: &str, sent: &Sent, newest: Option<UnixNanos>) {
        for stall in sent.stalls.iter().filter(|stall| stall.counts) {
            let waited = self.arrived.max(stall.started)..stall.ended();
            if waited.is_empty() || !self.is_behind(stall, sent, newest) {
                continue;
            }
            let waited = Interval { started: waited.start, ended: waited.end };
            if self.stalls.len() < STALLS_KEPT {
                self.stalls.push(Arc::new(stall.waited_for(waited)));
            }
            if let Some(parent) = &self.parent {
                let queued =
                    self.queued.get_or_insert_with(|| Queued::new(id, parent.clone(), (State::Queued, waited.started)));
                queued.add(stall, waited);
            }
        }
        if self.scheduled.is_some() {
            self.leave_queue();
        }
    }

    /// Whether it can only have run after the stall.
    fn is_behind(&self, stall: &Stall, sent: &Sent, newest: Option<UnixNanos>) -> bool {
        match self.scheduled {
            None => true,
            Some(scheduled) if scheduled >= stall.started => true,
            // Asynchronous scheduling: the step after this one was made before this one stalled. With a pipeline, other
            // stages may have been running it.
            Some(scheduled) => sent.stages <= 1 && newest.is_some_and(|newest| scheduled > newest),
        }
    }

    /// Its engine waited for a peer, at these times.
    fn hold(&mut self, id: &str, peer: &Peer, waited: &[Span]) {
        let since = waited.iter().map(|(from, to)| ((*from).max(self.arrived), *to));
        let waited: Vec<Span> = since.filter(|(from, to)| from < to).collect();
        if waited.is_empty() {
            return;
        }
        let stall = Stall::of_peer(peer, &waited);
        let whole = Interval { started: stall.started, ended: stall.ended() };
        if let (Some(parent), Some(monitor)) = (&self.parent, crate::monitor()) {
            let mut held = Queued::new(id, parent.clone(), (State::Held, whole.started));
            held.add(&stall, whole);
            held.send(monitor);
        }
        if self.stalls.len() < STALLS_KEPT {
            self.stalls.push(Arc::new(stall));
        }
    }

    fn leave_queue(&mut self) {
        if let (Some(queued), Some(monitor)) = (self.queued.take(), crate::monitor()) {
            queued.send(monitor);
        }
    }
}
