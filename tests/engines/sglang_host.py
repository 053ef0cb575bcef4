"""SGLang's scheduler without a model: its real plug-in registry, `Scheduler.run_event_loop` and `run_batch`, requests
and tracing, in a process that has no GPU. Only the model's forward is replaced: it compiles a Triton kernel, and
nothing else. Writes one JSON file for each order.

What SGLang imports but never calls here is not installed (`ABSENT`): kernels for GPUs, a notebook, a file format.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import json
import os
import pickle
import sys
import threading
import types
from array import array
from pathlib import Path
from typing import Any

ABSENT = {"IPython", "sgl_kernel", "gguf"}


class Anything(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> Any:
        if name.partition(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> Any:
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: getattr(Anything("anything", (), {}), name)
        return module

    def exec_module(self, _module: Any) -> None:
        pass


sys.meta_path.append(Absent())

import jitspan  # noqa: E402
import sglang.srt.managers.scheduler as scheduling  # noqa: E402
import sglang.srt.plugins as plugins  # noqa: E402
import torch  # noqa: E402
from sglang.srt.managers.schedule_batch import Req, ScheduleBatch  # noqa: E402
from sglang.srt.managers.utils import GenerationBatchResult  # noqa: E402
from sglang.srt.model_executor.forward_batch_info import ForwardMode  # noqa: E402
from sglang.srt.observability import req_time_stats, trace  # noqa: E402
from sglang.srt.observability.req_time_stats import SchedulerReqTimeStats  # noqa: E402
from sglang.srt.sampling.sampling_params import SamplingParams  # noqa: E402

# After SGLang, which believes in a GPU where Triton has one.
sys.path.insert(0, str(Path(__file__).parents[1] / "python"))
import kernels  # noqa: E402


class Tokenizer(threading.Thread):
    """SGLang's other process, where a request begins and ends; its trace context is pickled on the way."""

    def __init__(self, requests: dict[str, str]) -> None:
        super().__init__()
        self.requests = requests
        self.sent: list[bytes] = []
        self.began, self.answered = threading.Event(), threading.Event()

    def run(self) -> None:
        trace.trace_set_thread_info("tokenizer")
        began = []
        for name, traceparent in self.requests.items():
            stats = req_time_stats.APIServerReqTimeStats()
            stats.init_trace_ctx(name, None, {"traceparent": traceparent})
            stats.trace_ctx.trace_req_start()
            self.sent.append(pickle.dumps(stats))
            began.append(stats)
        self.began.set()
        self.answered.wait()
        for stats in began:
            stats.trace_ctx.trace_req_finish()


def received(name: str, sent: bytes) -> Req:
    made = Req(name, "", array("q", [5, 6, 7]), SamplingParams(max_new_tokens=1))
    made.time_stats = SchedulerReqTimeStats.new_from_obj(pickle.loads(sent))
    return made


