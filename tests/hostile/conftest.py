"""What is hostile to a process with jitspan, on the oldest and the newest CPython that is here.

`JITSPAN_TEST_PYTHONS` names the interpreters (paths with colons between them); without it, the one that runs the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jitspan
import pytest

HERE = Path(__file__).parent
PYTHONS = os.environ.get("JITSPAN_TEST_PYTHONS", sys.executable).split(":")


@pytest.fixture(params=PYTHONS, ids=lambda path: Path(path).parent.parent.name)
def run(request, tmp_path):
    """Runs a script of this folder in one of the interpreters, and returns its last line, read as JSON."""
    module = tmp_path / "module"
    module.mkdir()
    # In a wheel with a stub the native module is in a package of its name.
    native = sys.modules.get("jitspan.jitspan", jitspan)
    (module / "jitspan.so").symlink_to(Path(native.__file__).resolve())

    def run(script: str, *arguments: str, **env: str):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "JITSPAN_"))}
        path = os.pathsep.join(map(str, [module, HERE, HERE.parent / "python"]))
        finished = subprocess.run(
            [request.param, str(HERE / script), *arguments],
            env={**inherited, "PYTHONPATH": path, **env},
            capture_output=True,
            text=True,
            timeout=170,
        )
        assert finished.returncode == 0, finished.stderr[-4000:]
        return json.loads(finished.stdout.splitlines()[-1])

    return run
