//! The outermost open span of this process around one of opentelemetry-python's: the server's, which people search for.
//!
//! A span knows its parent's ids only, and the SDK keeps no list of open spans. To keep one ourselves would cost every
//! span that the program starts, so we look for the parents when something compiles, among the objects of Python's
//! garbage collector, once for each span on which something compiles and which has a parent in this process.
//!
//! `gc.get_objects` holds the interpreter until its list is made: 40 to 350 ns for each object (CPython 3.11; a heap that
//! lies in order, and one that does not), 23 ms in a process with torch. So it is asked only for what can be told to be
//! small beforehand. The young objects are: a request's spans are among them until some 7,000 more have been made that
//! stay. The old ones are so only in a small process.
//!
//! Looked at and left: the locals of the frames around us (up to CPython 3.12 to read them keeps their values, tensors
//! too, alive until the frame ends), `gc.get_referrers` (slower, and for all generations), `contextvars` (hold the
//! current span only; the ones before it are in tokens that nothing leads to).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyList, PyWeakrefMethods, PyWeakrefReference};

use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get;
use crate::python::live::identity::is_recording;

/// Trace id and span id.
type Ids = (u128, u64);

/// Roots that were found, so that the next compile on the same span need not look.
static FOUND: Mutex<VecDeque<(Ids, Option<Py<PyWeakrefReference>>)>> = Mutex::new(VecDeque::new());
const FOUND_KEPT: usize = 64;

/// Where a large program has its millions of objects, and seldom a request's spans.
const OLDEST: u8 = 2;
/// How long the interpreter may be held for one list, ns: what we do must not be a stall of its own.
const HELD: u64 = 15_000_000;
/// What an object takes, ns, until we have measured it, and at least.
const COST: u64 = 80;
/// The same as measured, by lists of more objects than this.
static MEASURED: AtomicU64 = AtomicU64::new(0);
const MEASURED_BY: usize = 10_000;

/// The local root around `span`. None: it is one itself, or its parents are gone.
pub fn find<'py>(span: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = span.py();
    let Some(parent) = local_parent(span) else { return Ok(None) };
    let Some(own) = get(span, "context").as_ref().and_then(ids) else { return Ok(None) };
    let known = FOUND
        .lock()
        .iter()
        .find(|(known, _)| *known == own)
        .map(|(_, root)| root.as_ref().map(|root| root.clone_ref(py)));
    if let Some(root) = known {
        return Ok(root.and_then(|root| root.bind(py).upgrade()).filter(is_recording));
    }
    let root = search(span, parent)?;
    let weak = root.as_ref().map(PyWeakrefReference::new).transpose()?;
    let mut found = FOUND.lock();
    let old = if found.len() >= FOUND_KEPT { found.pop_front() } else { None };
    found.push_back((own, weak.map(Bound::unbind)));
    drop(found);
    // Dropping a Python object may run Python: not under our lock.
    drop(old);
    Ok(root)
}

/// Young objects first: a request's spans are young, and then the search is short.
fn search<'py>(span: &Bound<'py, PyAny>, mut parent: Ids) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = span.py();
    let class = span.get_type();
    let garbage_collector = py.import("gc")?;
    let mut open: HashMap<Ids, Bound<'py, PyAny>> = HashMap::new();
    let mut root = None;
    for generation in 0..=OLDEST {
        let cost = COST.max(MEASURED.load(Ordering::Relaxed));
        if objects_in(&garbage_collector, generation)?.saturating_mul(cost) > HELD {
            continue;
        }
        let began = own_time(py)?;
        let objects = garbage_collector.call_method1("get_objects", (generation,))?.cast_into::<PyList>()?;
        if objects.len() > MEASURED_BY {
            let took = own_time(py)?.saturating_sub(began);
            MEASURED.store(took / objects.len() as u64, Ordering::Relaxed);
        }
        // The list holds objects that are not finished yet, which only their own code may touch. We look at nothing
        // but the type of what is no span.
        for object in objects.iter().filter(|object| object.get_type_ptr() == class.as_type_ptr()) {
            if let Some(own) = get(&object, "context").as_ref().and_then(ids).filter(|own| own.0 == parent.0) {
                open.insert(own, object);
            }
        }
        while let Some(found) = open.remove(&parent) {
            let next = local_parent(&found);
            if is_recording(&found) {
                root = Some(found);
            }
            match next {
                Some(next) => parent = next,
                None => return Ok(root),
            }
        }
    }
    Ok(root)
}

/// About how many objects a generation has. Nothing says it; what is known at no cost is more.
fn objects_in(garbage_collector: &Bound<'_, PyModule>, generation: u8) -> PyResult<u64> {
    if generation == OLDEST {
        // Blocks of memory: 2 to 4 for each object (3.11, with and without torch).
        let blocks = garbage_collector.py().import("sys")?.call_method0("getallocatedblocks")?.extract::<u64>()?;
        return Ok(blocks / 5 * 2);
    }
    // A program may have switched collecting off, and then all are young.
    let (made, collections, _) = garbage_collector.call_method0("get_count")?.extract::<(u64, u64, u64)>()?;
    let (threshold, ..) = garbage_collector.call_method0("get_threshold")?.extract::<(u64, u64, u64)>()?;
    Ok(if generation == 0 { made } else { collections.saturating_mul(threshold) })
}

/// CPU time of this thread, ns: on a machine that is busy with something else, the search is not what takes long.
fn own_time(py: Python<'_>) -> PyResult<u64> {
    py.import("time")?.call_method0("thread_time_ns")?.extract()
}

/// The parent of a span, if it is of this process.
fn local_parent(span: &Bound<'_, PyAny>) -> Option<Ids> {
    let parent = get(span, "parent")?;
    let remote = get(&parent, "is_remote").is_none_or(|remote| remote.is_truthy().or_none().unwrap_or(true));
    if remote { None } else { ids(&parent) }
}

fn ids(context: &Bound<'_, PyAny>) -> Option<Ids> {
    Some((get(context, "trace_id")?.extract().or_none()?, get(context, "span_id")?.extract().or_none()?))
}
