"""What a step of vLLM's worker and scheduler pays while nothing compiles, with vLLM's own objects and no model.

    build/engines/venv/bin/python benches/vllm_step.py     # after `make test-engines`

Two runners of one shape, one of them known to jitspan, take the same `SchedulerOutput`s in turns. The time of the
fastest of many rounds is told: on a busy machine the others measure the machine.
"""

from __future__ import annotations

import os
import time
import types
from collections.abc import Callable
from typing import Any

os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"

import jitspan
from vllm.config import DeviceConfig, VllmConfig
from vllm.plugins import load_general_plugins
from vllm.utils import jit_monitor
from vllm.v1.core.sched.output import CachedRequestData, NewRequestData, SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.worker.worker_base import WorkerWrapperBase

ROUNDS, STEPS = 200, 200
CONTEXT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}


def runner_class() -> type:
    class Runner:
        def execute_model(self, scheduler_output: Any, intermediate_tensors: Any = None) -> None:
            pass

        def sample_tokens(self, _grammar_output: Any) -> Any:
            return OUTPUT

    return Runner


OUTPUT = types.SimpleNamespace(req_ids=["0"])


def known_to_jitspan(runner: Any) -> Any:
    wrapper = WorkerWrapperBase()
    wrapper.vllm_config = VllmConfig(device_config=DeviceConfig("cpu"))
    wrapper.worker = types.SimpleNamespace(
        rank=0, vllm_config=None, model_runner=runner, init_device=lambda: None, compile_or_warm_up_model=lambda: None
    )
    wrapper.init_device()
    return runner


def a_step(requests: int, new: int = 0, context: dict[str, str] | None = None) -> SchedulerOutput:
    names = [f"cmpl-{number:032x}-0-{number:08x}" for number in range(requests)]
    output = SchedulerOutput.make_empty()
    absent = dict.fromkeys(NewRequestData.__annotations__)
    output.scheduled_new_reqs = [NewRequestData(**(absent | {"req_id": name})) for name in names[:new]]
    output.scheduled_cached_reqs = CachedRequestData.make_empty()
    output.scheduled_cached_reqs.req_ids = names[new:]
    output.num_scheduled_tokens = dict.fromkeys(names, 1)
    if context and new:
        output.jitspan = dict.fromkeys(names[:new], context)
    return output


def fastest(*bodies: Callable[[], Any]) -> list[float]:
    """Nanoseconds of one call of each."""
    best = [float("inf")] * len(bodies)
    for _ in range(ROUNDS):
        for index, body in enumerate(bodies):
            began = time.perf_counter_ns()
            for _ in range(STEPS):
                body()
            best[index] = min(best[index], (time.perf_counter_ns() - began) / STEPS)
    return best


def worker() -> None:
    plain, watched = runner_class()(), known_to_jitspan(runner_class()())
    print("\nworker: execute_model and sample_tokens, ns a step")
    print(f"{'':44}{'without':>10}{'with':>10}{'more':>10}")
    for requests, new, context in [(1, 0, None), (16, 0, None), (256, 0, None), (256, 16, None), (256, 16, CONTEXT)]:
        output = a_step(requests, new, context)

        def once(runner: Any, output: SchedulerOutput = output) -> None:
            runner.execute_model(output)
            runner.sample_tokens(None)

        without, with_ = fastest(lambda: once(plain), lambda: once(watched))
        named = f"{requests} requests, {new} new" + (", each with a traceparent" if context else "")
        print(f"{named:44}{without:10.0f}{with_:10.0f}{with_ - without:10.0f}")


def scheduler(schedule_as_it_was: Callable[..., Any]) -> None:
    print("\nengine core: Scheduler.schedule, ns a step more than the call of it")
    for requests, new, context in [(256, 0, None), (256, 16, None), (256, 16, CONTEXT)]:
        output = a_step(requests, new)
        made = object.__new__(Stub)
        made.output = output
        made.requests = {name: types.SimpleNamespace(trace_headers=context) for name in output.num_scheduled_tokens}
        without, with_ = fastest(lambda: schedule_as_it_was(made), lambda: made.schedule())  # noqa: B023
        named = f"{requests} requests, {new} new" + (", each with a traceparent" if context else "")
        print(f"{named:44}{with_ - without:10.0f}")


class Stub(Scheduler):
    """vLLM's class; its `schedule` gives what is there already."""


def main() -> None:
    def schedule(self: Any) -> SchedulerOutput:
        return self.output

    Scheduler.schedule = schedule
    load_general_plugins()
    jit_monitor.activate()
    assert jitspan.is_active()
    worker()
    scheduler(schedule)


main()
