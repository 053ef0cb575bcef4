"""Engines that take their steps together: one compiles, and the requests of the others say so.

The engines are processes with the places of vLLM that jitspan stands in, and nothing else of it; their collective is a
line that one waits for and the other writes.
"""

from __future__ import annotations

import json
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from support.records import parent_id, trace_id, traceparent

MODULES = {
    "scheduler": (
        "vllm/v1/core/sched/scheduler.py",
        """
        class Scheduler:
            def __init__(self, vllm_config):
                self.vllm_config = vllm_config
                self.requests = {}

            def add_request(self, request):
                self.requests[request.request_id] = request

            def _free_request(self, request, delay_free_blocks=False):
                del self.requests[request.request_id]
        """,
    ),
    "output": (
        "vllm/v1/core/sched/output.py",
        """
        from dataclasses import dataclass

        @dataclass
        class NewRequestData:
            req_id: str

            @classmethod
            def from_request(cls, request, block_ids=None):
                return cls(request.request_id)
        """,
    ),
    "worker": (
        "vllm/v1/worker/worker_base.py",
        """
        from types import SimpleNamespace

        class WorkerWrapperBase:
            def __init__(self, vllm_config, rank):
                self.vllm_config, self.rank = vllm_config, rank

            def init_device(self):
                self.worker = SimpleNamespace(vllm_config=self.vllm_config, rank=self.rank)
        """,
    ),
}

HEAD = """
import json, os, sys, time
from types import SimpleNamespace
from support import fake_triton
fake_triton.install()
import jitspan
jitspan._vllm_plugin()

def config(engine, **said):
    parallel = dict(data_parallel_size=2, data_parallel_rank=engine, data_parallel_index=engine, is_moe_model=True,
                    data_parallel_master_ip="127.0.0.1", data_parallel_master_port=29500, data_parallel_rpc_port=29550,
                    _data_parallel_master_port_list=[29501], world_size=1)
    return SimpleNamespace(instance_id="abcde", parallel_config=SimpleNamespace(**parallel | said))

def compile_for(seconds, kernel):
    fake_triton.JITFunction(kernel, seconds).launch("n")

def say(word):
    print(word, flush=True)

def wait():
    return sys.stdin.readline()
"""

WORKER = """
from vllm.v1.worker.worker_base import WorkerWrapperBase
WorkerWrapperBase(config({engine}, **{said}), rank={rank}).init_device()
jitspan.activate()
say("armed")
while line := wait():
    seconds, kernel = json.loads(line)
    say("begins")
    compile_for(seconds, kernel)
    say("ended")
"""

ENGINE = f"""
from vllm.v1.core.sched.output import NewRequestData
from vllm.v1.core.sched.scheduler import Scheduler
scheduler = Scheduler(config(0, **SAID))
jitspan.activate()

def add(number):
    trace_headers = {{"traceparent": {[traceparent(number) for number in range(4)]}[number]}}
    request = SimpleNamespace(request_id=f"cmpl-{{number}}", trace_headers=trace_headers, arrival_time=time.time())
    scheduler.add_request(request)
    return request

def finish(request):
    scheduler._free_request(request)
    return json.loads(request.trace_headers.get("jitspan", "[]"))
"""


class Engines:
    def __init__(self, scripts: Any, receiver: Any) -> None:
        self.scripts, self.environment = scripts, receiver.environment()
        self.processes: list[subprocess.Popen[str]] = []
        folder = scripts.folder / "modules"
        for path, source in MODULES.values():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(source))
            for package in [*file.parents][: len(Path(path).parents) - 1]:
                (package / "__init__.py").touch()
        self.environment["PYTHONPATH"] = f"{folder}:{scripts.environment['PYTHONPATH']}"

    def start(self, source: str) -> subprocess.Popen[str]:
        self.processes.append(self.scripts.start(HEAD + source, env=self.environment))
        return self.processes[-1]

    def worker(self, engine: int, rank: int = 0, said: str = "{}") -> subprocess.Popen[str]:
        worker = self.start(WORKER.format(engine=engine, rank=rank, said=said))
        assert worker.stdout.readline() == "armed\n"
        return worker

    def engine(self, body: str, said: str = "{}") -> subprocess.Popen[str]:
        return self.start(f"SAID = {said}\n{ENGINE}{body}")


