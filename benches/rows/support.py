"""What the Python rows share: how a row tells what it has found, and what callgrind counts."""

from __future__ import annotations

import gc
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUICK = bool(os.environ.get("BENCH_QUICK"))

# Nobody listens there: what is recorded waits in the queue, as it does in a server.
os.environ.setdefault("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
os.environ.setdefault("OTEL_METRICS_EXPORTER", "none")

# A C function that runs Python inside: what it collects is the loop, and nothing else.
COLLECTED = "functools_reduce"


def figure(name: str, value: float, unit: str, low: float | None = None, high: float | None = None) -> None:
    """Tells `benches/run.py` one figure, with its spread if there is one."""
    spread = [] if low is None or high is None else [str(low), str(high)]
    print("\t".join(["FIGURE", name, str(value), unit, *spread]), flush=True)


def median(name: str, values: list[float], unit: str) -> None:
    """The median, with the quartiles as its spread."""
    if len(values) < 2:
        return figure(name, values[0], unit)
    first, middle, last = statistics.quantiles(values, n=4)
    figure(name, middle, unit, first, last)


def skip(reason: str) -> None:
    """This machine cannot do it."""
    print(f"SKIPPED\t{reason}", flush=True)
    sys.exit(0)


def has(*modules: str) -> bool:
    """Whether they can be imported. Imports them."""
    try:
        for module in modules:
            __import__(module)
    except ImportError:
        return False
    return True


def tests(module: str):
    """A module of the tests' own support, which has this one's name."""
    ours = sys.modules.pop("support")
    sys.path.insert(0, str(ROOT / "tests" / "python"))
    try:
        return __import__(f"support.{module}", fromlist=[module])
    finally:
        sys.path.remove(str(ROOT / "tests" / "python"))
        sys.modules["support"] = ours


def collect(loop: Callable[[int], object], times: int) -> None:
    """Runs a loop so that callgrind counts it alone."""
    loop(300)  # Python adapts itself to what it runs.
    # A collection takes millions of instructions, whenever it comes.
    gc.collect()
    gc.disable()
    reduce(lambda _total, count: loop(count), [times], None)


def instructions(arguments: list[str], times: int, **environment: str) -> float:
    """Instructions each time, of this program with these arguments, which has to `collect`."""
    if not shutil.which("valgrind"):
        skip("no valgrind here; on Debian install the package valgrind")
    if QUICK:
        # Once, and as it is: under callgrind an import of Triton takes a minute.
        subprocess.run([sys.executable, sys.argv[0], *arguments], env=os.environ | environment, check=True)
        return 0.0
    callgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--toggle-collect={COLLECTED}"]
    run = [*callgrind, sys.executable, "-W", "ignore", sys.argv[0], *arguments]
    surroundings = {**os.environ, "PYTHONHASHSEED": "0", **environment}
    done = subprocess.run(run, env=surroundings, check=True, capture_output=True, text=True)
    (collected,) = [line for line in done.stderr.splitlines() if "Collected" in line]
    return int(collected.rpartition(":")[2]) / times
