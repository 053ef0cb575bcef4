//! The trace contexts of requests, in the process of a worker: from the step in which a request is new until it is
//! finished.
//!
//! A context comes as an attribute of the `NewRequestData`, which vLLM pickles whole; reading it is told of by the
//! class's own `__setstate__`, which is there in our processes only. What frees a context comes the same way, with the
//! next request that is new: so nothing runs in a step that has none.

use std::collections::HashMap;

use opentelemetry::trace::SpanContext;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use super::mailbox;
use super::stalls::KEY;
use crate::config::environment;
use crate::model::attribute::Attributes;
use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text, item};
use crate::python::host::guard::guard;
use crate::python::scope::request_of;

static CONTEXTS: Mutex<Option<HashMap<String, SpanContext>>> = Mutex::new(None);

/// Contexts kept; only a scheduler that never says what is finished could reach it.
const KEPT: usize = 1 << 16;

/// Keys of the attribute, beside those of the trace headers: requests that are finished, and where the engine core hears
/// of stalls.
pub const FINISHED: &str = "finished";
/// See [`FINISHED`].
pub const MAILBOX: &str = "mailbox";

/// How many are kept.
pub fn kept() -> usize {
    CONTEXTS.lock().as_ref().map_or(0, HashMap::len)
}

/// Of each request, the context that it came with.
pub fn of<'a>(requests: impl Iterator<Item = &'a str>) -> Vec<Option<SpanContext>> {
    let contexts = CONTEXTS.lock();
    requests.map(|request| contexts.as_ref()?.get(request).cloned()).collect()
}

/// `NewRequestData`: its objects say when they have been unpickled. False: a release whose objects are made otherwise.
pub fn watch_unpickling(module: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = module.py();
    let Some(class) = get(module, "NewRequestData") else { return Ok(false) };
    // What pickle does without a `__setstate__`, and only where it would do that.
    let plain = py.import("builtins")?.getattr("object")?;
    let is_plain = |name: &str| {
        class.getattr(name).or_none().is_some_and(|own| plain.getattr(name).or_none().is_some_and(|of| of.is(&own)))
    };
    if class.hasattr("__setstate__")? || class.hasattr("__slots__")? || !is_plain("__reduce__") {
        return Ok(class
            .getattr("__setstate__")
            .or_none()
            .is_some_and(|ours| ours.hasattr(KEY).or_none().unwrap_or(false)));
    }
    let came = PyCFunction::new_closure(py, None, None, |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        let py = args.py();
        guard(py, "vllm.context", || args.get_item(0).and_then(|request| came(&request)));
    })?;
    let names = PyDict::new(py);
    // Python, because a function of C does not become a method.
    py.run(
        c"
def make(came):
    def __setstate__(self, state):
        self.__dict__.update(state)
        came(self)
    __setstate__.jitspan = True
    return __setstate__
",
        Some(&names),
        None,
    )?;
    let setstate = names.get_item("make")?.map(|make| make.call1((came,))).transpose()?;
    class.setattr("__setstate__", setstate)?;
    Ok(true)
}

/// A request is new in this process.
pub fn came(request: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(said) = request.getattr_opt(KEY)? else { return Ok(()) };
    let finished: Vec<String> = item(&said, FINISHED).and_then(|ids| ids.extract().or_none()).unwrap_or_default();
    forget(&finished);
    if let Some(address) = item(&said, MAILBOX).and_then(|address| address.extract::<String>().ok()) {
        mailbox::remember(&address);
    }
    let parent = request_of(Some(&said), Attributes::new()).parent;
    if let (Some(parent), Some(id)) = (parent, get_text(request, "req_id")) {
        keep(id, parent);
    }
    Ok(())
}

fn keep(id: String, parent: SpanContext) {
    let mut contexts = CONTEXTS.lock();
    let contexts = contexts.get_or_insert_default();
    if contexts.len() < KEPT {
        contexts.insert(id, parent);
    }
}

/// These requests are finished.
pub fn forget(requests: &[String]) {
    if let Some(contexts) = &mut *CONTEXTS.lock() {
        requests.iter().for_each(|request| drop(contexts.remove(request)));
    }
}

/// The trace context of a request, as vLLM's `Request` has it. vLLM's front end in Rust hands none on, but two things that
/// a client or a gateway can put one into: `vllm_xargs` of the body, and the header `X-Request-Id`.
pub fn of_request(request: &Bound<'_, PyAny>, id: &str) -> Option<SpanContext> {
    let of = |carrier: Bound<'_, PyAny>| request_of(Some(&carrier), Attributes::new()).parent;
    let headers = get(request, "trace_headers").and_then(of);
    headers
        .or_else(|| get(&get(request, "sampling_params")?, "extra_args").and_then(of))
        .or_else(|| traceparent_in(external(id)).and_then(|text| crate::parse_traceparent(text, None).ok()))
}

/// `00-TRACE-SPAN-FLAGS` within a longer id.
fn traceparent_in(id: &str) -> Option<&str> {
    const LENGTH: usize = 55;
    let dashes = |text: &str| [2, 35, 52].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    let starts = id.match_indices("00-").map(|(at, _)| at);
    starts.filter_map(|at| id.get(at..at + LENGTH)).find(|text| dashes(text))
}

/// What the front end got: it makes `3_ID` of it for the fourth of several choices.
pub fn as_sent(id: &str) -> &str {
    match id.split_once('_') {
        Some((number, sent)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => sent,
        _ => id,
    }
}

/// vLLM adds eight random characters to the id that the caller knows, unless it is told not to.
pub fn external(id: &str) -> &str {
    if !environment::vllm_randomizes_ids() {
        return id;
    }
    match id.rsplit_once('-') {
        Some((external, random)) if random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            external
        }
        _ => id,
    }
}
