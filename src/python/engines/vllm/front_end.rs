//! The front end: a request comes in with or without a trace context, and vLLM makes its span when it is finished.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::group;
use super::remember_endpoint;
use super::stalls::{GIVEN, KEY, Waited};
use crate::model::attribute::Attributes;
use crate::model::span::{Span, Status};
use crate::propagation::{TRACEPARENT, TRACESTATE, traceparent};
use crate::python::arming;
use crate::python::environment;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text, mapping};
use crate::python::host::guard::guard;
use crate::python::host::prepared::Prepared;
use crate::python::patch::{After, Call, Outcome, Patches};
use crate::python::scope::request_of;
use crate::semconv::engine as name;

/// The parameter, and the attribute, in which vLLM hands them on.
const TRACE_HEADERS: &str = "trace_headers";

/// The trace headers of the HTTP request that this task serves.
static CAME: Variable = Variable::new("jitspan_vllm_headers_came");
/// Those of the request that is being added in this task.
static ADDED: Variable = Variable::new("jitspan_vllm_headers_added");

/// A `contextvars.ContextVar`, None by default.
struct Variable {
    name: &'static str,
    made: Prepared<Py<PyAny>>,
}

impl Variable {
    const fn new(name: &'static str) -> Self {
        Variable { name, made: Prepared::new() }
    }

    fn prepare(&'static self, py: Python<'_>) -> PyResult<()> {
        let default = PyDict::new(py);
        default.set_item("default", py.None())?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        self.made.set(py, class.call((self.name,), Some(&default))?.unbind());
        Ok(())
    }

    fn of<'py>(&'py self, py: Python<'py>) -> PyResult<&'py Bound<'py, PyAny>> {
        Ok(self.made.get(py)?.bind(py))
    }

    fn get<'py>(&'static self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.of(py)?.call_method0("get")
    }

    fn set(&'static self, value: Bound<'_, PyAny>) -> PyResult<()> {
        self.of(value.py())?.call_method1("set", (value,)).map(drop)
    }
}

thread_local! {
    /// What the request whose span is being made waited for.
    static WAITED: RefCell<Option<Waited>> = const { RefCell::new(None) };
}

/// Makes the variables. Called in each process of vLLM, before it serves.
pub fn prepare(py: Python<'_>) -> PyResult<()> {
    CAME.prepare(py)?;
    ADDED.prepare(py)
}

/// `_get_trace_headers(headers)`: where vLLM's own tracing is off it drops them, some releases here and some later.
pub fn headers_came(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(headers) = call.arg(1).or_else(|| call.keyword("headers")) else { return Ok(None) };
    let of = |name: &str| headers.call_method1("get", (name,)).or_none().filter(|value| !value.is_none());
    let found = match of(TRACEPARENT) {
        None => py.None().into_bound(py),
        Some(parent) => {
            let found = PyDict::new(py);
            found.set_item(TRACEPARENT, parent)?;
            if let Some(state) = of(TRACESTATE) {
                found.set_item(TRACESTATE, state)?;
            }
            found.into_any()
        }
    };
    CAME.set(found)?;
    Ok(None)
}

/// `AsyncLLM.generate(..., trace_headers=None, ...)` and `.encode`: called where the headers came. What they return runs
/// elsewhere when the answer is streamed: not in the task that the handler had, and so not with its context variables.
pub fn served(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(keywords) = call.kwargs else { return Ok(None) };
    if call.keyword(TRACE_HEADERS).is_none_or(|headers| headers.is_none()) {
        let came = CAME.get(py)?;
        if !came.is_none() {
            // Ours to change: a call's keywords are in a dictionary of its own.
            keywords.set_item(TRACE_HEADERS, came)?;
        }
    }
    Ok(None)
}

/// `AsyncLLM.add_request(..., trace_headers=None, ...)`: newer releases drop them here, where their tracing is off. What
/// it returns is awaited where it was called.
pub fn added(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let headers = call.keyword(TRACE_HEADERS).or_else(|| call.arg(7));
    ADDED.set(headers.unwrap_or_else(|| py.None().into_bound(py)))?;
    Ok(None)
}

/// `InputProcessor.assign_request_id(request)`: the request is complete, and is sent next.
pub fn request_made(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(request) = call.args.iter().last().or_else(|| call.keyword("request")) else { return Ok(None) };
    let known =
        get(&request, "trace_headers").filter(|headers| headers.contains(TRACEPARENT).or_none().unwrap_or(false));
    let is_known = known.is_some();
    let came = match known {
        Some(known) => known,
        None => ADDED.get(py)?,
    };
    // One that cannot be read is none: vLLM's span and ours would become roots of two traces.
    if !came.is_none() && request_of(Some(&came), Attributes::new()).parent.is_some() {
        if !is_known {
            request.setattr(TRACE_HEADERS, came)?;
        }
    } else if gives_contexts() && environment::endpoint().is_some() {
        let headers = PyDict::new(py);
        headers.set_item(TRACEPARENT, new_parent())?;
        headers.set_item(GIVEN, "1")?;
        request.setattr("trace_headers", headers)?;
    }
    Ok(None)
}

/// `JITSPAN_VLLM_TRACEPARENT=0` switches it off.
fn gives_contexts() -> bool {
    crate::monitor().is_none_or(|monitor| monitor.config().vllm_traceparent)
}

