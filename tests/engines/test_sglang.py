"""SGLang's own registry, scheduler, requests and tracing, with the wheel of jitspan installed; see `sglang_host.py`."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import ENGINES, HERE, ROOT, Receiver, Span, events, inherited, named

SGLANG = ENGINES / "sglang"
CASES = {
    "warn": {},
    "error": {"SGLANG_CRASH_ON_TRITON_LOAD_AFTER_READY": "1"},
    "untraced": {},
    "jitspan-off": {"JITSPAN": "0"},
    "sdk-off": {"OTEL_SDK_DISABLED": "true"},
}


@dataclass
class Ended:
    """What a scheduler that served three requests has said, and where their traces are."""

    receiver: Receiver
    contexts: dict[str, tuple[str, str]]
    answer: dict[str, Any]
    log: str

    @property
    def status(self) -> dict[str, Any]:
        (row,) = self.answer["status"]
        return row

    def trace(self, name: str, *wanted: str) -> list[Span]:
        trace, _ = self.contexts[name]
        return self.receiver.wait_for(trace, lambda spans: all(named(spans, span) for span in wanted))


@pytest.fixture(scope="module")
def schedulers(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    if not (SGLANG / "sglang").exists():
        pytest.skip("SGLang's wheel is not unpacked: make test-engines")
    folder = tmp_path_factory.mktemp("sglang")
    contexts = {
        case: {name: (secrets.token_hex(16), secrets.token_hex(8)) for name in ("both-1", "both-2", "sampled")}
        for case in CASES
    }
    orders = [
        {
            "grpc": f"http://127.0.0.1:{receiver.grpc_port}",
            "requests": {name: f"00-{trace}-{span}-01" for name, (trace, span) in contexts[case].items()},
            "traced": case != "untraced",
            "env": env | {"TRITON_CACHE_DIR": str(folder / case)},
            "answer": str(folder / f"{case}.json"),
            "log": str(folder / f"{case}.log"),
        }
        for case, env in CASES.items()
    ]
    environment = inherited() | {
        "PYTHONPATH": os.pathsep.join(map(str, [HERE, ROOT / "examples", SGLANG])),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.http_port}",
        "SGLANG_PLUGINS": "jitspan",
    }
    with (folder / "host.log").open("wb") as log:
        command = [sys.executable, HERE / "sglang_host.py", json.dumps(orders)]
        subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, timeout=900)
    ended = {}
    for case, order in zip(CASES, orders, strict=True):
        logs = [Path(log) for log in (order["log"], folder / "host.log")]
        text = "".join(log.read_text(errors="replace") for log in logs if log.exists())
        assert Path(order["answer"]).exists(), text[-4000:]
        ended[case] = Ended(receiver, contexts[case], json.loads(Path(order["answer"]).read_text()), text)
    return ended


@pytest.fixture(scope="module")
def warned(schedulers: dict[str, Ended]) -> Ended:
    return schedulers["warn"]


def compiles(span: Span) -> list[str]:
    return [name for name in events(span) if name == "jit.compile"]


def own(spans: list[Span], start: str) -> Span:
    """SGLang's span whose name begins so."""
    (span,) = (span for span in spans if span["name"].startswith(start))
    return span


def test_the_plug_in_is_loaded_once_and_armed_when_serving_starts(warned: Ended) -> None:
    assert warned.answer["armed"] is True
    assert warned.status == {
        "standing": ["sglang.arm", "sglang.run_batch", "sglang.sample"],
        "missing": [],
        "faults": 0,
    }
    assert warned.answer["stats"]["events.warmup"] == 1
    assert warned.answer["stats"]["events.compile"] == 2
    assert warned.answer["stats"]["requests.stalled"] == 3
    assert "jitspan fault" not in warned.log


@pytest.mark.parametrize("name", ["both-1", "both-2"])
def test_each_request_of_the_batch_has_the_compile_on_its_trace(warned: Ended, name: str) -> None:
    spans = warned.trace(name, "sglang.forward", "jit.compile", "prefill_forward")
    (step,) = named(spans, "sglang.forward")
    assert step["attributes"]["gen_ai.request.id"] == name
    assert step["attributes"]["jit.worker.rank"] == 0
    assert step["attributes"]["jit.batch.size"] == 2
    assert compiles(step) == ["jit.compile"]
    (compile_span,) = named(spans, "jit.compile")
    assert compile_span["parent_span_id"] == step["span_id"]


@pytest.mark.parametrize("name", ["both-1", "both-2"])
def test_sglangs_own_live_spans_carry_it_too(warned: Ended, name: str) -> None:
    spans = warned.trace(name, "sglang.forward", "prefill_forward")
    root, thread = own(spans, " Req"), own(spans, "scheduler")
    (slice_,) = named(spans, "prefill_forward")
    (step,) = named(spans, "sglang.forward")
    assert root["parent_span_id"] == warned.contexts[name][1]
    assert step["parent_span_id"] == thread["span_id"]
    assert compiles(slice_) == ["jit.compile"]
    assert slice_["events"][0]["attributes"]["jit.kernel.name"] == "add"
    assert thread["attributes"]["jit.stalled"] is True
    assert thread["attributes"]["jit.compile.count"] == 1


def test_a_compile_in_delayed_sampling_is_on_its_request_alone(warned: Ended) -> None:
    spans = warned.trace("sampled", "sglang.forward", "prefill_forward")
    (step,) = named(spans, "sglang.forward")
    assert compiles(step) == ["jit.compile"]
    assert "jit.batch.size" not in step["attributes"]


def test_sglangs_own_switch_for_an_error_mode_is_ours_too(schedulers: dict[str, Ended]) -> None:
    failed = schedulers["error"]
    assert failed.answer["raised"] == "UnexpectedCompileError"
    for name in ("both-1", "both-2"):
        # SGLang's span of the stage is told of nothing: the request has been aborted before the stage has ended.
        spans = failed.trace(name, "sglang.forward", f" Req {name}")
        (step,) = named(spans, "sglang.forward")
        assert step["status"] == "ERROR"
        assert events(step) == ["jit.compile", "exception"]
        assert own(spans, "scheduler")["status"] == "ERROR"


def test_without_sglangs_tracing_a_request_is_in_one_trace_of_its_own_and_the_log_says_so(
    schedulers: dict[str, Ended],
) -> None:
    untraced = schedulers["untraced"]
    assert untraced.log.count("SGLang runs without --enable-trace") == 1
    found = {
        trace: named(spans, "sglang.forward")
        for trace, spans in untraced.receiver.traces.items()
        if any(step["attributes"].get("gen_ai.request.id") == "both-1" for step in named(spans, "sglang.forward"))
    }
    sent = {context[0] for ended in schedulers.values() for context in ended.contexts.values()}
    own = {trace: steps for trace, steps in found.items() if trace not in sent}
    ((_, steps),) = own.items()
    first, second = sorted(steps, key=lambda step: step["start_unix_nano"])
    assert second["parent_span_id"] == first["span_id"]


@pytest.mark.parametrize("case", ["jitspan-off", "sdk-off"])
def test_switched_off_it_stands_nowhere(schedulers: dict[str, Ended], case: str) -> None:
    off = schedulers[case]
    assert off.answer["armed"] is False
    assert off.status["standing"] == []
    assert off.status["missing"] == []
    if case == "jitspan-off":  # else SGLang has no trace either
        assert not named(off.trace("both-1", "prefill_forward"), "sglang.forward")
