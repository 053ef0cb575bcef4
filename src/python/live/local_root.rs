//! The outermost open span of this process around one of opentelemetry-python's: the server's, which people search for.
//!
//! A span knows its parent's ids only, and the SDK keeps no list of open spans. To keep one ourselves would cost every
//! span that the program starts, so we look for the parents when something compiles, among the objects of Python's
//! garbage collector: about 50 ms for a million objects, once for each span on which something compiles and which
//! has a parent in this process. A program in which that takes too long is spared it: then only
//! young spans are found. `gc.freeze()`, which servers call after start-up, takes objects out of the search.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyWeakrefMethods, PyWeakrefReference};

use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get;
use crate::python::live::otel_span::is_recording;

/// Trace id and span id.
type Ids = (u128, u64);

/// Roots that were found, so that the next compile on the same span need not look.
static FOUND: Mutex<VecDeque<(Ids, Option<Py<PyWeakrefReference>>)>> = Mutex::new(VecDeque::new());
const FOUND_KEPT: usize = 64;

/// The old objects are where a large program has its millions, and a request's spans seldom are.
const OLDEST: u8 = 2;
/// A search among them that took longer was the last one: what we do must not be a stall of its own.
/// A debug build takes ten times as long for each object: 40 ms for 110,000.
const LONGEST_FULL_SEARCH: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });
/// How long the last one took, in microseconds.
static FULL_SEARCH: AtomicU64 = AtomicU64::new(0);

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
    for generation in 0..3 {
        if generation == OLDEST && FULL_SEARCH.load(Ordering::Relaxed) > LONGEST_FULL_SEARCH.as_micros() as u64 {
            break;
        }
        let began = own_time(py)?;
        let objects = garbage_collector.call_method1("get_objects", (generation,))?;
        // The list holds objects that are not finished yet, which only their own code may touch. We look at nothing
        // but the type of what is no span.
        for object in objects.cast::<PyList>()?.iter().filter(|object| object.get_type_ptr() == class.as_type_ptr()) {
            if let Some(own) = get(&object, "context").as_ref().and_then(ids).filter(|own| own.0 == parent.0) {
                open.insert(own, object);
            }
        }
        if generation == OLDEST {
            let took = Duration::from_nanos(own_time(py)?.saturating_sub(began));
            FULL_SEARCH.store(took.as_micros() as u64, Ordering::Relaxed);
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
    Some((get(context, "trace_id")?.extract().ok()?, get(context, "span_id")?.extract().ok()?))
}
