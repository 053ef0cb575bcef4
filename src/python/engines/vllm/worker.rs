//! The worker: found when vLLM has made it, of whatever class it is.

use pyo3::prelude::*;

use super::step::STEPS;
use super::{ENGINE, group, rank, remember_endpoint, requests};
use crate::python::host::convert::get;
use crate::python::patch::{After, Call};
use crate::python::ranks;
use crate::python::step;

/// `WorkerWrapperBase.init_device` and `.initialize_from_config`: worker and runner are there, of whatever class.
pub fn made(_py: Python<'_>, call: &Call<'_, '_>) -> PyResult<Option<After>> {
    let Some(wrapper) = call.arg(0).map(Bound::unbind) else { return Ok(None) };
    Ok(Some(Box::new(move |py, _outcome| {
        let Some(worker) = get(wrapper.bind(py), "worker") else { return Ok(None) };
        let config = get(&worker, "vllm_config");
        let parallel = config.as_ref().and_then(|config| get(config, "parallel_config"));
        remember_endpoint(config.clone());
        rank::remember(&worker, parallel.as_ref());
        group::join(config.as_ref(), ranks::rank());
        requests::workers_are_here();
        step::look(&STEPS);
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
