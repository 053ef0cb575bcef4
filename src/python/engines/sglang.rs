//! SGLang. Its scheduler process is also the one that launches kernels, and it has each running request with its trace
//! context, whose spans are open: so the events go on SGLang's own spans too, by its own `trace_event`.
//!
//! Hooks go through SGLang's `HookRegistry`. It imports its targets, so they are registered only where the scheduler is
//! loaded anyway: not in the detokenizer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::SpanContext;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

use super::Watched::Wrapped;
use super::{Engine, Point, Reached, State};
use crate::config::{Mode, Settings, environment};
use crate::model::attribute::Attributes;
use crate::model::event::CompileEvent;
use crate::propagation::traceparent;
use crate::python::arming;
use crate::python::host::boundary::OrNone;
use crate::python::host::bounded::each;
use crate::python::host::convert::{get, get_text, mapping};
use crate::python::host::guard::guard;
use crate::python::host::report;
use crate::python::live::identity;
use crate::python::patch::late;
use crate::python::patch::{After, Call, Wrapper};
use crate::python::replay;
use crate::python::scope::{Scope, Step, request_of};
use crate::scope::{Request, Scope as Core};
use crate::semconv::engine as key;

const SCHEDULER: &str = "sglang.srt.managers.scheduler";

/// SGLang's points.
pub static ENGINE: Engine = Engine::new("sglang", ("0.5.12", "0.5.23"), "0.5.23", &POINTS, note);

static POINTS: [Point; 3] = [
    Point::new(
        "sglang.arm",
        "jitspan is armed by jitspan.activate() only",
        &[(SCHEDULER, "Scheduler.run_event_loop")],
        Reached::Object,
        Wrapped(serving_starts),
    ),
    Point::new(
        "sglang.run_batch",
        "no compile is put on a request's trace",
        &[(SCHEDULER, "Scheduler.run_batch")],
        Reached::Object,
        Wrapped(run_batch),
    ),
    Point::new(
        "sglang.sample",
        "a compile in sampling that waits for a grammar is not put on a request's trace",
        &[(SCHEDULER, "Scheduler.launch_batch_sample_if_needed")],
        Reached::Object,
        Wrapped(sample),
    ),
];

/// Whether SGLang reads no trace context.
static BLIND: AtomicBool = AtomicBool::new(false);

fn note() -> Option<String> {
    BLIND.load(Ordering::Relaxed).then(|| {
        "SGLang runs without --enable-trace, and so reads no traceparent: a request's compiles are on a trace of their own"
            .to_owned()
    })
}

/// Called in every process of SGLang, before it serves.
pub fn register(py: Python<'_>) {
    static ONCE: AtomicBool = AtomicBool::new(false);
    if late::imported(py, SCHEDULER).is_none() {
        return;
    }
    if ONCE.swap(true, Ordering::Relaxed) || !super::switched_on(py, ENGINE.name) {
        return;
    }
    guard(py, ENGINE.name, || hook(py));
}

fn hook(py: Python<'_>) -> PyResult<()> {
    let plugins = py.import("sglang.srt.plugins.hook_registry")?;
    let (registry, around) = (plugins.getattr("HookRegistry")?, plugins.getattr("HookType")?.getattr("AROUND")?);
    for point in ENGINE.points {
        for (module, path) in point.places {
            let place = format!("{module}.{path}");
            let owner = path.split('.').try_fold(py.import(*module)?.into_any(), |owner, name| owner.getattr(name));
            if owner.is_err() {
                point.set(py, State::Missing(place));
                continue;
            }
            let Wrapped(watch) = point.watched else { continue };
            // What the registry calls in the place of the function: `hook(original, *args, **kwargs)`.
            let hook = Wrapper::around_given(py, point.name, watch)?;
            registry.call_method1("register", (&place, hook, &around))?;
            point.set(py, State::Stands(place));
        }
    }
    Ok(())
}

