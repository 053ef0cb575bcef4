"""Runs the Triton tests with one version of Triton after the other, each installed into a folder of its own.

    python tests/triton_matrix.py 3.0.0 3.6.0 3.9.0

Without versions, or with `TRITON_VERSIONS="3.0.0 3.9.0"` in the environment, those; else all that are known.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "triton"

VERSIONS = ["3.0.0", "3.1.0", "3.2.0", "3.3.1", "3.4.0", "3.5.1", "3.6.0", "3.7.1", "3.8.0", "3.9.0"]

COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?)")


def install(version: str) -> Path:
    target = FOLDER / version
    if not (target / "triton").exists():
        print(f"triton_matrix: installing triton {version}", flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
        subprocess.run([*pip, f"triton=={version}"], check=True)
    return target


def run(version: str) -> dict[str, int]:
    """Counts of what passed, failed and was skipped."""
    path = os.pathsep.join(filter(None, [str(install(version)), os.environ.get("PYTHONPATH")]))
    tests = sorted(str(path) for path in (ROOT / "tests" / "python").glob("test_triton_*.py"))
    pytest = [sys.executable, "-m", "pytest", *tests]
    environment = {**os.environ, "PYTHONPATH": path}
    process = subprocess.Popen(pytest, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    closing = ""
    for line in process.stdout:
        print(line, end="", flush=True)
        closing = line if COUNT.search(line) else closing
    counts = {what.rstrip("s"): int(number) for number, what in COUNT.findall(closing)}
    if process.wait() != 0 and not counts.get("failed"):
        counts["error"] = counts.get("error", 0) + 1
    return counts


def main(asked: list[str]) -> int:
    versions = asked or os.environ.get("TRITON_VERSIONS", "").split() or VERSIONS
    table = []
    for version in versions:
        print(f"\ntriton_matrix: triton {version}", flush=True)
        began = time.monotonic()
        table.append((version, run(version), time.monotonic() - began))
    print(f"\n{'triton':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for version, counts, seconds in table:
        failed = counts.get("failed", 0) + counts.get("error", 0)
        print(f"{version:<10}{counts.get('passed', 0):>8}{failed:>8}{counts.get('skipped', 0):>9}{seconds:>9.0f}")
    broken = [
        version
        for version, counts, _ in table
        if not counts.get("passed") or counts.get("failed") or counts.get("error")
    ]
    print(f"triton_matrix: {len(table) - len(broken)} of {len(table)} versions pass", *broken)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
