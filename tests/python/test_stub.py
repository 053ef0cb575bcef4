"""What type checkers are told is what the module has."""

from __future__ import annotations

import subprocess
import sys

import jitspan

PUBLIC = {
    "BoundFunction",
    "Instrumentor",
    "Middleware",
    "RuntimeStatus",
    "Scope",
    "UnexpectedCompileError",
    "__version__",
    "activate",
    "batch",
    "bind",
    "deactivate",
    "flush",
    "is_active",
    "main",
    "preload",
    "request",
    "stats",
    "status",
}


def test_the_public_list_is_the_public_list():
    # Entry points are found by name, and are nobody's business.
    assert {name for name in jitspan.__all__ if not name.startswith("_") or name == "__version__"} == PUBLIC


def test_every_public_name_is_documented():
    undocumented = [name for name in PUBLIC - {"__version__"} if not getattr(jitspan, name).__doc__]
    assert undocumented == []


def test_the_stub_matches_the_module():
    # The native module inside the package has no stub of its own: the package hands all of it on.
    command = [sys.executable, "-m", "mypy.stubtest", "--ignore-missing-stub", "jitspan"]
    check = subprocess.run(command, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
