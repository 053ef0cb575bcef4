"""What a replay spares: late launches on a GPU, cold, with Triton's cache kept, and after a replay.

Each row is a start of its own: 18 late specializations of two kernels, and 3 tunings of 8 configurations. A stall is
the time that the launching thread is held up, all launches together.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support import QUICK, figure, has, skip

if not has("torch", "triton", "jitspan"):
    skip("no torch here, or no Triton")

import jitspan
import torch
import triton
import triton.language as tl

if not torch.cuda.is_available():
    skip("no GPU here")

ROWS = 1024


@triton.jit
def normalize(x, y, n, stride, epsilon, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    index = tl.arange(0, BLOCK)
    value = tl.load(x + row * stride + index, mask=index < n, other=0.0).to(tl.float32)
    mean = tl.sum(value, axis=0) / n
    centred = tl.where(index < n, value - mean, 0.0)
    scale = tl.rsqrt(tl.sum(centred * centred, axis=0) / n + epsilon)
    tl.store(y + row * stride + index, centred * scale, mask=index < n)


@triton.jit
def multiply(a, b, c, k, stride, BLOCK: tl.constexpr, STEP: tl.constexpr):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    column = tl.arange(0, BLOCK)
    step = tl.arange(0, STEP)
    total = tl.zeros((BLOCK, BLOCK), tl.float32)
    for start in range(0, k, STEP):
        left = tl.load(a + row[:, None] * stride + start + step[None, :])
        right = tl.load(b + (start + step)[:, None] * stride + column[None, :])
        total = tl.dot(left, right, total)
    tl.store(c + row[:, None] * stride + column[None, :], total.to(c.dtype.element_ty))


CONFIGURATIONS = [
    triton.Config({"BLOCK": block, "STEP": step}, num_warps=warps)
    for block in (32, 64)
    for step in (32, 64)
    for warps in (4, 8)
]
tuned = triton.autotune(configs=CONFIGURATIONS, key=["k"])(triton.jit(multiply.fn))


def launches() -> tuple[list, list]:
    half, single = (torch.ones(1024 * 1024, device="cuda", dtype=kind) for kind in (torch.float16, torch.float32))
    plain = [
        lambda n=n, block=block, x=x: normalize[(4,)](x, single, n, 1024, 1e-5, BLOCK=block)
        for x in (half, single)
        for block in (512, 1024)
        for n in (1, 17, 512)
    ]
    plain += [
        lambda block=block, k=k: multiply[(2,)](half, half, half, k, 1024, BLOCK=block, STEP=32)
        for block in (32, 64)
        for k in (32, 33, 1)
    ]
    return plain, [lambda k=k: tuned[(2,)](half, half, half, k, 1024) for k in (64, 128, 256)]


def held_up(calls: list, busy: bool) -> float:
    total = 0.0
    for call in calls:
        torch.cuda.synchronize()
        if busy:
            torch.cuda._sleep(100_000_000)  # some 55 ms
        began = time.perf_counter()
        call()
        total += time.perf_counter() - began
    torch.cuda.synchronize()
    return total


def start(busy: bool, threads: int | None) -> None:
    plain, tunings = launches()
    # What a process pays once is not what is measured.
    held_up(
        [lambda: normalize[(4,)](torch.ones(64, device="cuda"), torch.ones(64, device="cuda"), 64, 64, 0.5, BLOCK=64)],
        False,
    )
    counts = jitspan.preload(threads=threads) if threads is not None else {"seconds": 0.0}
    jitspan.activate()
    result = {"plain": held_up(plain, busy), "tuned": held_up(tunings, busy), "start": counts["seconds"]}
    stats = jitspan.stats()
    result["came"] = sum(stats[f"events.{kind}"] for kind in ("compile", "load", "autotune"))
    print(json.dumps(result))


def row(name: str, cache: Path, manifest: Path, *, busy: bool = False, threads: int | None = None, **more: str) -> None:
    environment = {
        **os.environ,
        "TRITON_CACHE_DIR": str(cache),
        "JITSPAN_MANIFEST": str(manifest),
        "OTEL_TRACES_EXPORTER": "none",
        "TRITON_PRINT_AUTOTUNING": "0",
        **more,
    }
    command = [sys.executable, __file__, json.dumps([busy, threads])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    for key, what in (("plain", "stall, plain"), ("tuned", "stall, tuned"), ("start", "at start")):
        figure(f"{name}: {what}", found[key], "s")
    print(f"NOTE\t{name}: came late: {found['came']}", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, none = folder / "manifest", folder / "none"
        row("cold", folder / "kept", manifest)
        if QUICK:
            return
        row("cache kept", folder / "kept", none)
        row("cache kept, device busy", folder / "kept", none, busy=True)
        kept = {"TRITON_CACHE_AUTOTUNING": "1"}
        row("(fills the cache of tunings)", folder / "kept", none, **kept)
        row("cache and tunings kept", folder / "kept", none, **kept)
        row("cache and tunings kept, device busy", folder / "kept", none, busy=True, **kept)
        for threads in (1, 4, 8, 16):
            row(f"replay, nothing kept, {threads} threads", folder / f"new_{threads}", manifest, threads=threads)
        row("replay, cache kept", folder / "kept", manifest, threads=8)
        row("replay, cache kept, device busy", folder / "kept", manifest, busy=True, threads=8)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        start(*json.loads(sys.argv[1]))
    else:
        main()
