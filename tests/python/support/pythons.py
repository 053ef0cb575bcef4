"""Scripts in every CPython that is at hand.

`JITSPAN_TEST_PYTHONS` names the interpreters (paths with colons between them); without it, the one that runs the tests.
The module under test is found through `jitspan.__file__`: an abi3 module, which all of them load.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jitspan
import pytest

TESTS = Path(__file__).parents[1]
PYTHONS = os.environ.get("JITSPAN_TEST_PYTHONS", sys.executable).split(":")

# Before each source.
PRELUDE = """
import json, os, signal, sys, time
from support import fake_triton
fake_triton.install()
import jitspan
kernel = fake_triton.JITFunction("kernel")

def compile_one(name):
    with jitspan.request():
        kernel.launch(name)

def in_child(name):
    # A forked child has it all; one that was spawned has imported this script and nothing more.
    jitspan.activate()
    compile_one(name)
"""


class Python:
    """One interpreter, and an environment for its scripts."""

    def __init__(self, executable: str, folder: Path, environment: dict[str, str]) -> None:
        self.executable = executable
        self.folder = folder
        module = folder / "module"
        module.mkdir()
        # In a wheel with a stub the native module is in a package of its name.
        native = sys.modules.get("jitspan.jitspan", jitspan)
        (module / "jitspan.so").symlink_to(Path(native.__file__).resolve())
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "JITSPAN_"))}
        self.environment = (
            inherited
            | environment
            | {
                "PYTHONPATH": f"{module}:{TESTS}",
                # What one test kills is nothing that another should tell of.
                "JITSPAN_BOARD": str(folder / "board"),
            }
        )

    def __call__(self, source: str | Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
        if isinstance(source, str):
            script = self.folder / f"script_{len(list(self.folder.glob('script_*.py')))}.py"
            script.write_text(PRELUDE + textwrap.dedent(source))
        else:
            script = source
        return subprocess.Popen(
            [self.executable, str(script), *arguments],
            env=self.environment | {"OTEL_BSP_SCHEDULE_DELAY": "60000"} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def finish(process: subprocess.Popen[str], timeout: float = 60) -> tuple[int, str, str]:
    """Status, output and errors of a script that must end."""
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"hung: {process.communicate()}")
    assert "is held while Python runs" not in stderr, stderr
    return process.returncode, stdout, stderr