/// `Scheduler.run_event_loop()`: graphs are captured and kernels warm, and it never returns. SGLang arms its own watch
/// of late kernels here, and has one switch for an error mode.
fn serving_starts(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let settings =
        Settings { mode: if environment::sglang_crashes() { Mode::Error } else { Mode::Warn }, verbose: false };
    replay::before_requests(py, move |py| {
        if let Err(error) = arming::arm(py, &settings) {
            report::log(py, "error", &format!("not armed: {error}"));
        }
    })?;
    let scheduler = call.arg(0);
    scheduler.iter().for_each(describe);
    let said = scheduler.and_then(|scheduler| get(&get(&scheduler, "server_args")?, "enable_trace"));
    if said.is_some_and(|traces| !traces.is_truthy().or_none().unwrap_or(true)) {
        BLIND.store(true, Ordering::Relaxed);
        report::log(py, "warning", &note().unwrap_or_default());
    }
    Ok(None)
}

/// Says on the board what this process is.
fn describe(scheduler: &Bound<'_, PyAny>) {
    let arguments = get(scheduler, "server_args");
    let port = arguments.as_ref().and_then(|arguments| get(arguments, "port")?.extract::<i64>().or_none());
    let data_parallel_rank = get(scheduler, "dp_rank").and_then(|rank| rank.extract().or_none());
    let rank = rank(scheduler);
    if let Some(monitor) = crate::monitor() {
        monitor.board().describe(|who| {
            who.engine = Some(ENGINE.name.to_owned());
            who.rank = rank.or(who.rank);
            who.data_parallel_rank = data_parallel_rank.or(who.data_parallel_rank);
            who.server = port.map(|port| port.to_string()).or(who.server.take());
        });
    }
}

/// `Scheduler.run_batch(batch, ...)`: a step, with all that it launches.
fn run_batch(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let batch = call.arg(1).or_else(|| call.keyword("batch"));
    batch.map_or(Ok(None), |batch| step(py, call, &batch))
}

/// `Scheduler.launch_batch_sample_if_needed(batch_result, cur_batch)`: the second half of a step whose requests are bound
/// to a grammar. Up to 0.5.15 the batch is in `scheduler.cur_batch`.
fn sample(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let result = call.arg(1).or_else(|| call.keyword("batch_result"));
    if result.and_then(|result| get(&result, "delay_sample_func")).is_none() {
        return Ok(None);
    }
    let batch = call.arg(2).or_else(|| call.keyword("cur_batch"));
    let batch = batch.or_else(|| get(&call.arg(0)?, "cur_batch"));
    batch.map_or(Ok(None), |batch| step(py, call, &batch))
}

/// A scope for the requests of `batch` while the call runs.
fn step(py: Python<'_>, call: &Call<'_, '_>, batch: &Bound<'_, PyAny>) -> PyResult<Option<After>> {
    let Some(requests) = get(batch, "reqs").filter(|requests| requests.len().or_none().unwrap_or(0) > 0) else {
        return Ok(None);
    };
    let rank = call.arg(0).and_then(|scheduler| rank(&scheduler));
    let scope = Scope::step(py, key::SGLANG_FORWARD, Batch { requests: requests.clone().unbind(), rank })?;
    let requests = requests.unbind();
    Ok(Some(Box::new(move |py, outcome| {
        let scope = scope.bind(py);
        Scope::suspend(scope);
        if let Some(core) = scope.get().made() {
            guard(py, "sglang.identity", || remember(requests.bind(py), &core));
            let failed = outcome.err().map(|error| error.to_string());
            guard(py, "sglang.trace_event", || tell(requests.bind(py), &core, failed.as_deref()));
        }
        Scope::exit(scope);
        Ok(None)
    })))
}

