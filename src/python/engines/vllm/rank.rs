//! Which of vLLM's workers this process is: its rank, its pipeline stage, its rank among engines of the same model.

use std::sync::atomic::{AtomicI64, Ordering};

use pyo3::prelude::*;

use super::stalls::Place;
use crate::model::attribute::Attributes;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::get;
use crate::python::ranks;
use crate::semconv::engine as key;

static DATA_PARALLEL_RANK: AtomicI64 = AtomicI64::new(UNKNOWN);
/// Ranks of one stage, and stages.
static RANKS_OF_A_STAGE: AtomicI64 = AtomicI64::new(1);
static STAGES: AtomicI64 = AtomicI64::new(1);
const UNKNOWN: i64 = -1;

/// Whose step it is, for the spans.
pub fn attributes() -> Attributes {
    let mut attributes = Attributes::new();
    let data_parallel = DATA_PARALLEL_RANK.load(Ordering::Relaxed);
    let data_parallel = (data_parallel != UNKNOWN).then_some(data_parallel);
    for (name, rank) in [(key::RANK, ranks::rank()), (key::DATA_PARALLEL_RANK, data_parallel)] {
        if let Some(rank) = rank {
            attributes.int(name, rank);
        }
    }
    attributes
}

/// The same among the workers of its engine, and how many stages that has. vLLM counts the ranks of the first stage
/// first.
pub fn place() -> (Place, i64) {
    let rank = ranks::rank().unwrap_or(0).max(0);
    let stage = rank / RANKS_OF_A_STAGE.load(Ordering::Relaxed).max(1);
    (Place { stage, rank }, STAGES.load(Ordering::Relaxed))
}

/// The worker has been made.
pub fn remember(worker: &Bound<'_, PyAny>, parallel: Option<&Bound<'_, PyAny>>) {
    let number = |any: Option<Bound<'_, PyAny>>| any.and_then(|any| any.extract::<i64>().or_none());
    let said = |name: &str| number(parallel.and_then(|parallel| get(parallel, name)));
    let count = |name: &str| said(name).unwrap_or(1).max(1);
    ranks::remember(number(get(worker, "rank")), count("world_size"));
    RANKS_OF_A_STAGE.store(count("tensor_parallel_size") * count("prefill_context_parallel_size"), Ordering::Relaxed);
    STAGES.store(count("pipeline_parallel_size"), Ordering::Relaxed);
    // An engine of a dense model does not know that it is one of several: vLLM resets its size and its rank, and keeps
    // the index alone.
    if let Some(index) = said("data_parallel_index").or_else(|| said("data_parallel_rank")) {
        DATA_PARALLEL_RANK.store(index, Ordering::Relaxed);
    }
}
