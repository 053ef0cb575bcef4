"""What docs/replay.md tells a reader to type works as it stands."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.pages import ROOT, script

PAGE = ROOT / "docs" / "replay.md"


def test_every_command_runs_and_the_second_start_has_no_stall(scripts, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("needs curl, as a reader does")
    commands = script(PAGE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert commands.count("8000") == 3
    commands = commands.replace("8000", str(port))
    # A checkout of its own, as far as the commands look.
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {
        **scripts.environment,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "TRITON_PRINT_AUTOTUNING": "0",
    }
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", 'trap "kill \\$(jobs -p) 2>/dev/null || true" EXIT\n' + commands],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 specialization and 0 tunings of 1 kernel" in ended.stdout
    assert "-> Launch `attention_softmax` in the warm-up" in ended.stdout
    assert (tmp_path / "report.html").stat().st_size > 1000
    assert "<testsuite" in (tmp_path / "report.xml").read_text()


def test_the_page_names_every_setting_that_the_readme_has():
    settings = set(re.findall(r"`(JITSPAN_(?:MANIFEST|PRELOAD\w*|SPECIALIZATION))`", (ROOT / "README.md").read_text()))
    assert settings == {"JITSPAN_MANIFEST", "JITSPAN_PRELOAD", "JITSPAN_PRELOAD_TIMEOUT", "JITSPAN_SPECIALIZATION"}
