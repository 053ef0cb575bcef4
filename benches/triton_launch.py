"""What jitspan costs a Triton kernel, on the fake GPU.

    python benches/triton_launch.py            # times, armed against not installed, in one run
    python benches/triton_launch.py --count    # instructions, under callgrind (valgrind must be there)

Batches with jitspan armed and without it alternate, so that a slow minute of the machine slows both. Prints ratios:
this is a comparison, not a test.
"""

from __future__ import annotations

import gc
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import reduce
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))
# Nobody listens there: what is recorded waits in the queue, as it does in a server.
os.environ.setdefault("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
os.environ["TRITON_PRINT_AUTOTUNING"] = "0"
os.environ.setdefault("TRITON_CACHE_DIR", tempfile.mkdtemp(prefix="bench-triton-"))

LAUNCHES = 1000
BATCHES = 60
LOADS = 10
COMPILE_SECONDS = 0.040

# A C function that runs Python inside: what it collects is the launches, and nothing else.
COLLECTED = "functools_reduce"


def kernels():
    import fake_gpu
    import triton
    import triton.language as tl

    fake_gpu.install()

    @triton.jit
    def scale(x, n, BLOCK: tl.constexpr):
        index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(x + index, tl.load(x + index, mask=index < n) * 2, mask=index < n)

    return scale, fake_gpu.FakeTensor("float32")


def median_and_spread(values: list[float]) -> str:
    first, middle, last = statistics.quantiles(values, n=4)
    return f"{middle:.0f} (quartiles {first:.0f} to {last:.0f})"


@contextmanager
def idle_hooks() -> Iterator[None]:
    """Triton builds what it tells its hooks only if there is a hook: hooks that do nothing show what that costs."""
    import triton

    knobs = getattr(triton, "knobs", None)
    if knobs is None:
        function = triton.runtime.jit.JITFunction
        slots = [(function, "cache_hook"), (function, "compiled_hook")]
    else:
        runtime, compilation = knobs.runtime, knobs.compilation
        slots = [(runtime, "jit_cache_hook"), (runtime, "jit_post_compile_hook"), (compilation, "listener")]
    slots = [(owner, name) for owner, name in slots if hasattr(owner, name)]
    for owner, name in slots:
        setattr(owner, name, lambda **_told: None)
    yield
    for owner, name in slots:
        setattr(owner, name, None)


@contextmanager
def armed() -> Iterator[None]:
    import jitspan

    jitspan.activate()
    yield
    jitspan.deactivate()


MODES = {"not installed": nullcontext, "hooks that do nothing": idle_hooks, "armed": armed}


def compare(batch: Callable[[], None], modes: Iterable[str], clock: Callable[[], int]) -> dict[str, list[float]]:
    """CPU time in ns of each batch, in each mode in turn."""
    times: dict[str, list[float]] = {mode: [] for mode in modes}
    for _ in range(BATCHES):
        for mode in times:
            with MODES[mode]():
                batch()  # Python adapts itself to what it runs; not counted.
                began = clock()
                batch()
                times[mode].append(clock() - began)
    return times


def measure() -> None:
    import logging

    import triton

    logging.disable(logging.CRITICAL)
    scale, x = kernels()
    scale[(1,)](x, 128, BLOCK=128)

    def launches() -> None:
        for _ in range(LAUNCHES):
            scale[(1,)](x, 128, BLOCK=128)

    print(f"triton {triton.__version__}")
    times = compare(launches, ["not installed", "armed"], time.process_time_ns)
    for mode, found in times.items():
        print(f"launch, {mode}: {median_and_spread([time / LAUNCHES for time in found])} ns of CPU")
    print(f"ratio: {statistics.median(times['armed']) / statistics.median(times['not installed']):.3f}")

    caches = getattr(scale, "device_caches" if hasattr(scale, "device_caches") else "cache")

    # A load from the disk cache goes through all that a compile does, and varies by less than one.
    def loads() -> None:
        for _ in range(LOADS):
            caches.clear()
            scale[(1,)](x, 128, BLOCK=128)

    for name, clock in (("the launching thread", time.thread_time_ns), ("all threads", time.process_time_ns)):
        times = compare(loads, MODES, clock)
        print(f"load, CPU of {name}:")
        loaded = {mode: [time / LOADS / 1000 for time in found] for mode, found in times.items()}
        for mode, found in loaded.items():
            print(f"  {mode}: {median_and_spread(found)} us")
        without, idle, ours = (statistics.median(found) for found in loaded.values())
        for what, share in (("Triton's, for any hook", idle - without), ("ours", ours - idle), ("sum", ours - without)):
            print(f"  of a compile of 40 ms, {what}: {share / 1e6 / COMPILE_SECONDS:.2%} ({share:.0f} us)")


def launch_for_callgrind(armed: bool) -> None:
    """Runs under callgrind, from a warm disk cache."""
    import triton

    scale, x = kernels()
    # It hashes the whole installation, which takes minutes here.
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("triton") and hasattr(module, "triton_key"):
            module.triton_key = lambda: triton.__version__
    scale[(1,)](x, 128, BLOCK=128)
    if armed:
        import jitspan

        jitspan.activate()

    def launches(_total: None, count: int) -> None:
        for _ in range(count):
            scale[(1,)](x, 128, BLOCK=128)

    launches(None, 200)  # Python adapts itself to what it runs.
    # A collection takes millions of instructions, whenever it comes.
    gc.collect()
    gc.disable()
    reduce(launches, [LAUNCHES], None)


def count() -> None:
    import triton

    counts = {}
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OTEL_TRACES_EXPORTER": "none"}
    for armed in ("", "armed"):
        run = [sys.executable, "-W", "ignore", __file__, "--launch", armed]
        subprocess.run(run, env=environment, check=True)
        callgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--toggle-collect={COLLECTED}"]
        done = subprocess.run([*callgrind, *run], env=environment, check=True, capture_output=True, text=True)
        (collected,) = [line for line in done.stderr.splitlines() if "Collected" in line]
        counts[armed] = int(collected.rpartition(":")[2])
        each = counts[armed] / LAUNCHES
        print(f"triton {triton.__version__}, {armed or 'not installed'}: {each:.1f} instructions a launch")
    print(f"ratio: {counts['armed'] / counts['']:.6f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--launch", armed]:
            launch_for_callgrind(bool(armed))
        case ["--count"] if shutil.which("valgrind"):
            count()
        case ["--count"]:
            sys.exit("triton_launch: no valgrind here")
        case _:
            measure()
