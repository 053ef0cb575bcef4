//! One half of a step of the model runner, below every executor: Ray's compiled graph calls the runner and not the
//! worker. Found by its frame, on whatever class the runner has.

use pyo3::prelude::*;
use pyo3::types::{PyAny, PyDict};

use super::stalls::State;
use super::{contexts, rank, requests, stalls};
use crate::model::attribute::Attributes;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, item};
use crate::python::step::{Found, Step, Steps};
use crate::scope::{Request, Scope as Core};
use crate::semconv::engine as key;

/// `execute_model(scheduler_output, ..., dummy_run=False, ...)` and `sample_tokens(grammar_output)`, the second half of
/// the step, which takes its requests from where the first one left them.
pub static STEPS: Steps = Steps { functions: &["execute_model", "sample_tokens"], who };

/// Who waits in a frame of that name.
fn who(locals: &Bound<'_, PyAny>) -> Option<Found> {
    if item(locals, "dummy_run").is_some_and(|dummy| dummy.is_truthy().or_none().unwrap_or(false)) {
        return Some(Found::Nobody);
    }
    let scheduled = of_scheduler_output(locals).or_else(|| of_input_batch(locals))?;
    if scheduled.is_empty() {
        return Some(Found::Nobody);
    }
    let mut attributes = rank::attributes();
    attributes.text(key::REQUEST_STATE, State::Running.word());
    let requests = requests_of(&scheduled);
    let ids = scheduled.into_iter().map(|(id, _)| id).collect();
    Some(Found::Step(Step { name: key::VLLM_EXECUTE_MODEL, attributes, requests, ids, ended }))
}

/// Request ids and their tokens in this step.
type Scheduled = Vec<(String, i64)>;

fn of_scheduler_output(locals: &Bound<'_, PyAny>) -> Option<Scheduled> {
    let tokens = get(&item(locals, "scheduler_output")?, "num_scheduled_tokens")?.cast_into::<PyDict>().ok()?;
    let scheduled = tokens
        .iter()
        .filter_map(|(id, tokens)| Some((id.extract().or_none()?, tokens.extract().or_none().unwrap_or(0))));
    Some(scheduled.collect())
}

/// The V2 runner's, in `sample_tokens`.
fn of_input_batch(locals: &Bound<'_, PyAny>) -> Option<Scheduled> {
    let batch = item(locals, "input_batch")?;
    let ids: Vec<String> = get(&batch, "req_ids")?.extract().or_none()?;
    let tokens = get(&batch, "num_scheduled_tokens");
    let of = |at: usize| tokens.as_ref()?.get_item(at).or_none()?.extract::<i64>().or_none();
    Some(ids.into_iter().enumerate().map(|(at, id)| (id, of(at).unwrap_or(0))).collect())
}

/// One for each request that somebody sent: what vLLM makes of `n=9` is nine, and they wait together.
fn requests_of(scheduled: &Scheduled) -> Vec<Request> {
    let mut found: Vec<Sequences<'_>> = Vec::with_capacity(scheduled.len());
    let contexts = contexts::of(scheduled.iter().map(|(id, _)| id.as_str()));
    for ((id, tokens), parent) in scheduled.iter().zip(contexts) {
        let sent = contexts::as_sent(id);
        let known = (sent != id).then(|| found.iter_mut().find(|other| other.sent == sent && other.parent == parent));
        match known.flatten() {
            Some(known) => {
                known.count += 1;
                known.tokens += tokens;
            }
            None => found.push(Sequences { sent, parent, count: 1, tokens: *tokens }),
        }
    }
    found.into_iter().map(Sequences::request).collect()
}

/// What vLLM runs for one request.
struct Sequences<'a> {
    sent: &'a str,
    parent: Option<opentelemetry::trace::SpanContext>,
    count: i64,
    tokens: i64,
}

impl Sequences<'_> {
    fn request(self) -> Request {
        let mut attributes = Attributes::new();
        attributes.text(key::REQUEST_ID, contexts::external(self.sent));
        attributes.int(key::SCHEDULED_TOKENS, self.tokens);
        if self.count > 1 {
            attributes.int(key::SEQUENCES, self.count);
        }
        Request { parent: self.parent, attributes }
    }
}

/// What the step waited for goes to the engine core, which knows who else did.
fn ended(scope: &Core, ids: &[String]) {
    let from = rank::place();
    if requests::are_here() {
        for sent in stalls::of_step(scope, ids, from) {
            requests::heard(sent);
        }
    } else {
        for sent in stalls::of_step(scope, ids, from) {
            super::mailbox::send(&sent);
        }
    }
}
