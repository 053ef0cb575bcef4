//! vLLM. A request's trace context comes in at the front end, travels to the scheduler with the request, and from there
//! to the workers on the `NewRequestData` that tells them of it. What a step waited for goes back to the engine core,
//! which knows who else waited, and with a request's last output to vLLM's own `llm_request` span.
//!
//! | process | file | does |
//! |---|---|---|
//! | front end | `front_end` | keeps or gives a trace context; puts the summary on `llm_request` |
//! | engine core | `requests` | sends contexts to the workers and stalls to the front end; finds who was `queued` |
//! | engine core | `group`, `peers` | which engines take their steps together; what others of them compiled |
//! | worker | `worker`, `arming` | finds the runner; arms when warm-up is over |
//! | worker | `contexts`, `step` | keeps the contexts; finds who is in the step that compiles |
//!
//! Nothing here is called once a step.

mod arming;
mod contexts;
mod front_end;
mod group;
mod mailbox;
mod peers;
mod queued;
mod rank;
mod requests;
mod stalls;
mod step;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

use super::Reached::{Import, Object};
use super::Watched::{Added, Frame, Wrapped};
use super::{Engine, Point};
use crate::python::environment;
use crate::python::host::convert::{get, get_text};
use crate::python::host::guard::guard;

/// vLLM's points.
pub static ENGINE: Engine = Engine::new("vllm", ("0.20.0", "0.33.0"), "0.26.0", &POINTS, note);

static POINTS: [Point; 19] = [
    Point::new(
        "vllm.arm",
        "jitspan arms when the worker's warm-up returns, in mode warn unless JITSPAN_MODE says otherwise",
        &[("vllm.utils.jit_monitor", "activate"), ("vllm.triton_utils.jit_monitor", "activate")],
        Import,
        Wrapped(arming::activate),
    ),
    Point::new(
        "vllm.jit_event",
        "a compile that vLLM's own monitor refuses before it begins fails without a span",
        &[("vllm.utils.jit_monitor", "_handle_jit_event"), ("vllm.triton_utils.jit_monitor", "_handle_jit_event")],
        Import,
        Wrapped(arming::refused),
    )
    // Before 0.25 vLLM's monitor has no error mode: it refuses nothing.
    .only_where_there_is("_mode"),
    Point::new(
        "vllm.worker",
        "no compile is put on a request's trace",
        &[("vllm.v1.worker.worker_base", "WorkerWrapperBase.init_device")],
        Import,
        Wrapped(worker::made),
    ),
    Point::new(
        "vllm.worker_late",
        "a runner that is made after the device is not seen",
        &[("vllm.v1.worker.worker_base", "WorkerWrapperBase.initialize_from_config")],
        Import,
        Wrapped(worker::made),
    ),
    Point::new(
        "vllm.warm_up",
        "a platform that does not arm vLLM's own monitor is not armed",
        &[
            ("vllm.v1.worker.gpu_worker", "Worker.compile_or_warm_up_model"),
            ("vllm.v1.worker.cpu_worker", "CPUWorker.compile_or_warm_up_model"),
        ],
        Object,
        Wrapped(arming::warmed_up),
    ),
    Point::new(
        "vllm.execute_model",
        "no compile is put on a request's trace",
        &[
            ("vllm.v1.worker.gpu_model_runner", "GPUModelRunner.execute_model"),
            ("vllm.v1.worker.gpu.model_runner", "GPUModelRunner.execute_model"),
        ],
        Object,
        Frame(&["scheduler_output"]),
    ),
    Point::new(
        "vllm.sample_tokens",
        "a compile in sampling is not put on a request's trace",
        &[
            ("vllm.v1.worker.gpu_model_runner", "GPUModelRunner.sample_tokens"),
            ("vllm.v1.worker.gpu.model_runner", "GPUModelRunner.sample_tokens"),
        ],
        Object,
        Frame(&["scheduler_output", "input_batch"]),
    ),
    Point::new(
        "vllm.context",
        "each request gets a trace of its own for its compiles",
        &[("vllm.v1.core.sched.output", "NewRequestData")],
        Import,
        Added(contexts::watch_unpickling),
    ),
    Point::new(
        "vllm.scheduled",
        "each request gets a trace of its own for its compiles",
        &[("vllm.v1.core.sched.output", "NewRequestData.from_request")],
        Import,
        Wrapped(requests::scheduled),
    ),
    Point::new(
        "vllm.added",
        "requests that wait in the queue have nothing of it, and llm_request spans no jit.* summary",
        &[("vllm.v1.core.sched.scheduler", "Scheduler.add_request")],
        Import,
        Wrapped(requests::added),
    ),
    Point::new(
        "vllm.finished",
        "llm_request spans do not carry the jit.* summary",
        &[("vllm.v1.core.sched.scheduler", "Scheduler._free_request")],
        Import,
        Wrapped(requests::finished),
    ),
    Point::new(
        "vllm.trace_headers",
        "a traceparent is seen only where vLLM's own tracing is on",
        &[
            // Up to 0.24; 0.26 to 0.30; from 0.32 on.
            ("vllm.entrypoints.openai.engine.serving", "*._get_trace_headers"),
            ("vllm.entrypoints.generate.base.serving", "*._get_trace_headers"),
            ("vllm.entrypoints.serve.engine.serving", "*._get_trace_headers"),
            // The same once more, for endpoints of their own.
            ("vllm.entrypoints.openai.generative_scoring.serving", "*._get_trace_headers"),
            ("vllm.entrypoints.generate.generative_scoring.serving", "*._get_trace_headers"),
            ("vllm.entrypoints.pooling.base.serving", "*._get_trace_headers"),
        ],
        Import,
        Wrapped(front_end::headers_came),
    ),
    Point::new(
        "vllm.generate",
        "a streamed request loses its traceparent where vLLM's own tracing is off",
        &[("vllm.v1.engine.async_llm", "AsyncLLM.generate")],
        Import,
        Wrapped(front_end::served),
    ),
    Point::new(
        "vllm.encode",
        "an embedding loses its traceparent where vLLM's own tracing is off",
        &[("vllm.v1.engine.async_llm", "AsyncLLM.encode")],
        Import,
        Wrapped(front_end::served),
    ),
    Point::new(
        "vllm.add_request",
        "a traceparent is seen only where vLLM's own tracing is on",
        &[("vllm.v1.engine.async_llm", "AsyncLLM.add_request")],
        Import,
        Wrapped(front_end::added),
    ),
    Point::new(
        "vllm.configuration",
        "spans for requests without a traceparent go where OTEL_* variables say, not to --otlp-traces-endpoint",
        &[("vllm.v1.engine.input_processor", "InputProcessor.__init__")],
        Import,
        Wrapped(front_end::configured),
    ),
    Point::new(
        "vllm.request",
        "requests without a traceparent do not share a trace with their llm_request span",
        &[("vllm.v1.engine.input_processor", "InputProcessor.assign_request_id")],
        Import,
        Wrapped(front_end::request_made),
    ),
    Point::new(
        "vllm.do_tracing",
        "llm_request spans do not carry the jit.* summary",
        &[("vllm.v1.engine.output_processor", "OutputProcessor.do_tracing")],
        Import,
        Wrapped(front_end::request_finished),
    ),
    Point::new(
        "vllm.llm_request",
        "llm_request spans do not carry the jit.* summary",
        &[("vllm.v1.engine.output_processor", "instrument_manual")],
        Import,
        Wrapped(front_end::span_made),
    ),
];