@pytest.fixture
def engines(scripts, receiver):
    made = Engines(scripts, receiver)
    yield made
    for process in made.processes:
        process.kill()
        process.communicate()


def compile_in(worker: subprocess.Popen[str], seconds: float, kernel: str = "attention") -> None:
    print(json.dumps([seconds, kernel]), file=worker.stdin, flush=True)
    assert worker.stdout.readline() == "begins\n"


def ended(process: subprocess.Popen[str], line: str = "") -> Any:
    """What the engine prints last."""
    stdout, stderr = process.communicate(line, timeout=60)
    assert process.returncode == 0, stderr
    return json.loads(stdout.splitlines()[-1])


def held(receiver: Any) -> list[dict[str, Any]]:
    return [span for span in receiver.spans if span["name"] == "vllm.held"]


STEP = """
running, queued = add(1), add(2)
NewRequestData.from_request(running)
say("step")
wait()  # the collective
late = add(3)
NewRequestData.from_request(queued)
print(json.dumps([finish(request) for request in (running, queued, late)]), flush=True)
"""


def test_requests_of_an_engine_that_a_peer_held_say_which_rank_compiled_what(engines, receiver) -> None:
    peer = engines.worker(engine=1, rank=3)
    engine = engines.engine(STEP)
    assert engine.stdout.readline() == "step\n"
    compile_in(peer, 0.6)
    assert peer.stdout.readline() == "ended\n"
    running, queued, late = ended(engine, "\n")

    assert late == []
    for stalls in (running, queued):
        (stall,) = stalls
        assert (stall["kind"], stall["kernel"]) == ("peer", "attention")
        assert 0.55 < stall["duration"] / 1e9 < 2
    spans = sorted(held(receiver), key=lambda span: span["trace_id"])
    assert [(span["trace_id"], span["parent_span_id"]) for span in spans] == [
        (trace_id(1), parent_id(1)),
        (trace_id(2), parent_id(2)),
    ]
    for number, span in enumerate(spans, 1):
        attributes = span["attributes"]
        assert attributes["jit.stalled"] is True
        assert attributes["jit.compile.count"] == 0
        assert attributes["jit.request.state"] == "held"
        assert attributes["gen_ai.request.id"] == f"cmpl-{number}"
        assert attributes["jit.stall.time"] == pytest.approx(0.6, abs=0.1)
        (event,) = span["events"]
        assert event["name"] == "jit.stall"
        said = event["attributes"]
        assert (said["jit.peer.data_parallel_rank"], said["jit.peer.rank"]) == (1, 3)
        assert (said["jit.runtime"], said["jit.kernel.name"]) == ("triton", "attention")
        assert said["jit.duration"] == pytest.approx(0.6, abs=0.1)
        assert said["jit.request.waited"] == pytest.approx(0.6, abs=0.1)


def test_ranks_that_somebody_else_has_started_are_known_by_their_port_for_messages(engines, receiver) -> None:
    """Each process counts the other port up."""
    peer = engines.worker(1, said="{'_data_parallel_master_port_list': [], 'data_parallel_master_port': 29502}")
    engine = engines.engine(STEP, "{'_data_parallel_master_port_list': []}")
    assert engine.stdout.readline() == "step\n"
    compile_in(peer, 0.3)
    assert peer.stdout.readline() == "ended\n"

    assert [len(stalls) for stalls in ended(engine, "\n")] == [1, 1, 0]
    assert len(held(receiver)) == 2


def test_two_peers_that_compile_at_the_same_time_are_one_wait(engines, receiver) -> None:
    peers = [engines.worker(engine=1, said="{'data_parallel_size': 3}"), engines.worker(2)]
    engine = engines.engine(STEP)
    assert engine.stdout.readline() == "step\n"
    for peer, seconds in zip(peers, (0.6, 0.5), strict=True):
        compile_in(peer, seconds)
    for peer in peers:
        assert peer.stdout.readline() == "ended\n"
    running, _, _ = ended(engine, "\n")

    assert sum(stall["duration"] for stall in running) / 1e9 == pytest.approx(0.6, abs=0.12)
    assert len([span for span in held(receiver) if span["trace_id"] == trace_id(1)]) == len(running)


