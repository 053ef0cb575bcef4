//! The worker: found when vLLM has made it, of whatever class it is.

use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::prelude::*;

use super::stalls::Place;
use super::{ENGINE, group, remember_endpoint, requests};
use crate::model::attribute::Attributes;
use crate::python::engines::step;
use crate::python::host::convert::get;
use crate::python::patch::{After, Call};
use crate::semconv::engine as key;

static RANK: AtomicI64 = AtomicI64::new(UNKNOWN);
static DATA_PARALLEL_RANK: AtomicI64 = AtomicI64::new(UNKNOWN);
/// Ranks of the worker's engine, those of one stage, and stages.
static RANKS: AtomicI64 = AtomicI64::new(1);
static RANKS_OF_A_STAGE: AtomicI64 = AtomicI64::new(1);
static STAGES: AtomicI64 = AtomicI64::new(1);
const UNKNOWN: i64 = -1;

/// Whether other workers run the same steps.
pub fn has_other_ranks() -> bool {
    RANKS.load(Ordering::Relaxed) > 1
}

/// Which worker this is, for the log.
pub fn whose() -> Option<String> {
    let rank = RANK.load(Ordering::Relaxed);
    (rank != UNKNOWN).then(|| format!("rank {rank} of {}", RANKS.load(Ordering::Relaxed)))
}

/// Whose step it is, for the spans.
pub fn rank() -> Attributes {
    let mut attributes = Attributes::new();
    for (name, rank) in [(key::RANK, &RANK), (key::DATA_PARALLEL_RANK, &DATA_PARALLEL_RANK)] {
        let rank = rank.load(Ordering::Relaxed);
        if rank != UNKNOWN {
            attributes.int(name, rank);
        }
    }
    attributes
}

/// The same among the workers of its engine, and how many stages that has. vLLM counts the ranks of the first stage
/// first.
pub fn place() -> (Place, i64) {
    let rank = RANK.load(Ordering::Relaxed).max(0);
    let stage = rank / RANKS_OF_A_STAGE.load(Ordering::Relaxed).max(1);
    (Place { stage, rank }, STAGES.load(Ordering::Relaxed))
}

/// `WorkerWrapperBase.init_device` and `.initialize_from_config`: worker and runner are there, of whatever class.
pub fn made(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(wrapper) = call.arg(0).map(Bound::unbind) else { return Ok(None) };
    Ok(Some(Box::new(move |py, _outcome| {
        let Some(worker) = get(wrapper.bind(py), "worker") else { return Ok(None) };
        let config = get(&worker, "vllm_config");
        let parallel = config.as_ref().and_then(|config| get(config, "parallel_config"));
        remember_endpoint(config.clone());
        remember_ranks(&worker, parallel.as_ref());
        group::join(config.as_ref(), Some(RANK.load(Ordering::Relaxed)).filter(|rank| *rank != UNKNOWN));
        requests::workers_are_here();
        step::look();
        if let Some(point) = ENGINE.point("vllm.warm_up") {
            point.stand_on_class(&ENGINE.patches, &worker, "compile_or_warm_up_model")?;
        }
        if let Some(runner) = get(&worker, "model_runner") {
            for point in ["vllm.execute_model", "vllm.sample_tokens"].into_iter().filter_map(|name| ENGINE.point(name))
            {
                point.look_at_class(&runner)?;
            }
        }
        Ok(None)
    })))
}

fn remember_ranks(worker: &Bound<'_, PyAny>, parallel: Option<&Bound<'_, PyAny>>) {
    let number = |any: Option<Bound<'_, PyAny>>| any.and_then(|any| any.extract::<i64>().ok());
    let said = |name: &str| number(parallel.and_then(|parallel| get(parallel, name)));
    if let Some(rank) = number(get(worker, "rank")) {
        RANK.store(rank, Ordering::Relaxed);
    }
    let count = |name: &str| said(name).unwrap_or(1).max(1);
    RANKS.store(count("world_size"), Ordering::Relaxed);
    RANKS_OF_A_STAGE.store(count("tensor_parallel_size") * count("prefill_context_parallel_size"), Ordering::Relaxed);
    STAGES.store(count("pipeline_parallel_size"), Ordering::Relaxed);
    // An engine of a dense model does not know that it is one of several: vLLM resets its size and its rank, and keeps
    // the index alone.
    if let Some(index) = said("data_parallel_index").or_else(|| said("data_parallel_rank")) {
        DATA_PARALLEL_RANK.store(index, Ordering::Relaxed);
    }
}
