"""Fixtures: scripts that run in the virtual environment of one tracing SDK, and one receiver for their spans and ours.

`make test-live-spans` makes the environments; jitspan and Triton are those of the Python that runs pytest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/python")]

from support.receiver import Receiver  # noqa: E402

SCRIPT_TIMEOUT = 90.0  # seconds; a first compile takes some
ENVIRONMENTS = ROOT / "build/live-spans"


@dataclass(frozen=True)
class Sdk:
    """A virtual environment with one tracing SDK."""

    name: str
    folder: Path
    receiver: Receiver

    @property
    def environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OTEL_", "JITSPAN_", "TRITON_", "DD_", "LOGFIRE_"))
        }
        path = [self.folder / "path", ROOT / "tests/live_spans", ROOT / "tests/python", ROOT / "examples"]
        return {
            **inherited,
            **self.receiver.environment("http/protobuf"),
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "TRITON_CACHE_DIR": str(self.folder / "triton"),
        }

    def start(self, source: str, *, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        python = ENVIRONMENTS / self.name / "bin/python"
        assert python.exists(), "`make test-live-spans` makes it"
        script = self.folder / "script.py"
        script.write_text(textwrap.dedent(source))
        return subprocess.Popen(
            [str(python), str(script)],
            env=self.environment | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, source: str, *, env: dict[str, str] | None = None) -> Any:
        """Runs a script to its end. Returns the JSON of its last line, if that is some."""
        process = self.start(source, env=env)
        try:
            stdout, stderr = process.communicate(timeout=SCRIPT_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            pytest.fail(f"the script ran longer than {SCRIPT_TIMEOUT} s\n{stdout}\n{stderr}")
        assert process.returncode == 0, stderr
        return json.loads(stdout.splitlines()[-1]) if stdout else None


def _sdk(name: str, folder: Path, receiver: Receiver) -> Sdk:
    # Not their site-packages as a whole: the SDKs there would hide those under test.
    path = folder / "path"
    path.mkdir()
    for module in ("jitspan", "triton"):
        spec = find_spec(module)
        assert spec is not None, f"{module} is missing in {sys.executable}"
        origin = Path(spec.origin)
        origin = origin.parent if spec.submodule_search_locations else origin
        (path / origin.name).symlink_to(origin)
    # Triton finds its back ends by the entry points in its metadata.
    for metadata in Path(find_spec("triton").origin).parents[1].glob("triton-*.dist-info"):
        (path / metadata.name).symlink_to(metadata)
    return Sdk(name, folder, receiver)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture(params=["oldest", "newest"])
def opentelemetry(request, tmp_path: Path, receiver: Receiver) -> Sdk:
    """opentelemetry-python at the oldest version that jitspan supports, and at the newest."""
    return _sdk(request.param, tmp_path, receiver)


@pytest.fixture
def logfire(tmp_path: Path, receiver: Receiver) -> Sdk:
    return _sdk("logfire", tmp_path, receiver)


@pytest.fixture
def ddtrace(tmp_path: Path, receiver: Receiver) -> Sdk:
    """ddtrace, with opentelemetry-python's SDK beside it."""
    return _sdk("ddtrace", tmp_path, receiver)
