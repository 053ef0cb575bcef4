"""vLLM's engine in one process with the test, so that it can be looked into; see `offline.py`."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jitspan
import pytest
from conftest import ENGINES, HERE, ROOT, Receiver, Span, inherited, named

Run = Callable[..., Any]


def parent() -> tuple[str, str]:
    """A trace id, and its traceparent."""
    trace = secrets.token_hex(16)
    return trace, f"00-{trace}-{secrets.token_hex(8)}-01"


@pytest.fixture(scope="module")
def run(receiver: Receiver, model: Path, triton_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("offline")
    environment = inherited() | {
        "PYTHONPATH": os.pathsep.join(map(str, [HERE, ROOT / "examples"])),
        "INTERPRETED_GPU": "1",
        "MODEL": str(model),
        "TRITON_CACHE_DIR": str(triton_cache),
        "VLLM_CACHE_ROOT": str(ENGINES / "vllm-cache"),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.http_port}",
    }
    with (
        (folder / "host.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, HERE / "offline.py"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as host,
    ):
        assert host.stdin is not None
        assert host.stdout is not None
        assert host.stdout.readline() == "ready\n", (folder / "host.log").read_text()[-4000:]
        count = 0

        def run(case: str, *, env: dict[str, str] | None = None, **arguments: Any) -> Any:
            nonlocal count
            count += 1
            log, answer = folder / f"{count}-{case}.log", folder / f"{count}.json"
            order = {"case": case, "arguments": arguments, "env": env or {}, "seconds": 900}
            print(json.dumps(order | {"log": str(log), "answer": str(answer)}), file=host.stdin, flush=True)
            status = json.loads(host.stdout.readline())
            assert status == 0, f"{case} ended with {status}\n{log.read_text(errors='replace')[-6000:]}"
            return json.loads(answer.read_text())

        yield run
        host.stdin.close()


@pytest.mark.parametrize("switch", [{"JITSPAN": "0"}, {"OTEL_SDK_DISABLED": "true"}], ids=str)
def test_switched_off_it_does_nothing(run: Run, switch: dict[str, str]) -> None:
    off = run("switched_off", env=switch)
    assert off["wrappers"] == []
    assert off["armed"] is False
    assert [name for name, count in off["stats"].items() if count] == []
    assert off["said"] == []


def test_switched_on_it_stands_in_vllm(run: Run) -> None:
    """The test above would see it."""
    on = run("switched_off")
    assert {"ImportWatch", "add_request", "_free_request", "init_device"} <= set(on["wrappers"])
    assert on["armed"] is True


@pytest.mark.parametrize(
    ("flag", "variable", "raised"),
    [
        ("warn", {}, None),
        ("warn", {"JITSPAN_MODE": "error"}, "UnexpectedCompileError"),
        # vLLM's own monitor stands in front of ours, and does as its flag says whatever the variable is.
        ("error", {}, "RuntimeError"),
        ("error", {"JITSPAN_MODE": "warn"}, "RuntimeError"),
    ],
)
def test_the_variable_wins_over_vllms_flag(
    run: Run, flag: str, variable: dict[str, str], raised: str | None, tmp_path: Path
) -> None:
    cold = {"TRITON_CACHE_DIR": str(tmp_path)}
    assert run("the_flag_says", env=variable | cold, mode=flag) == {"raised": raised}


def test_without_vllms_warm_up_compiles_are_recorded_as_expected_and_never_an_error(
    run: Run, receiver: Receiver, tmp_path: Path
) -> None:
    trace, traceparent = parent()
    env = {"TRITON_CACHE_DIR": str(tmp_path), "JITSPAN_MODE": "error"}
    eager = run("no_warm_up", env=env, parent=traceparent)
    assert eager["armed"] is True
    assert eager["returned"] == ["warm", "warm"]
    assert [level for level, line in eager["said"] if "--enforce-eager" in line] == ["WARNING"]
    assert not [line for _, line in eager["said"] if "JIT compilation" in line]
    spans = receiver.wait_for(trace, lambda spans: bool(named(spans, "vllm.execute_model")))
    (step,), (compiled,) = named(spans, "vllm.execute_model"), named(spans, "jit.compile")
    assert step["status"] == "UNSET"
    assert step["attributes"]["jit.stalled"] is True
    assert compiled["attributes"]["jit.expected"] is True


def test_a_forked_worker_sends_what_its_requests_waited_for(run: Run, receiver: Receiver, tmp_path: Path) -> None:
    trace, traceparent = parent()
    ended = run("forked", env={"TRITON_CACHE_DIR": str(tmp_path)}, parent=traceparent)
    assert ended == {"status": 0, "armed": False, "compiles": 0}
    spans = receiver.wait_for(trace, lambda spans: bool(named(spans, "vllm.execute_model")))
    assert {span["name"] for span in spans} == {"vllm.execute_model", "jit.compile"}


def test_a_dummy_run_carries_nobody(run: Run, receiver: Receiver, tmp_path: Path) -> None:
    trace, traceparent = parent()
    ended = run("a_dummy_run", env={"TRITON_CACHE_DIR": str(tmp_path)}, parent=traceparent)
    assert ended["stats"]["events.compile"] == 1
    assert ended["stats"]["requests.stalled"] == 0
    assert ended["kept"] == [1, 0]
    assert trace not in receiver.traces


POINTS = [point for point in jitspan._engine_points() if point["engine"] == "vllm"]


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point["point"])
def test_without_any_one_place_the_rest_stands_and_status_says_what_is_missing(run: Run, point: dict[str, Any]) -> None:
    found = run("without", point=point["point"])
    assert found["output"] == ["x"]
    assert found["status"]["faults"] == 0
    missing = found["status"]["missing"]
    if point["point"] == "vllm.worker":
        # The runner is found through `vllm.worker_late`, which this case does not call.
        assert missing == ["vllm.worker"]
        return
    # Its class is hidden whole, and the other place is in it.
    assert missing == [point["point"]] + ["vllm.request"] * (point["point"] == "vllm.configuration")
    assert point["without"] in found["status"]["reason"]
    assert any(point["without"] in line for line in found["said"])


def test_nothing_is_kept_of_finished_requests(run: Run) -> None:
    _, traceparent = parent()
    ended = run("ten_thousand_requests", parent=traceparent)
    assert ended["before"] == [0, 0]
    assert ended["most"] == 2
    assert ended["kept"] == [0, 0]
    assert not {name: count for name, count in ended["stats"].items() if name.startswith("faults") and count}


@dataclass
class Fates:
    """What became of the requests of one engine, and of what else is in their traces."""

    receiver: Receiver
    parents: dict[str, tuple[str, str]]
    answer: dict[str, Any]

    def steps(self, name: str) -> list[Span]:
        """The stalled steps of a request; there is at least one."""
        spans = self.receiver.wait_for(self.parents[name][0], lambda spans: bool(named(spans, "vllm.execute_model")))
        return named(spans, "vllm.execute_model")

    def has_trace(self, name: str) -> bool:
        return self.parents[name][0] in self.receiver.traces


@pytest.fixture(scope="module")
def fates(run: Run, receiver: Receiver) -> Fates:
    names = ["alone", "batch-0", "batch-1", "batch-2", "aborted", "again", "preempted", "ray", "last"]
    parents = {name: parent() for name in names}
    sent = {name: traceparent for name, (_, traceparent) in parents.items()}
    return Fates(receiver, parents, run("requests_of_all_kinds", env={"JITSPAN_MAX_REQUESTS": "2"}, parents=sent))


def test_registered_twice_each_stalled_step_has_one_span(fates: Fates) -> None:
    assert fates.answer["armed"] is True
    steps = fates.steps("alone")
    assert {step["attributes"]["gen_ai.request.id"] for step in steps} == {"alone"}
    # Up to 0.30 the first decode compiles as well as the prefill of 4 tokens; later releases warm it up.
    assert sorted(step["attributes"]["jit.request.scheduled_tokens"] for step in steps) in ([1, 4], [4])
    assert fates.answer["faults"] == {}


def test_of_a_batch_over_the_limit_those_left_out_are_counted(fates: Fates) -> None:
    if not fates.answer["omitted"]:
        pytest.skip("this release of vLLM compiles nothing for a batch of three")
    for name in ("batch-0", "batch-1"):
        for step in fates.steps(name):
            assert step["attributes"]["jit.batch.size"] == 3
            assert step["attributes"]["jit.batch.omitted"] == 1
    assert not fates.has_trace("batch-2")
    assert fates.answer["omitted"] == len(fates.steps("batch-0"))


def test_a_traceparent_that_cannot_be_read_is_counted_and_the_request_is_served(fates: Fates) -> None:
    served, malformed = fates.answer["malformed"]
    assert list(served) == ["malformed"]
    assert malformed > 0


def test_an_aborted_request_keeps_its_stall_and_the_next_of_its_id_does_not_get_it(fates: Fates) -> None:
    assert len(fates.steps("aborted")) == 1
    assert not fates.has_trace("again")
    assert fates.answer["kept"] == [0, 0]


def test_a_request_is_served_that_is_preempted_between_two_steps(fates: Fates) -> None:
    assert len(fates.answer["preempted"]["preempted"]) == 4
    assert not fates.has_trace("preempted")


def test_rays_compiled_graph_which_passes_the_worker_by_has_its_steps_too(fates: Fates) -> None:
    if "ray" not in fates.answer:
        pytest.skip("this release of vLLM has no compiled graph")
    assert list(fates.answer["ray"]) == ["ray"]
    assert [step["attributes"]["jit.kernels"] for step in fates.steps("ray")] == ["_topk_topp_kernel"]


def test_with_a_warm_disk_cache_there_are_loads_and_no_compiles(run: Run, fates: Fates, receiver: Receiver) -> None:
    """The engine above has filled the cache."""
    trace, traceparent = parent()
    tracing = f"http://127.0.0.1:{receiver.grpc_port}"
    env = {"JITSPAN_LOAD_THRESHOLD": "60", "JITSPAN_MODE": "error", "JITSPAN_ERROR_ON": "load"}
    warm = run("one_request", env=env, parents={"alone": traceparent}, tracing=tracing)
    spans = receiver.wait_for(
        trace,
        lambda spans: (
            bool(named(spans, "llm_request")) and len(named(spans, "vllm.execute_model")) == len(fates.steps("alone"))
        ),
    )
    assert {span["name"] for span in spans} == {"llm_request", "vllm.execute_model", "jit.load"}
    (request,) = named(spans, "llm_request")
    loads = request["attributes"]["jit.load.count"]
    assert loads > 0
    assert request["attributes"]["jit.compile.count"] == 0
    # Each is an event, and none of them took long enough to be a stall, or an error.
    assert {span["attributes"]["jit.stalled"] for span in spans} == {False}
    assert warm["stats"]["requests.stalled"] == 0
    # vLLM's own span is of its own SDK, which calls the service as it likes.
    assert {span["service"] for span in spans if span is not request} == {"vllm"}
    assert warm["tokens"] == fates.answer["alone"]
    assert (warm["stats"]["events.load"], warm["stats"]["events.compile"]) == (loads, 0)


@pytest.mark.parametrize("case", ["one_request", "adapters"])
def test_the_second_start_meets_nothing_late_and_the_switch_leaves_the_replay_out(
    run: Run, receiver: Receiver, tmp_path: Path, case: str
) -> None:
    """Each with an empty cache of Triton's."""

    def late(name: str, **env: str) -> int:
        env |= {"JITSPAN_MANIFEST": str(tmp_path / "manifest"), "TRITON_CACHE_DIR": str(tmp_path / name)}
        tracing = f"http://127.0.0.1:{receiver.grpc_port}"
        return run(case, env=env, parents={"alone": parent()[1]}, tracing=tracing)["stats"]["events.compile"]

    found = late("first")
    assert found > 0
    assert late("switched off", JITSPAN_PRELOAD="0") == found
    assert late("second") == 0


def test_a_platform_that_arms_nothing_is_armed_after_its_warm_up_with_the_other_runner(
    run: Run, receiver: Receiver
) -> None:
    trace, traceparent = parent()
    env = {"VLLM_USE_V2_MODEL_RUNNER": "0", "INTERPRETED_WORKER": "interpreted_gpu.worker.UnmonitoredWorker"}
    answer = run("a_platform_that_arms_nothing", env=env, parents={"alone": traceparent})
    assert answer["armed"] is True
    assert len(answer["said"]) == 1
    assert "vllm.v1.worker.gpu_model_runner" in answer["runner"]
    spans = receiver.wait_for(trace, lambda spans: bool(named(spans, "vllm.execute_model")))
    assert {step["attributes"]["gen_ai.request.id"] for step in named(spans, "vllm.execute_model")} == {"alone"}
