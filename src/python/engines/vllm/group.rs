//! Which engines take their steps together: those of one data parallel group whose model has experts. In each step they
//! exchange tokens, so one that compiles holds all of them. Engines of a dense model are independent of each other, and
//! vLLM tells them that they are alone; ranks of one engine have the same requests, which the rank that compiles tells of.
//!
//! Known on one host: engines on another have another board.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use super::ENGINE;
use crate::python::host::boundary::OrNone;
use crate::python::host::convert::{get, get_text};

/// The scheduler of this process has said which group it is of.
static SCHEDULER_JOINED: AtomicBool = AtomicBool::new(false);

/// Says on the board what this process is, as `vllm_config` has it. `rank`: of the worker, if it is one.
pub fn join(vllm_config: Option<&Bound<'_, PyAny>>, rank: Option<i64>) {
    let parallel = vllm_config.and_then(|config| get(config, "parallel_config"));
    let said = |name: &str| parallel.as_ref().and_then(|parallel| get(parallel, name)?.extract::<i64>().or_none());
    let data_parallel_rank = said("data_parallel_index").or_else(|| said("data_parallel_rank"));
    let server = vllm_config.and_then(|config| get_text(config, "instance_id")).filter(|id| !id.is_empty());
    let lockstep = parallel.as_ref().and_then(lockstep);
    if let Some(monitor) = crate::monitor() {
        monitor.board().describe(|who| {
            who.engine = Some(ENGINE.name.to_owned());
            who.rank = rank.or(who.rank);
            who.data_parallel_rank = data_parallel_rank.or(who.data_parallel_rank);
            who.server = server.or(who.server.take());
            who.lockstep = lockstep;
        });
    }
}

/// The same for all engines of a group: address and port of its master, which the first front end gives to all of them. Who
/// starts the ranks himself gives a port that each process counts up as it makes process groups (0.33); then it is the port
/// for messages, which is fixed.
fn lockstep(parallel: &Bound<'_, PyAny>) -> Option<String> {
    let is_alone = get(parallel, "data_parallel_size")?.extract::<i64>().or_none()? <= 1;
    // None: a release that does not say.
    let is_dense =
        get(parallel, "is_moe_model").is_some_and(|has| has.extract().or_none().is_some_and(|has: bool| !has));
    if is_alone || is_dense {
        return None;
    }
    let is_given = |name: &str| get(parallel, name).is_some_and(|given| given.is_truthy().or_none().unwrap_or(false));
    let is_given = is_given("_data_parallel_master_port_list") || is_given("_coord_store_port");
    let port = if is_given { "data_parallel_master_port" } else { "data_parallel_rpc_port" };
    let port = get(parallel, port)?.extract::<i64>().or_none()?;
    Some(format!("{}:{port}", get_text(parallel, "data_parallel_master_ip")?))
}

/// Says why this process will never be armed, unless it is: with one GPU all of vLLM may be in one process.
pub fn is_not_armed(reason: &str) {
    if let Some(monitor) = crate::monitor().filter(|monitor| !monitor.is_armed()) {
        monitor.board().not_armed(reason);
    }
}

/// `Scheduler.add_request(request)`: the scheduler has the configuration of its engine.
pub fn join_as_scheduler(scheduler: Option<&Bound<'_, PyAny>>) {
    if !SCHEDULER_JOINED.swap(true, Ordering::Relaxed) {
        join(scheduler.and_then(|scheduler| get(scheduler, "vllm_config")).as_ref(), None);
        is_not_armed("the engine core: its workers compile");
        // From here on it is news what peers compile.
        crate::monitor().into_iter().for_each(|monitor| drop(monitor.board().peers()));
    }
}
