"""What only a GPU can show: real launches, real tunings, Inductor. Needs torch with CUDA; `make test-gpu`.

Each test is a script in a process of its own, whose spans the console exporter prints.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

KERNELS = """
import json, time
import torch, triton, triton.language as tl
import jitspan

@triton.jit
def scale(x, n, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + index, tl.load(x + index, mask=index < n) * 2, mask=index < n)

@triton.autotune([triton.Config({"BLOCK": block}) for block in (128, 256, 512)], key=["n"])
@triton.jit
def tuned(x, n, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + index, tl.load(x + index, mask=index < n) + 1, mask=index < n)

def grid(meta):
    return (triton.cdiv(meta["n"], meta["BLOCK"]),)

x = torch.ones(4096, device="cuda")
"""


@pytest.fixture
def run(tmp_path):
    def run(script: str, **more: str):
        """The script's last line, and the events of each span by the span's name."""
        file = tmp_path / "script.py"  # Triton and Inductor read the source of a kernel from its file.
        file.write_text(KERNELS + textwrap.dedent(script))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "JITSPAN_"))},
            "OTEL_TRACES_EXPORTER": "console",
            "TRITON_CACHE_DIR": str(tmp_path / "triton"),
            "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"),
            **more,
        }
        command = [sys.executable, "-W", "ignore", str(file)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        spans = [json.loads(line) for line in lines if line.startswith('{"') and '"events"' in line]
        events = {span["name"]: [(event["name"], event["attributes"]) for event in span["events"]] for span in spans}
        return json.loads(lines[-1]), {name: found for name, found in events.items() if found}, done.stderr

    return run


def brief(events):
    return [(name, found["jit.kernel.name"], found.get("jit.changes")) for name, found in events if "." in name]


def test_compiles_launches_and_results(run):
    correct, events, _ = run("""
        scale[(32,)](x, 4096, BLOCK=128)
        jitspan.activate()
        correct = []
        def step(name, tensor, n, **more):
            before = tensor.clone()
            with jitspan.request(name=name):
                scale[(32,)](tensor, n, **more)
            torch.cuda.synchronize()
            before[:n] *= 2
            correct.append(torch.equal(tensor, before))
        step("warm", x, 4096, BLOCK=128)
        step("n", x, 100, BLOCK=128)
        step("dtype", x.half(), 4096, BLOCK=128)
        step("aligned", torch.ones(4097, device="cuda")[1:], 4096, BLOCK=128)
        step("block", x, 4096, BLOCK=256)
        scale.device_caches.clear() if hasattr(scale, "device_caches") else scale.cache.clear()
        step("load", x, 4096, BLOCK=256)
        jitspan.flush()
        print(json.dumps(correct))
    """)
    assert correct == [True] * 6
    assert {name: brief(found) for name, found in events.items()} == {
        "n": [("jit.compile", "scale", "n: divisible by 16 -> not")],
        "dtype": [("jit.compile", "scale", "dtype of x: fp32 -> fp16")],
        "aligned": [("jit.compile", "scale", "x: aligned 16 -> unaligned")],
        "block": [("jit.compile", "scale", "BLOCK: 128 -> 256 (constexpr)")],
        "load": [("jit.load", "scale", None)],
    }


def test_a_tuning_is_timed_by_the_gpu(run):
    _, events, _ = run("""
        tuned[grid](x, 4096)
        jitspan.activate()
        for name, n in (("known", 4096), ("tuned", 2048)):
            with jitspan.request(name=name):
                tuned[grid](x, n)
        torch.cuda.synchronize()
        jitspan.flush()
        print("null")
    """)
    (tuning,) = [found for name, found in events["tuned"] if name == "jit.autotune"]
    assert list(events) == ["tuned"]
    assert tuning["jit.autotune.key"] == "n=2048"
    assert tuning["jit.autotune.benchmarked"] == 3
    assert "BLOCK" in tuning["jit.autotune.best"]
    assert tuning["jit.duration"] > 0


def test_error_mode_raises_and_the_kernel_runs_afterwards(run):
    said, events, _ = run("""
        scale[(32,)](x, 4096, BLOCK=128)
        jitspan.activate(mode="error")
        try:
            with jitspan.request(name="refused"):
                scale[(32,)](x, 4096, BLOCK=512)
            said = "nothing"
        except jitspan.UnexpectedCompileError as error:
            said = str(error)
        scale[(32,)](x, 4096, BLOCK=512)
        torch.cuda.synchronize()
        jitspan.flush()
        print(json.dumps([said, x[0].item()]))
    """)
    assert "scale" in said[0]
    assert said[1] == 4.0
    assert brief(events["refused"]) == [("jit.compile", "scale", "BLOCK: 128 -> 512 (constexpr)")]


@pytest.mark.parametrize("pool", [pytest.param("1", id="in process"), pytest.param("4", id="in a pool of processes")])
@pytest.mark.parametrize("hook", ["0", "1"], ids=["hook not called", "hook called"])
def test_inductor(run, pool, hook):
    """torch.compile for a new dtype, after arming: each kernel that it made, once."""
    (correct, made), events, _ = run(
        """
        import glob, os
        from torch._inductor.async_compile import AsyncCompile

        @torch.compile(dynamic=False)
        def model(x):
            return torch.softmax(x * 2, dim=-1).sum(0) + torch.sin(x).sum(0)

        def written():
            files = glob.glob(os.environ["TRITON_CACHE_DIR"] + "/**/*.cubin", recursive=True)
            return {os.path.basename(file).removesuffix(".cubin") for file in files}

        one = torch.rand(64, 512, device="cuda")
        model(one)
        if os.environ["TORCHINDUCTOR_COMPILE_THREADS"] != "1":
            AsyncCompile.wait_pool_ready()  # Until then Inductor compiles in its own process.
        known = written()
        jitspan.activate()
        with jitspan.request(name="warm"):
            model(one)
        half = one.half()
        with jitspan.request(name="compiled"):
            got = model(half)
        torch.cuda.synchronize()
        jitspan.flush()
        want = torch.softmax(half * 2, dim=-1).sum(0) + torch.sin(half).sum(0)
        print(json.dumps([bool(torch.allclose(got, want, atol=0.1)), sorted(written() - known)]))
        """,
        TORCHINDUCTOR_COMPILE_THREADS=pool,
        TORCHINDUCTOR_RUN_JIT_POST_COMPILE_HOOK=hook,
    )
    assert correct
    assert list(events) == ["compiled"]
    compiled = [event for name, event in events["compiled"] if "." in name]
    found = [(event["jit.runtime"], event["jit.kernel.name"]) for event in compiled]
    assert sorted(kernel for runtime, kernel in found if runtime != "torch_compile") == made, found
    assert [kernel for runtime, kernel in found if runtime == "torch_compile"] == ["model"]


def test_cuda_graph_replay_is_silent_and_its_capture_is_seen(run):
    _, events, _ = run("""
        scale[(32,)](x, 4096, BLOCK=128)
        jitspan.activate()
        graph = torch.cuda.CUDAGraph()
        with jitspan.request(name="capture"), torch.cuda.graph(graph):
            scale[(32,)](x, 4096, BLOCK=256)
        with jitspan.request(name="replay"):
            graph.replay()
        torch.cuda.synchronize()
        jitspan.flush()
        print("null")
    """)
    assert {name: [kind for kind, _ in found] for name, found in events.items()} == {"capture": ["jit.compile"]}