/// Called in every process of vLLM, in some more than once. Imports nothing, never raises.
pub fn register(py: Python<'_>) {
    static ONCE: AtomicBool = AtomicBool::new(false);
    if !ONCE.swap(true, Ordering::Relaxed) && super::switched_on(py, ENGINE.name) {
        guard(py, ENGINE.name, || front_end::prepare(py));
        ENGINE.stand(py);
    }
}

/// What is kept of requests in this process, for the test that nothing is kept for ever: contexts in a worker, requests
/// in the engine core.
#[pyfunction]
pub fn _vllm_kept() -> (usize, usize) {
    (contexts::kept(), requests::kept())
}

/// What an operator should know of this server, for the log and `status()`.
pub fn note() -> Option<String> {
    crate::config::environment::vllm_serves_in_rust().then(|| {
        "vLLM's front end in Rust hands no traceparent on: without one in vllm_xargs of the body, or as the header \
         X-Request-Id, a request's compiles are on a trace of their own"
            .to_owned()
    })
}

/// Reads from vLLM's configuration where it sends its spans (`--otlp-traces-endpoint`). Its flag is meant for us, too.
fn remember_endpoint(vllm_config: Option<Bound<'_, PyAny>>) {
    let observability = vllm_config.and_then(|config| get(&config, "observability_config"));
    let endpoint = observability.and_then(|observability| get_text(&observability, "otlp_traces_endpoint"));
    if let Some(endpoint) = endpoint {
        environment::sends_to(endpoint);
    }
}
