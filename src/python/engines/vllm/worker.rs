//! The worker: a scope for each step of the model runner, below every executor. Ray's compiled graph calls the runner
//! and not the worker, so it is the runner's methods that we stand in front of, on whatever class it has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::process::lock::Mutex;
use opentelemetry::trace::SpanContext;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyTraverseError, PyVisit};

use super::{ENGINE, remember_endpoint, stalls};
use crate::model::attribute::Attributes;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text};
use crate::python::host::guard::guard;
use crate::python::patch::{After, Call, Outcome};
use crate::python::surface::scope::{Scope, Step, request_of};
use crate::scope::Request;
use crate::semconv::engine as key;

/// Contexts of requests that came with one, from the step in which they were new until they are finished.
static CONTEXTS: Mutex<Option<HashMap<String, SpanContext>>> = Mutex::new(None);
/// Steps between `execute_model` and `sample_tokens`, by runner.
static HALFWAY: Mutex<Vec<(usize, Running)>> = Mutex::new(Vec::new());

/// A step that runs.
struct Running {
    scope: Py<Scope>,
    /// Its requests, each with its tokens.
    tokens: Py<PyDict>,
}

static RANK: AtomicI64 = AtomicI64::new(UNKNOWN);
static DATA_PARALLEL_RANK: AtomicI64 = AtomicI64::new(UNKNOWN);
/// Ranks of the worker's engine.
static RANKS: AtomicI64 = AtomicI64::new(UNKNOWN);
const UNKNOWN: i64 = -1;

/// Contexts kept; only a scheduler that never says what is finished could reach it.
const CONTEXTS_KEPT: usize = 1 << 16;

/// Whether other workers run the same steps.
pub fn has_other_ranks() -> bool {
    RANKS.load(Ordering::Relaxed) > 1
}

/// Contexts, and steps between their halves.
pub fn kept() -> (usize, usize) {
    (CONTEXTS.lock().as_ref().map_or(0, HashMap::len), HALFWAY.lock().len())
}

/// `WorkerWrapperBase.init_device` and `.initialize_from_config`: worker and runner are there, of whatever class.
pub fn made(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(wrapper) = call.arg(0).map(Bound::unbind) else { return Ok(None) };
    Ok(Some(Box::new(move |py, _outcome| {
        let Some(worker) = get(wrapper.bind(py), "worker") else { return Ok(None) };
        let config = get(&worker, "vllm_config");
        let parallel = config.as_ref().and_then(|config| get(config, "parallel_config"));
        remember_endpoint(config);
        remember_ranks(&worker, parallel.as_ref());
        stand(&worker, "vllm.warm_up", "compile_or_warm_up_model")?;
        if let Some(runner) = get(&worker, "model_runner") {
            stand(&runner, "vllm.execute_model", "execute_model")?;
            stand(&runner, "vllm.sample_tokens", "sample_tokens")?;
        }
        Ok(None)
    })))
}

fn stand(object: &Bound<'_, PyAny>, point: &str, method: &str) -> PyResult<()> {
    ENGINE.point(point).map_or(Ok(()), |point| point.stand_on_class(&ENGINE.patches, object, method))
}

fn remember_ranks(worker: &Bound<'_, PyAny>, parallel: Option<&Bound<'_, PyAny>>) {
    let number = |any: Option<Bound<'_, PyAny>>| any.and_then(|any| any.extract::<i64>().ok());
    if let Some(rank) = number(get(worker, "rank")) {
        RANK.store(rank, Ordering::Relaxed);
    }
    if let Some(ranks) = number(parallel.and_then(|parallel| get(parallel, "world_size"))) {
        RANKS.store(ranks, Ordering::Relaxed);
    }
    let engines = number(parallel.and_then(|parallel| get(parallel, "data_parallel_size")));
    if engines.is_some_and(|engines| engines > 1)
        && let Some(rank) = number(parallel.and_then(|parallel| get(parallel, "data_parallel_rank")))
    {
        DATA_PARALLEL_RANK.store(rank, Ordering::Relaxed);
    }
}

/// `model_runner.execute_model(scheduler_output, ..., dummy_run=False, ...)`.
pub fn execute_model(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(runner) = call.arg(0) else { return Ok(None) };
    let runner = runner.as_ptr() as usize;
    if let Some(left) = take_halfway(runner) {
        Scope::exit(left.scope.bind(py));
    }
    let Some(output) = call.arg(1).or_else(|| call.keyword("scheduler_output")) else { return Ok(None) };
    let dummy = call.keyword("dummy_run").or_else(|| call.arg(3));
    if dummy.is_some_and(|dummy| dummy.is_truthy().or_none().unwrap_or(false)) {
        return Ok(None);
    }
    remember_contexts(&output)?;
    let Some(tokens) = get(&output, "num_scheduled_tokens").and_then(|tokens| tokens.cast_into::<PyDict>().ok()) else {
        return Ok(None);
    };
    if tokens.is_empty() {
        return Ok(None);
    }
    let scope = Scope::step(py, key::VLLM_EXECUTE_MODEL, Scheduled(tokens.clone().unbind()))?;
    let step = Running { scope, tokens: tokens.unbind() };
    Ok(Some(Box::new(move |py, outcome| {
        Scope::suspend(step.scope.bind(py));
        // None: `sample_tokens` follows, and belongs to this step.
        if outcome.is_ok_and(|value| value.is_none()) {
            HALFWAY.lock().push((runner, step));
        } else {
            end(py, &step, outcome)?;
        }
        Ok(None)
    })))
}