@pytest.mark.parametrize(
    ("peer", "own"),
    [
        # A dense model; another server; a rank of the same engine, which tells of it itself; not data parallel.
        ({"engine": 1, "said": "{'is_moe_model': False}"}, "{'is_moe_model': False}"),
        ({"engine": 1, "said": "{'data_parallel_master_port': 29600}"}, "{}"),
        ({"engine": 0, "rank": 1}, "{}"),
        ({"engine": 1}, "{'data_parallel_size': 1}"),
    ],
    ids=["dense", "another server", "same engine", "alone"],
)
def test_who_is_not_held_is_not_told(engines, receiver, peer, own) -> None:
    worker = engines.worker(**peer)
    engine = engines.engine(STEP, own)
    assert engine.stdout.readline() == "step\n"
    compile_in(worker, 0.3)
    assert worker.stdout.readline() == "ended\n"

    assert ended(engine, "\n") == [[], [], []]
    assert held(receiver) == []


def test_what_is_short_is_not_told(engines, receiver) -> None:
    peer = engines.worker(engine=1)
    engine = engines.engine(STEP)
    assert engine.stdout.readline() == "step\n"
    compile_in(peer, 0.02)
    assert peer.stdout.readline() == "ended\n"

    assert ended(engine, "\n") == [[], [], []]
    assert held(receiver) == []


def test_what_the_engine_compiles_meanwhile_its_own_step_tells(engines, receiver) -> None:
    """A worker of the same engine in another process compiles for longer than the peer."""
    peer, own = engines.worker(engine=1), engines.worker(engine=0)
    engine = engines.engine(STEP)
    assert engine.stdout.readline() == "step\n"
    compile_in(own, 0.9)
    compile_in(peer, 0.4)
    assert peer.stdout.readline() == "ended\n"

    assert ended(engine, "\n") == [[], [], []]
    assert held(receiver) == []


def test_a_request_that_is_aborted_while_a_peer_compiles_has_waited_until_then(engines, receiver) -> None:
    peer = engines.worker(engine=1)
    body = """
request, other = add(1), add(2)
NewRequestData.from_request(request)
say("step")
wait()
aborted = finish(request)
say("aborted")
wait()
print(json.dumps([aborted, finish(other)]), flush=True)
"""
    engine = engines.engine(body)
    assert engine.stdout.readline() == "step\n"
    compile_in(peer, 1.5)
    time.sleep(0.5)
    print(file=engine.stdin, flush=True)
    assert engine.stdout.readline() == "aborted\n"
    assert peer.stdout.readline() == "ended\n"
    (aborted,), (other,) = ended(engine, "\n")

    assert aborted["duration"] / 1e9 == pytest.approx(0.5, abs=0.3)
    assert other["duration"] / 1e9 == pytest.approx(1.5, abs=0.2)
    times = {span["trace_id"]: (span["end_ns"] - span["start_ns"]) / 1e9 for span in held(receiver)}
    assert times == {trace_id(1): aborted["duration"] / 1e9, trace_id(2): other["duration"] / 1e9}


def test_a_request_that_came_in_the_middle_has_waited_from_then(engines) -> None:
    peer = engines.worker(engine=1)
    body = """
request = add(1)
NewRequestData.from_request(request)
say("step")
wait()
came = add(2)
wait()
print(json.dumps([finish(request), finish(came)]), flush=True)
"""
    engine = engines.engine(body)
    assert engine.stdout.readline() == "step\n"
    compile_in(peer, 1.0)
    time.sleep(0.5)
    print(file=engine.stdin, flush=True)
    assert peer.stdout.readline() == "ended\n"
    (request,), (came,) = ended(engine, "\n")

    assert request["duration"] / 1e9 == pytest.approx(1.0, abs=0.2)
    assert came["duration"] / 1e9 == pytest.approx(0.5, abs=0.2)


def test_a_request_pays_little_for_looking(engines) -> None:
    """While nobody writes: a call that finds nothing."""
    engines.worker(engine=1)
    body = """
def each(count):
    began = time.perf_counter()
    for _ in range(count):
        request = add(1)
        NewRequestData.from_request(request)
        finish(request)
    return (time.perf_counter() - began) / count * 1e6

each(200)
print(json.dumps(min(each(300) for _ in range(5))), flush=True)
"""
    in_group, alone = ended(engines.engine(body)), ended(engines.engine(body, "{'data_parallel_size': 1}"))
    print(f"a request: {in_group:.1f} us in a group, {alone:.1f} us alone")
    assert in_group < alone + 100  # microseconds, of a debug build
