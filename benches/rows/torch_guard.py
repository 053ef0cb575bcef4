"""A call of a compiled function whose guards hold, armed and not installed: instructions, under callgrind."""

from __future__ import annotations

import os
import sys

from support import QUICK, collect, figure, has, instructions, skip

TIMES = 20 if QUICK else 1_000


def run(armed: str) -> None:
    import torch

    @torch.compile(backend="eager")
    def scale(x, y):
        return x * 2 + y

    x = torch.ones(4)
    if armed:
        import jitspan

        jitspan.activate()
    scale(x, x)

    def loop(count: int) -> None:
        for _ in range(count):
            scale(x, x)

    collect(loop, TIMES)


def main() -> None:
    if sys.argv[1:]:
        # Threads of torch's own would be counted as they come.
        os.environ |= {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        run(sys.argv[1] if sys.argv[1] != "-" else "")
        return
    if not has("torch"):
        skip("no torch here: `make build/torch/2.15.0/.installed`, which is large")
    # Twice without us: what two runs differ by is the spread.
    without = [instructions(["-"], TIMES) for _ in range(1 if QUICK else 2)]
    figure("not installed", without[0], "instructions", min(without), max(without))
    figure("armed", instructions(["armed"], TIMES), "instructions")


main()