/// A trace context of its own for a request. Sampled or not as a root span of ours, and of vLLM's, would be.
fn new_parent() -> String {
    let context = crate::monitor().map(|monitor| monitor.new_context());
    traceparent(&context.unwrap_or(SpanContext::NONE))
}

/// `OutputProcessor.do_tracing(engine_core_output, req_state, iteration_stats)`: makes the request's span. What it
/// waited for is taken off the output, and so is a context of ours that led to nothing.
pub fn request_finished(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(output) = call.arg(1).or_else(|| call.keyword("engine_core_output")) else { return Ok(None) };
    let Some(headers) = get(&output, "trace_headers") else { return Ok(None) };
    let given = headers.contains(GIVEN)?;
    if !given && !headers.contains(KEY)? {
        return Ok(None);
    }
    let headers = headers.call_method0("copy")?.cast_into::<PyDict>()?;
    let take = |key: &str| headers.call_method1("pop", (key, headers.py().None())).or_none()?.extract::<String>().ok();
    let waited = take(KEY).and_then(|text| Waited::read(&text));
    take(GIVEN);
    if (given && waited.is_none()) || headers.is_empty() {
        // vLLM's span is then a root span, as it would be without us.
        output.setattr("trace_headers", output.py().None())?;
    } else {
        output.setattr("trace_headers", &headers)?;
    }
    let Some(waited) = waited else { return Ok(None) };
    let root = if given { root_span(call, &headers, &waited) } else { None };
    WAITED.set(Some(waited));
    Ok(Some(Box::new(move |_py, _outcome| {
        WAITED.set(None);
        if let (Some(root), Some(monitor)) = (root, crate::monitor()) {
            monitor.send(root);
        }
        Ok(None)
    })))
}

/// The span that a context of ours names: the parent of `llm_request` and of our spans, so that the trace has a root.
fn root_span(call: &Call<'_, '_>, headers: &Bound<'_, PyDict>, waited: &Waited) -> Option<Span> {
    let parent = request_of(Some(headers.as_any()), Attributes::new()).parent?;
    let context = SpanContext::new(
        parent.trace_id(),
        parent.span_id(),
        parent.trace_flags() & TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    if !context.is_sampled() {
        return None;
    }
    let state = call.arg(2).or_else(|| call.keyword("req_state"))?;
    let arrival = get(&get(&state, "stats")?, "arrival_time")?.extract::<f64>().or_none()?;
    let mut attributes = waited.attributes.clone();
    if let Some(id) = get_text(&state, "external_req_id") {
        attributes.text(name::REQUEST_ID, id);
    }
    let ended = crate::monitor()?.now();
    Some(Span {
        context,
        parent: None,
        name: name::VLLM_REQUEST.into(),
        started: ((arrival * 1e9) as u64).min(ended),
        ended,
        attributes,
        events: Arc::default(),
        dropped_events: 0,
        status: Status::Unset,
    })
}

/// `instrument_manual(span_name, ..., attributes, ...)`, as `do_tracing` calls it: adds what the request waited for.
pub fn span_made(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(waited) = WAITED.take() else { return Ok(None) };
    let span = call.keyword("span_name").or_else(|| call.arg(0));
    if span.and_then(|span| span.extract::<String>().ok()).as_deref() != Some(name::LLM_REQUEST) {
        return Ok(None);
    }
    let attributes = call.keyword("attributes").or_else(|| call.arg(3));
    if let Some(attributes) = attributes.and_then(|attributes| attributes.cast_into::<PyDict>().ok()) {
        attributes.update(mapping(py, &waited.attributes)?.as_mapping())?;
    }
    let watching = guard(py, "vllm.llm_request.events", || add_events(py, waited)).flatten();
    Ok(watching.map(|watching| -> After {
        Box::new(move |py, _outcome| {
            watching.restore(py);
            Ok(None)
        })
    }))
}

/// vLLM makes the span and ends it in one call. For that call alone we stand in front of its tracer's `start_span`.
fn add_events(py: Python<'_>, waited: Waited) -> PyResult<Option<Patches>> {
    let trace = py.import("opentelemetry.trace")?;
    let tracer = trace.call_method1("get_tracer", ("vllm.tracing.otel",))?;
    let thread = std::thread::current().id();
    let done = AtomicBool::new(false);
    let patches = Patches::new();
    let watch = move |_py: Python<'_>, _call: &Call<'_, '_>| -> PyResult<Option<After>> {
        if std::thread::current().id() != thread || done.swap(true, Ordering::Relaxed) {
            return Ok(None);
        }
        let events = waited.events.clone();
        Ok(Some(Box::new(move |py, outcome: Outcome<'_, '_>| {
            let Ok(span) = outcome else { return Ok(None) };
            for (name, time, attributes) in &events {
                span.call_method1("add_event", (name, mapping(py, attributes)?, time))?;
            }
            Ok(None)
        })))
    };
    let stands = patches.wrap(tracer.get_type().as_any(), "start_span", "vllm.start_span", watch)?;
    Ok(stands.then_some(patches))
}

/// `InputProcessor(vllm_config, ...)`: where vLLM's spans go is known, and ours go there, too.
pub fn configured(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let config = call.arg(1).or_else(|| call.keyword("vllm_config"));
    remember_endpoint(config.clone());
    arming::prepare_again();
    group::join(config.as_ref(), None);
    group::is_not_armed("the front end: nothing compiles in it");
    Ok(None)
}
