"""A launch of a kernel that is in memory, armed and not installed: instructions, under callgrind."""

from __future__ import annotations

import sys

from support import QUICK, collect, figure, instructions
from triton_kernel import launcher

TIMES = 20 if QUICK else 1_000


def run(armed: bool) -> None:
    import triton

    _, launch = launcher()
    # It hashes the whole installation, which takes minutes here.
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("triton") and hasattr(module, "triton_key"):
            module.triton_key = lambda: triton.__version__
    launch()
    if armed:
        import jitspan

        jitspan.activate()

    def loop(count: int) -> None:
        for _ in range(count):
            launch()

    collect(loop, TIMES)


def main() -> None:
    if sys.argv[1:2] == ["--launch"]:
        return run(sys.argv[2] == "armed")
    _, launch = launcher()
    launch()  # Into the disk cache, which the others read.
    # Twice without us: what two runs differ by is the spread.
    without = [instructions(["--launch", "not installed"], TIMES) for _ in range(1 if QUICK else 2)]
    figure("not installed", without[0], "instructions", min(without), max(without))
    figure("armed", instructions(["--launch", "armed"], TIMES), "instructions")


main()
