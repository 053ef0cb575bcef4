"""Processes of one host, each active and with one stall behind it: memory of each, and what all take while idle."""

from __future__ import annotations

import subprocess
import sys
import time

from support import QUICK, ROOT, figure, has, skip

COUNTS = [1, 2] if QUICK else [1, 2, 4, 8, 16]
CHILD = """
import logging, sys
sys.path.insert(0, sys.argv[1])
from support import fake_triton
fake_triton.install()
if sys.argv[2]:
    import jitspan
    jitspan.activate()
    with jitspan.request():
        fake_triton.JITFunction("softmax").launch("1")
print("ready", flush=True)
sys.stdin.read()
"""


def start(with_us: bool) -> subprocess.Popen[str]:
    tests = str(ROOT / "tests" / "python")
    child = [sys.executable, "-c", CHILD, tests, "with" if with_us else ""]
    pipe = subprocess.PIPE
    return subprocess.Popen(child, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)


def measured(count: int, with_us: bool) -> tuple[float, float]:
    """MB of each, shared pages by their share, and CPU ms of all in a second."""
    children = [start(with_us) for _ in range(count)]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n"
        time.sleep(0.2)
        before = sum(map(cpu, children))
        time.sleep(0.2 if QUICK else 2)
        used = sum(map(cpu, children)) - before
        return sum(map(megabytes, children)) / count, used / (0.2 if QUICK else 2)
    finally:
        for child in children:
            child.stdin.close()
            child.wait(30)


def megabytes(child: subprocess.Popen[str]) -> float:
    lines = open(f"/proc/{child.pid}/smaps_rollup").read().splitlines()  # noqa: SIM115
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def cpu(child: subprocess.Popen[str]) -> float:
    """Nanoseconds on a processor, as milliseconds."""
    with open(f"/proc/{child.pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e6


def main() -> None:
    if not has("jitspan"):
        skip("jitspan is not installed here")
    for count in COUNTS:
        without, _ = measured(count, False)
        memory, used = measured(count, True)
        figure(f"{count} processes, memory of each", memory - without, "MB")
        print(f"NOTE\t{count} processes, idle: {used:.2f} ms of CPU a second")


main()