class Quiet:
    """Parts of the scheduler that only count or print."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments, **_options: None


class Worker:
    """The forward: nothing but kernels."""

    def __init__(self) -> None:
        self.delayed = False

    def launch(self, length: int) -> None:
        kernels.add[(1,)](kernels.OUTPUT, kernels.INPUT, kernels.INPUT, 64, BLOCK=length)

    def forward_batch_generation(self, batch: ScheduleBatch, **_options: Any) -> GenerationBatchResult:
        self.launch(batch.launched)
        result = GenerationBatchResult()
        if self.delayed:

            def sample() -> GenerationBatchResult:
                self.launch(batch.launched * 2)
                return result

            result.delay_sample_func = sample
        return result


def scheduler(traced: bool) -> Any:
    """A `Scheduler` with as much state as its `run_event_loop` and `run_batch` look at."""
    made = object.__new__(scheduling.Scheduler)
    made.__dict__.update(
        device="cpu",
        device_module=torch.cpu,
        schedule_stream=torch.cpu.Stream(),
        forward_stream=types.SimpleNamespace(wait_stream=lambda _other: None),
        forward_stream_ctx=torch.cpu.StreamContext(torch.cpu.Stream()),
        metrics_reporter=Quiet(),
        profiler_manager=Quiet(),
        scheduler_stage_metrics=None,
        future_map=Quiet(),
        model_worker=Worker(),
        server_args=types.SimpleNamespace(enable_pd_role_switch=False, enable_trace=traced),
        disaggregation_mode=scheduling.DisaggregationMode.NULL,
        spec_algorithm=scheduling.SpeculativeAlgorithm.NONE,
        forward_ct=0,
        forward_sleep_time=None,
        scripted_scheduler_hook=None,
        processed_tokens_counter=0,
        is_generation=True,
        enable_overlap=False,
        enable_overlap_mlx=False,
        enable_pdmux=False,
        enable_unified_cache_external_linker=False,
        attn_dp_enabled=False,
        _sched_idled=False,
    )
    for name in ("_relay_forward_payload", "update_cache_from_scheduler", "_copy_auxiliary_output_to_cpu"):
        setattr(made, name, lambda *_arguments: None)
    made._copy_result_to_cpu = lambda *_arguments: None
    return made


def run(scheduler: Any, requests: list[Req], length: int) -> Any:
    batch = ScheduleBatch(reqs=requests, spec_algorithm=scheduling.SpeculativeAlgorithm.NONE, device="cpu")
    batch.forward_mode = ForwardMode.EXTEND
    batch.input_ids = torch.tensor([5])
    batch.launched = length
    started = req_time_stats.time.perf_counter()
    try:
        result = scheduler.run_batch(batch)
        scheduler.launch_batch_sample_if_needed(result, batch)
    finally:
        ended = req_time_stats.time.perf_counter()
        for each in requests:  # as SGLang tells of a stage: when it is over
            each.time_stats.trace_slice(req_time_stats.RequestStage.PREFILL_FORWARD, started, ended)
    return result


def serve_all(order: dict[str, Any]) -> dict[str, Any]:
    if order["traced"]:  # --enable-trace
        trace.process_tracing_init(order["grpc"], "sglang")
    trace.trace_set_thread_info("scheduler", tp_rank=0)
    plugins.load_plugins()  # as `run_scheduler_process` does: the entry point of the installed wheel
    plugins.load_plugins()

    tokenizer = Tokenizer(order["requests"])
    tokenizer.start()
    tokenizer.began.wait()
    requests = [received(*request) for request in zip(order["requests"], tokenizer.sent, strict=True)]
    made = scheduler(order["traced"])
    answer: dict[str, Any] = {"raised": None}

    def serve() -> None:
        answer["armed"] = jitspan.is_active()
        try:
            run(made, requests[:2], 128)  # both wait for a compile
            run(made, requests[2:], 128)  # nobody waits
            made.model_worker.delayed = True
            run(made, requests[2:], 128)  # the last one waits in sampling
            if not order["traced"]:
                made.model_worker.delayed = False
                run(made, requests[:1], 1024)  # the first one waits again
        except RuntimeError as error:
            answer["raised"] = type(error).__name__

    made.event_loop_normal = serve
    made.model_worker.launch(512)  # warm-up
    with scheduling.get_parallel().override(pp_size=1, tp_rank=0):
        made.run_event_loop()
    for each in requests:
        each.time_stats.trace_ctx.abort()
    tokenizer.answered.set()
    tokenizer.join()
    if order["traced"]:
        trace.trace.get_tracer_provider().force_flush()
    rows = [row for row in jitspan.status() if row.runtime == "sglang"]
    answer["status"] = [{"standing": row.standing, "missing": row.missing, "faults": row.faults} for row in rows]
    answer["stats"] = dict(jitspan.stats())
    return answer


def main() -> None:
    """Imports SGLang once, and forks for each order."""
    for order in json.loads(sys.argv[1]):
        child = os.fork()
        if child == 0:
            with open(order["log"], "wb", buffering=0) as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            os.environ.update(order["env"])
            Path(order["answer"]).write_text(json.dumps(serve_all(order)))
            sys.exit(0)
        os.waitpid(child, 0)


main()
