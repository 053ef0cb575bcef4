"""A kernel that is loaded onto the device: told where that took long, or found little memory."""

from __future__ import annotations

import json

import pytest

triton = pytest.importorskip("triton")
VERSION = tuple(int(part) for part in triton.__version__.split(".")[:2])

pytestmark = pytest.mark.skipif(VERSION < (3, 5), reason="Triton tells of loads from 3.5 on")

SCRIPT = """
import sys, time, types
import fake_gpu, triton, jitspan
from kernels import add
from triton.runtime import driver

cuda = types.ModuleType("torch.cuda")
cuda.is_initialized = lambda: True
cuda.mem_get_info = lambda: ({free}, 80 << 30)
sys.modules["torch.cuda"] = cuda
utils = driver.active.utils
load = utils.load_binary
utils.load_binary = lambda *arguments: (time.sleep({seconds}), load(*arguments))[1]
runtime = triton.knobs.runtime
count = lambda: [len(chain.calls) for chain in (runtime.kernel_load_start_hook, runtime.kernel_load_end_hook)]
before = count()
jitspan.activate()
x = fake_gpu.FakeTensor("float32")
with jitspan.request(name="request"):
    for _ in range(2):
        add[(1,)](x, x, x, 1024, BLOCK=128)
jitspan.deactivate()
jitspan.flush()
assert count() == before, "left something behind"
"""


def loads(scripts, *, seconds=0.0, free=40 << 30, **variables):
    environment = {"OTEL_TRACES_EXPORTER": "console", "JITSPAN_COMPILE_SPANS": "0", **variables}
    finished = scripts.run(SCRIPT.format(seconds=seconds, free=free), env=environment)
    assert finished.returncode == 0, finished.stderr
    spans = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
    events = [event for span in spans for event in span["events"]]
    assert events[0]["name"] == "jit.compile"
    return [event["attributes"] for event in events[1:]]


def test_a_load_that_waits_for_the_device_is_told_once(scripts):
    [load] = loads(scripts, seconds=0.05)
    assert (load["jit.kernel.name"], load["jit.cache.result"]) == ("add", "unknown")
    assert load["jit.duration"] >= 0.05
    assert load["jit.device.free_memory"] == 40 << 30


def test_a_load_that_finds_little_memory_is_told(scripts):
    [load] = loads(scripts, free=1 << 20)
    assert load["jit.device.free_memory"] == 1 << 20


def test_a_load_like_all_others_is_not_told(scripts):
    assert loads(scripts, JITSPAN_SLOW_LOAD="10") == []


def test_both_settings_are_the_users(scripts):
    assert loads(scripts, seconds=0.05, free=1 << 20, JITSPAN_SLOW_LOAD="10", JITSPAN_LOW_MEMORY="1000") == []
