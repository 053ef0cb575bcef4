"""examples/ray_serve.py in a real Ray, whose replica is a process that Ray starts: `make test-ray`."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "build" / "ray" / "bin" / "python"


def test_a_replica_tells_the_requests_that_waited_and_no_other(receiver, tmp_path):
    if not PYTHON.exists():
        pytest.skip("no Ray: `make test-ray` installs it")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "JITSPAN"))}
    environment = (
        inherited | receiver.environment() | {"TRITON_CACHE_DIR": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    )
    command = [str(PYTHON), str(ROOT / "examples" / "ray_serve.py"), "--port", str(port)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    # Ray puts lines of its own between them.
    assert [line for line in done.stdout.splitlines() if line.isdigit()] == ["128", "1000", "20000"]
    spans = [span for span in receiver.spans if span["name"] == "generate"]
    # 128 is warm; 1,000 is no multiple of 16; 20,000 is longer than the warm-up had.
    assert len(spans) == 2
    assert all(span["attributes"]["jit.kernels"] == "attention_softmax" for span in spans)
    assert len({span["trace_id"] for span in spans}) == 2
