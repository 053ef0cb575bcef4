"""Fixtures: a receiver, and scripts run in a Python of their own.

Every script gets a fresh process and a fresh Triton cache: what a process has compiled or activated once stays.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parents[1] / "examples"
sys.path[:0] = [str(TESTS), str(EXAMPLES)]

from support.pythons import PYTHONS, Python  # noqa: E402
from support.receiver import Receiver  # noqa: E402

SCRIPT_TIMEOUT = 90.0  # seconds; a first compile takes some


@dataclass(frozen=True)
class Finished:
    """A script that has ended."""

    returncode: int
    stdout: str
    stderr: str

    def check(self) -> Finished:
        """It has ended well."""
        assert self.returncode == 0, self.stderr
        return self

    def json(self) -> Any:
        """The last line of stdout, where a script prints what the test compares."""
        return json.loads(self.check().stdout.splitlines()[-1])


@dataclass
class Scripts:
    """Runs Python source in a child process that sees the kernels, the fake GPU and jitspan."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """That of this process, less what would change what is tested."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "JITSPAN_", "TRITON_"))
        }
        return {
            **inherited,
            # What was there comes last: the matrix puts a version of Triton there.
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "TRITON_CACHE_DIR": str(self.folder / "triton"),
            # What one test kills is nothing that another should tell of.
            "JITSPAN_BOARD": str(self.folder / "board"),
        }

    def start(self, source: str, *, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        script = self.folder / f"script_{len(list(self.folder.glob('script_*.py')))}.py"
        script.write_text(textwrap.dedent(source))
        return subprocess.Popen(
            [sys.executable, str(script)],
            env=self.environment | (env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, source: str, *, env: dict[str, str] | None = None, timeout: float = SCRIPT_TIMEOUT) -> Finished:
        process = self.start(source, env=env)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            pytest.fail(f"the script ran longer than {timeout} s\n{stdout}\n{stderr}")
        assert "is held while Python runs" not in stderr, stderr
        return Finished(process.returncode, stdout, stderr)


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    return Scripts(tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(params=PYTHONS, ids=lambda path: Path(path).parent.parent.name)
def python(request: pytest.FixtureRequest, tmp_path: Path, receiver: Receiver) -> Python:
    """One of the interpreters at hand; what its scripts record goes to the receiver."""
    return Python(request.param, tmp_path, receiver.environment(metrics=True))


@pytest.fixture(params=PYTHONS, ids=lambda path: Path(path).parent.parent.name)
def silent_python(request: pytest.FixtureRequest, tmp_path: Path) -> Python:
    """One of the interpreters at hand; nothing is sent."""
    return Python(request.param, tmp_path, {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"})