/// 0.5.12 has it in `scheduler.tp_rank`, 0.5.23 in its `runtime_context`.
fn rank(scheduler: &Bound<'_, PyAny>) -> Option<i64> {
    let own = get(scheduler, "tp_rank").or_else(|| {
        let context = late::imported(scheduler.py(), "sglang.srt.runtime_context")?;
        get(&get(&context, "get_parallel")?.call0().or_none()?, "tp_rank")
    });
    own?.extract().or_none()
}

/// Requests of a batch that are looked at.
const BATCH: usize = 16_384;

struct Batch {
    requests: Py<PyAny>,
    rank: Option<i64>,
}

impl Step for Batch {
    fn waiting(&self, py: Python<'_>) -> (Attributes, Vec<Request>) {
        let mut attributes = Attributes::new();
        if let Some(rank) = self.rank {
            attributes.int(key::RANK, rank);
        }
        let requests = each(self.requests.bind(py), BATCH).map(|request| {
            let mut attributes = Attributes::new();
            if let Some(id) = get_text(&request, "rid") {
                attributes.text(key::REQUEST_ID, id);
            }
            let parent = trace_context(&request).and_then(|context| parent(&context));
            let parent = parent.or_else(|| crate::parse_traceparent(&get_text(&request, FIRST)?, None).ok());
            Request { parent, attributes }
        });
        (attributes, requests.collect())
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.requests)
    }
}

/// On a request without a trace context: the span of its first step that stalled. The later ones are children of it, so
/// that one request is in one trace.
const FIRST: &str = "jitspan_first";

fn remember(requests: &Bound<'_, PyAny>, core: &Core) -> PyResult<()> {
    for (request, identity) in requests.try_iter()?.zip(core.identities()) {
        let request = request?;
        if trace_context(&request).is_none() && !request.hasattr(FIRST)? {
            request.setattr(FIRST, traceparent(&identity))?;
        }
    }
    Ok(())
}

/// The request's `TraceReqContext`, if SGLang traces.
fn trace_context<'py>(request: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let context = get(&get(request, "time_stats")?, "trace_ctx")?;
    get(&context, "tracing_enable").is_some_and(|on| on.is_truthy().or_none().unwrap_or(false)).then_some(context)
}

/// The innermost of SGLang's spans for the request that is open in this process; else its root span, which another
/// process has.
fn parent(context: &Bound<'_, PyAny>) -> Option<SpanContext> {
    let thread = get(context, "thread_context");
    let slice = thread.as_ref().and_then(|thread| get(thread, "cur_slice_stack")?.get_item(-1).or_none());
    let live = slice.and_then(|slice| get(&slice, "span"));
    let live = live.or_else(|| get(thread.as_ref()?, "thread_span"));
    if let Some(span) = live.and_then(|span| identity::context(&span)) {
        return Some(span);
    }
    let root = get(context, "root_span_context");
    let root = root.and_then(|root| {
        let trace = root.py().import("opentelemetry.trace").or_none()?;
        identity::context(&trace.call_method1("get_current_span", (root,)).or_none()?)
    });
    root.or_else(|| request_of(Some(&get(context, "_root_span_carrier")?), Attributes::new()).parent)
}

/// Puts the stalls on SGLang's own spans, too: events on the slice that is open, the summary on the process's span.
fn tell(requests: &Bound<'_, PyAny>, core: &Core, failed: Option<&str>) -> PyResult<()> {
    let py = requests.py();
    let stalls: Vec<Arc<CompileEvent>> = core.stalls();
    for request in requests.try_iter()? {
        let Some(context) = trace_context(&request?) else { continue };
        for event in &stalls {
            let attributes = mapping(py, &event.attributes())?;
            context.call_method1("trace_event", (event.kind.event_name(), 1, event.began(), attributes))?;
        }
        context.call_method1("trace_set_thread_attrs", (mapping(py, &core.summary().0)?,))?;
        if let Some(failed) = failed {
            let reason = PyDict::new(py);
            reason.set_item("reason", failed)?;
            context.call_method1("abort", (py.None(), reason))?;
        }
    }
    Ok(())
}
