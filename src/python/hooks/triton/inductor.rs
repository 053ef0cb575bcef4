//! Inductor may call the hook after a compile by itself (`TORCHINDUCTOR_RUN_JIT_POST_COMPILE_HOOK=1`), with a payload of
//! its own: `fn` is the `JITFunction`, `compile` the `CompiledKernel`, `already_compiled` true. What was compiled in this
//! process has been reported by then; what its pool of processes compiled is reported here, without a duration, unless
//! `torch_compile` has seen it wait for the pool.

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};

use pyo3::prelude::*;

use super::{describe, package};
use crate::model::event::Kind;
use crate::process::lock::Mutex;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get_text;
use crate::python::patch::{After, Call};
use crate::python::stall;

/// Hashes of the kernels that were compiled or loaded here, the oldest first.
static REPORTED: Mutex<(BTreeSet<String>, VecDeque<String>)> = Mutex::new((BTreeSet::new(), VecDeque::new()));
const REPORTED_KEPT: usize = 8192;

thread_local! {
    static FROM_POOL: Cell<bool> = const { Cell::new(false) };
}

/// What comes from Inductor's pool in this thread now is told of by whoever waits for it.
pub fn expect_from_pool(expected: bool) {
    FROM_POOL.set(expected);
}

/// A kernel has been seen. False: it had been before.
pub fn remember(hash: &str) -> bool {
    let mut reported = REPORTED.lock();
    let (known, order) = &mut *reported;
    if !known.insert(hash.to_owned()) {
        return false;
    }
    order.push_back(hash.to_owned());
    if order.len() > REPORTED_KEPT
        && let Some(oldest) = order.pop_front()
    {
        known.remove(&oldest);
    }
    true
}

/// The hook after a compile, with Inductor's payload.
pub fn after(
    py: Python<'_>,
    call: &Call<'_, '_>,
    function: &Bound<'_, PyAny>,
    kernel: &Bound<'_, PyAny>,
) -> PyResult<Option<After>> {
    let hash = get_text(kernel, "hash").unwrap_or_default();
    if (!hash.is_empty() && !remember(&hash)) || FROM_POOL.get() {
        return Ok(None);
    }
    let Some(pending) = stall::begin(py) else { return Ok(None) };
    let mut event = package::of(function).runtime.event(Kind::Compile, describe::kernel(function, call.kwargs));
    event.manual_warmup =
        call.keyword("is_manual_warmup").is_some_and(|flag| flag.is_truthy().or_none().unwrap_or(false));
    let source = kernel.getattr("src").or_none().unwrap_or_else(|| kernel.clone());
    describe::add(py, &mut event, None, &source);
    let (_, raise) = stall::finish(py, &pending, event, &hash);
    Ok(raise.map(|raise| -> After { Box::new(move |_py, _outcome| Ok(Some(raise))) }))
}