/// `model_runner.sample_tokens(grammar_output)`: has no requests of its own, it is the second half of the last step.
pub fn sample_tokens(py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(runner) = call.arg(0) else { return Ok(None) };
    let Some(step) = take_halfway(runner.as_ptr() as usize) else { return Ok(None) };
    Scope::resume(step.scope.bind(py))?;
    Ok(Some(Box::new(move |py, outcome| {
        Scope::suspend(step.scope.bind(py));
        end(py, &step, outcome)?;
        Ok(None)
    })))
}

fn take_halfway(runner: usize) -> Option<Running> {
    let mut halfway = HALFWAY.lock();
    let at = halfway.iter().position(|(other, _)| *other == runner)?;
    Some(halfway.swap_remove(at).1)
}

fn end(py: Python<'_>, step: &Running, outcome: Outcome<'_, '_>) -> PyResult<()> {
    let stalled = step.scope.get().stalled();
    Scope::exit(step.scope.bind(py));
    let (Ok(output), Some(scope)) = (outcome, stalled) else { return Ok(()) };
    let requests: Vec<String> = step.tokens.bind(py).keys().extract()?;
    match stalls::of_step(&scope, &requests) {
        Some(stalls) => send(output, stalls),
        None => Ok(()),
    }
}

/// Puts what was waited for on the step's output, which travels to the scheduler.
fn send(output: &Bound<'_, PyAny>, stalls: String) -> PyResult<()> {
    if output.hasattr("get_output")? {
        return send_later(output, stalls);
    }
    // The last stage of a pipeline alone has an output; and one without requests is one object for all steps.
    let requests = get(output, "req_ids").and_then(|requests| requests.len().or_none());
    if requests.is_some_and(|requests| requests > 0) {
        output.setattr(stalls::KEY, stalls)?;
    }
    Ok(())
}

/// Asynchronous scheduling: the output itself is made by another thread, by this object.
fn send_later(output: &Bound<'_, PyAny>, stalls: String) -> PyResult<()> {
    let class = output.get_type();
    let watch = |_py: Python<'_>, call: &Call<'_, '_>| -> PyResult<Option<After>> {
        let Some(stalls) = call.arg(0).and_then(|output| get_text(&output, stalls::KEY)) else { return Ok(None) };
        Ok(Some(Box::new(move |_py, outcome: Outcome<'_, '_>| {
            if let Ok(output) = outcome {
                send(output, stalls)?;
            }
            Ok(None)
        })))
    };
    ENGINE.patches.wrap_weakly(class.as_any(), "get_output", "vllm.get_output", watch)?;
    output.setattr(stalls::KEY, stalls)
}

/// Keeps the contexts of the step's new requests, and forgets the finished ones.
fn remember_contexts(output: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = output.py();
    // Read first: reading what is foreign runs Python, and two runners may be at it.
    let read = guard(py, "vllm.contexts", || {
        let mut gone = Vec::new();
        if CONTEXTS.lock().as_ref().is_some_and(|known| !known.is_empty())
            && let Some(finished) = get(output, "finished_req_ids")
        {
            for request in finished.try_iter()? {
                gone.push(request?.extract::<String>()?);
            }
        }
        let mut came = Vec::new();
        let new = output.getattr_opt(stalls::KEY)?;
        if let Some(new) = new.and_then(|new| new.cast_into::<PyDict>().ok()) {
            for (request, headers) in new.iter() {
                if let Some(parent) = request_of(Some(&headers), Attributes::new()).parent {
                    came.push((request.extract::<String>()?, parent));
                }
            }
        }
        Ok((gone, came))
    });
    let Some((gone, came)) = read else { return Ok(()) };
    let mut known = CONTEXTS.lock();
    let known = known.get_or_insert_default();
    for request in gone {
        known.remove(&request);
    }
    for (request, parent) in came {
        if known.len() < CONTEXTS_KEPT {
            known.insert(request, parent);
        }
    }
    Ok(())
}

/// `num_scheduled_tokens` of a step: request ids and their tokens.
struct Scheduled(Py<PyDict>);

impl Step for Scheduled {
    fn waiting(&self, py: Python<'_>) -> (Attributes, Vec<Request>) {
        let mut attributes = Attributes::new();
        for (name, rank) in [(key::RANK, &RANK), (key::DATA_PARALLEL_RANK, &DATA_PARALLEL_RANK)] {
            let rank = rank.load(Ordering::Relaxed);
            if rank != UNKNOWN {
                attributes.int(name, rank);
            }
        }
        let requests = self.0.bind(py).iter().filter_map(|(request, tokens)| {
            let id = request.extract::<String>().ok()?;
            let parent = CONTEXTS.lock().as_ref().and_then(|contexts| contexts.get(&id).cloned());
            let mut attributes = Attributes::new();
            attributes.text(key::REQUEST_ID, external_id(&id));
            attributes.int(key::SCHEDULED_TOKENS, tokens.extract().unwrap_or(0));
            Some(Request { parent, attributes })
        });
        (attributes, requests.collect())
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.0)
    }
}

/// vLLM adds eight random characters to the id that the caller knows, unless it is told not to.
fn external_id(id: &str) -> &str {
    if std::env::var("VLLM_DISABLE_REQUEST_ID_RANDOMIZATION").is_ok_and(|said| said != "0") {
        return id;
    }
    match id.rsplit_once('-') {
        Some((external, random)) if random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            external
        }
        _ => id,
    }
}
