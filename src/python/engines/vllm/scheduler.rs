//! The engine core: contexts of new requests go to the workers on the step, stalls go to the front end with the last
//! output of a request.

use crate::process::lock::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::stalls::{self, KEY, Stalled};
use crate::propagation::{TRACEPARENT, TRACESTATE};
use crate::python::host::convert::{get, get_text};
use crate::python::patch::{After, Call, Outcome};

static STALLED: Mutex<Option<Stalled>> = Mutex::new(None);

/// Requests whose stalls are kept.
pub fn kept() -> usize {
    STALLED.lock().as_ref().map_or(0, Stalled::len)
}

/// `Scheduler.schedule()`: puts the headers of requests that are new in this step on the step.
pub fn scheduled(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(scheduler) = call.arg(0).map(Bound::unbind) else { return Ok(None) };
    Ok(Some(Box::new(move |py, outcome| {
        let Ok(output) = outcome else { return Ok(None) };
        forget_finished(output)?;
        let Some(new) = get(output, "scheduled_new_reqs").filter(|new| new.len().unwrap_or(0) > 0) else {
            return Ok(None);
        };
        let Some(requests) = get(scheduler.bind(py), "requests") else { return Ok(None) };
        let attached = PyDict::new(py);
        for new in new.try_iter()? {
            let id = new?.getattr("req_id")?;
            let Ok(request) = requests.get_item(&id) else { continue };
            if let Some(headers) = get(&request, "trace_headers").and_then(|headers| context(py, &headers)) {
                attached.set_item(id, headers)?;
            }
        }
        if !attached.is_empty() {
            output.setattr(KEY, attached)?;
        }
        Ok(None)
    })))
}

/// A request that was aborted has no last output to carry its stalls, and its id may come again.
fn forget_finished(output: &Bound<'_, PyAny>) -> PyResult<()> {
    if STALLED.lock().as_ref().is_none_or(Stalled::is_empty) {
        return Ok(());
    }
    let Some(finished) = get(output, "finished_req_ids") else { return Ok(()) };
    for request in finished.try_iter()? {
        let request = request?.extract::<String>()?;
        STALLED.lock().as_mut().and_then(|stalled| stalled.take(&request));
    }
    Ok(())
}

/// Of the headers, those that name the parent.
fn context<'py>(py: Python<'py>, headers: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    let of = |name: &str| headers.get_item(name).ok();
    let context = PyDict::new(py);
    context.set_item(TRACEPARENT, of(TRACEPARENT)?).ok()?;
    if let Some(state) = of(TRACESTATE) {
        context.set_item(TRACESTATE, state).ok()?;
    }
    Some(context)
}

/// `Scheduler.update_from_output(scheduler_output, model_runner_output)`: makes an output for each request.
pub fn updated(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let output = call.arg(2).or_else(|| call.keyword("model_runner_output"));
    let sent = match output {
        Some(output) => output.getattr_opt(KEY)?,
        None => None,
    };
    if let Some(sent) = sent.and_then(|sent| sent.extract::<String>().ok()) {
        // A request may have been aborted while its step ran.
        let requests = call.arg(0).and_then(|scheduler| get(&scheduler, "requests"));
        let is_there = |id: &str| requests.as_ref().is_none_or(|requests| requests.contains(id).unwrap_or(true));
        let sent = stalls::Sent::read(&sent).map(|sent| sent.only(is_there));
        if let Some(sent) = sent {
            STALLED.lock().get_or_insert_default().add(sent);
        }
    }
    if STALLED.lock().as_ref().is_none_or(Stalled::is_empty) {
        return Ok(None);
    }
    Ok(Some(Box::new(|_py, outcome: Outcome<'_, '_>| {
        let Ok(outputs) = outcome else { return Ok(None) };
        for client in outputs.call_method0("values")?.try_iter()? {
            for output in client?.getattr("outputs")?.try_iter()? {
                finished(&output?)?;
            }
        }
        Ok(None)
    })))
}

/// Only the last output of a request carries its stalls: that is the one its span is made from.
fn finished(output: &Bound<'_, PyAny>) -> PyResult<()> {
    if get(output, "finish_reason").is_none() {
        return Ok(());
    }
    let Some(id) = get_text(output, "request_id") else { return Ok(()) };
    let stalls = STALLED.lock().as_mut().and_then(|stalled| stalled.take(&id));
    let Some(stalls) = stalls else { return Ok(()) };
    let headers = PyDict::new(output.py());
    if let Some(known) = get(output, "trace_headers") {
        headers.call_method1("update", (known,))?;
    }
    headers.set_item(KEY, stalls)?;
    output.setattr("trace_headers", headers)
}
