"""What of a compile is ours, on a load from the disk cache: it passes through every place that a compile does but the
stages, and varies less. Rounds without us, with hooks that do nothing, and armed alternate.

Triton builds what it tells its hooks only if there is a hook: hooks that do nothing show what that costs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from support import QUICK, has, median, skip
from triton_kernel import launcher

ROUNDS = 3 if QUICK else 60
LOADS = 2 if QUICK else 10


@contextmanager
def idle_hooks() -> Iterator[None]:
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


def compare(loads: Callable[[], None], clock: Callable[[], int]) -> dict[str, list[float]]:
    """Microseconds of CPU of each load, in each mode in turn."""
    times: dict[str, list[float]] = {mode: [] for mode in MODES}
    for _ in range(ROUNDS):
        for mode, found in times.items():
            with MODES[mode]():
                loads()  # Python adapts itself to what it runs; not counted.
                began = clock()
                loads()
                found.append((clock() - began) / LOADS / 1e3)
    return times


def main() -> None:
    if not has("jitspan"):
        skip("jitspan is not installed here")
    logging.disable(logging.CRITICAL)
    scale, launch = launcher()
    launch()
    caches = getattr(scale, "device_caches" if hasattr(scale, "device_caches") else "cache")

    def loads() -> None:
        for _ in range(LOADS):
            caches.clear()
            launch()

    for name, clock in (("the launching thread", time.thread_time_ns), ("all threads", time.process_time_ns)):
        times = compare(loads, clock)
        for mode, found in times.items():
            median(f"{name}, {mode}", found, "us")
        without, idle, ours = times.values()
        # Of rounds that stood beside each other.
        median(f"{name}, ours", [a - b for a, b in zip(ours, idle, strict=True)], "us")
        median(f"{name}, Triton's own for any hook", [a - b for a, b in zip(idle, without, strict=True)], "us")


main()
