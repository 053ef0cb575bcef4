"""For how long the search for the local root holds the interpreter from other threads, by the size of the heap."""

from __future__ import annotations

import gc
import logging
import os
import statistics
import threading
import time

from support import QUICK, figure, has, skip, tests

SIZES = [10_000] if QUICK else [10_000, 100_000, 1_000_000, 3_000_000]
os.environ["OTEL_TRACES_EXPORTER"] = "none"


class Ticker(threading.Thread):
    """Notes the longest time between two of its turns."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest, self.stop = 0.0, False

    def run(self) -> None:
        last, goes_on = time.perf_counter(), True
        while goes_on:
            # Asked before the clock: the last gap counts too.
            goes_on = not self.stop
            now = time.perf_counter()
            self.longest, last = max(self.longest, now - last), now
            time.sleep(0)


def longest_gap(body) -> float:
    """Milliseconds."""
    ticker = Ticker()
    ticker.start()
    time.sleep(0.02)
    ticker.longest = 0.0
    body()
    ticker.stop = True
    ticker.join()
    return ticker.longest * 1e3


def main() -> None:
    if not has("opentelemetry.sdk.trace", "jitspan"):
        skip("opentelemetry-sdk or jitspan is not installed here")
    logging.disable(logging.CRITICAL)
    fake_triton = tests("fake_triton")
    fake_triton.install()
    import jitspan
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("bench")
    jitspan.activate()
    kernel = fake_triton.JITFunction("softmax")
    number = 0

    def compiles() -> None:
        nonlocal number
        for _ in range(5):
            with tracer.start_as_current_span("server"), tracer.start_as_current_span("inner"):
                number += 1
                kernel.launch(str(number))

    def the_same_without() -> None:
        for _ in range(5):
            with tracer.start_as_current_span("server"), tracer.start_as_current_span("inner"):
                pass

    compiles()
    for size in SIZES:
        heap = [[item] for item in range(size)]
        gc.collect()
        idle = min(longest_gap(the_same_without) for _ in range(5))
        gaps = [longest_gap(compiles) for _ in range(5)]
        figure(f"{size:,} objects", statistics.median(gaps), "ms", min(gaps), max(gaps))
        print(f"NOTE\t{size:,} objects, without a compile: {idle:.2f} ms")
        del heap


main()
