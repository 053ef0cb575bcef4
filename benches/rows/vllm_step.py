"""What vLLM pays for jitspan while nothing compiles: nothing in a step, and a little for each request.

Needs the environment of `make test-engines`, with a release build of jitspan in it.

vLLM's own classes, with a model that does nothing and a scheduler that keeps nothing. What is called once for a request
is timed as a server calls it, with other work in between, so that the processor's caches are cold; the same call of
vLLM's alone, in turns with it, is taken off. Medians.
"""

from __future__ import annotations

import json
import os
import pickle
import time
import types
from collections.abc import Callable
from typing import Any

os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:1"

import jitspan
from support import QUICK, figure, median
from vllm.plugins import load_general_plugins
from vllm.utils import jit_monitor
from vllm.v1.core.sched.output import NewRequestData
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.worker.gpu import model_runner as v2
from vllm.v1.worker.gpu_model_runner import GPUModelRunner

CALLS = 20 if QUICK else 1500
CONTEXT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
STEP = [
    (GPUModelRunner, "execute_model"),
    (GPUModelRunner, "sample_tokens"),
    (v2.GPUModelRunner, "execute_model"),
    (v2.GPUModelRunner, "sample_tokens"),
    (Scheduler, "schedule"),
    (Scheduler, "update_from_output"),
]
NUMBERS = list(range(300_000))


def request(number: int, headers: dict[str, str] | None) -> Any:
    fields = dict.fromkeys(["prompt_token_ids", "mm_features", "sampling_params", "pooling_params", "lora_request"])
    fields |= dict.fromkeys(["prompt_embeds", "prompt_is_token_ids"])
    name = f"cmpl-{number:032x}-0-{number:08x}"
    return types.SimpleNamespace(
        request_id=name,
        trace_headers=headers,
        arrival_time=time.time(),
        num_computed_tokens=0,
        replay_start=0,
        **fields,
    )


def other_work() -> None:
    json.dumps([{"a": number, "b": str(number)} for number in range(1500)])
    sum(NUMBERS[::7])


def timed(body: Callable[[], Any]) -> int:
    other_work()
    began = time.perf_counter_ns()
    body()
    return time.perf_counter_ns() - began


def main() -> None:
    before = {place: vars(place[0])[place[1]] for place in STEP}
    Scheduler.add_request = add_request = lambda _self, _request: None
    Scheduler._free_request = free_request = lambda _self, _request: None
    from_request = NewRequestData.from_request
    load_general_plugins()
    jit_monitor.activate()
    assert jitspan.is_active()

    touched = [f"{place[0].__name__}.{place[1]}" for place in STEP if vars(place[0])[place[1]] is not before[place]]
    print("NOTE\tcalled in a step in which nothing compiles: " + (", ".join(touched) or "nothing of ours"))
    if not touched:
        figure("a step", 0.0, "us")

    scheduler = object.__new__(Scheduler)
    plain = pickle.dumps(from_request(request(0, None), ()))
    for name, headers in (("no trace context", None), ("a traceparent and a tracestate", CONTEXT)):
        more: dict[str, list[int]] = {"add": [], "schedule": [], "unpickle": [], "finish": []}
        for number in range(CALLS):
            each = request(number, headers)
            bodies = {
                "add": (lambda: scheduler.add_request(each), lambda: add_request(scheduler, each)),  # noqa: B023
                "schedule": (lambda: NewRequestData.from_request(each, ()), lambda: from_request(each, ())),  # noqa: B023
                "unpickle": (lambda: pickle.loads(sent), lambda: pickle.loads(plain)),  # noqa: B023
                "finish": (lambda: scheduler._free_request(each), lambda: free_request(scheduler, each)),  # noqa: B023
            }
            sent = b""
            for what, (ours, theirs) in bodies.items():
                if what == "unpickle":
                    sent = pickle.dumps(NewRequestData.from_request(each, ()))
                more[what].append(timed(ours) - timed(theirs))
        for what, values in more.items():
            median(f"{what} a request, {name}", [value / 1e3 for value in values], "us")


main()
