"""Instructions of entering and leaving a scope, and of an empty PyO3 `with`, under callgrind."""

from __future__ import annotations

import sys

from support import QUICK, collect, figure, has, instructions, skip

TIMES = 50 if QUICK else 2_000
SUBJECTS = {
    "jitspan.request": ("jitspan", "request"),
    "empty PyO3 `with`": ("jitspan_floor", "request"),
    "PyO3 `with` that sets a context variable": ("jitspan_floor", "request_in_variable"),
}


def run(module: str, name: str) -> None:
    make = getattr(__import__(module), name)
    if module == "jitspan":
        __import__(module).activate()

    def loop(count: int) -> None:
        for _ in range(count):
            with make(None):
                pass

    collect(loop, TIMES)


def main() -> None:
    if sys.argv[1:]:
        return run(*sys.argv[1:])
    if not has("jitspan_floor"):
        skip("benches/floor is not installed: `make bench` does")
    for name, arguments in SUBJECTS.items():
        figure(name, instructions(list(arguments), TIMES), "instructions")


main()
