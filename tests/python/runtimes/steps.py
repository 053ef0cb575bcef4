"""Steps of a truth script: what happens in each, and all that must be reported of it.

    python some_truth.py [without] [error] [STEP...]

Prints one JSON object a line: each step, with what it returned or raised, and with what is expected of it. The spans
come from the console exporter on the same output. `without` runs the same steps without jitspan.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

ARGUMENTS = sys.argv[1:]
WATCHING = "without" not in ARGUMENTS
MODE = "error" if "error" in ARGUMENTS else "warn"
CHOSEN = [argument for argument in ARGUMENTS if argument not in ("without", "error")]

STEPS: list[tuple[str, Callable[[], Any], list[dict[str, str]]]] = []

if WATCHING:
    import jitspan


def event(kind: str, kernel: str, cache: str, cause: str = "", changes: str = "", **more: str) -> dict[str, str]:
    """What is compared of one event.

    `kernel` is a part of its name, `changes` of what is said. `more`: `error`, `runtime`, `key` (of a tuning),
    `parent` (the event that it nests in), and `request`, if that is not the step itself.
    """
    known = {"event": f"jit.{kind}", "kernel": kernel, "cache": cache, "cause": cause, "changes": changes}
    return known | {"error": "", "parent": "", "request": "", "key": ""} | more


def step(*expected: dict[str, str], when: bool = True) -> Callable:
    def decorate(run: Callable[[], Any]) -> Callable:
        if when:
            STEPS.append((run.__name__, run, list(expected)))
        return run

    return decorate


def watch() -> None:
    """Before the runtime is there: it is hooked when it is imported."""
    logging.getLogger("jitspan").setLevel(logging.ERROR)
    if WATCHING:
        jitspan.activate(mode=MODE)


def request(name: str) -> Any:
    return jitspan.request(name=name) if WATCHING else contextlib.nullcontext()


def outcome(run: Callable[[], Any]) -> str:
    try:
        return repr(run())
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


def say(**line: Any) -> None:
    # In one: the console exporter writes its lines from a thread of its own.
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    for name, run, expected in STEPS:
        if CHOSEN and name not in CHOSEN:
            continue
        with request(name):
            said = outcome(run)
        say(step=name, outcome=said, expected=expected)
    if WATCHING:
        jitspan.flush()
        say(stats=jitspan.stats(), status={row.runtime: [row.state, row.missing] for row in jitspan.status()})
