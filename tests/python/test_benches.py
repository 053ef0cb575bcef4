"""The benches run: a few loops of each row. The Rust rows, which `cargo test` goes through, are left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).parents[2] / "benches"
sys.path.insert(0, str(BENCHES))

import plot  # noqa: E402
import results  # noqa: E402
from readings import Figure, Found  # noqa: E402
from table import ROWS, Goal, Row  # noqa: E402

ROW = Row("A row", "{python} row.py", goals=[Goal("<= 2 us", lambda found: found["ours"], 2.0, because="of that")])


@pytest.mark.timeout(600)
def test_each_row_runs_or_says_why_not():
    run = [sys.executable, str(BENCHES / "run.py"), "--quick", "--without-rust"]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "FAILED" not in done.stdout
    # These need nothing but what is there for the tests.
    for name in ("jitspan.request: ", "opentelemetry-sdk `span.add_event`: ", "both: ", "10,000 objects: "):
        assert f"\n  {name}" in done.stdout


def test_each_file_is_a_row():
    commands = " ".join(row.command for row in ROWS)
    files = {path.stem for path in (BENCHES / "rows").iterdir() if path.is_file()} - {"support", "triton_kernel"}
    assert {name for name in files if f"{name}.py" not in commands and f"--bench {name}" not in commands} == set()


@pytest.mark.parametrize(("value", "verdict"), [(1.5, "yes"), (3.0, "**no**: of that")])
def test_a_goal_that_is_missed_is_said_to_be(value, verdict):
    found = Found([Figure("ours", value, "us")])
    assert list(results.summary(ROW, found, {})) == [f"| A row | <= 2 us | {value:g} | {verdict} |"]


def test_a_row_that_cannot_run_has_its_reason_and_no_figure():
    assert list(results.summary(ROW, Found(skipped="no GPU here"), {})) == [
        "| A row | <= 2 us | SKIPPED: no GPU here | not run |"
    ]


def test_a_plot_shows_each_point():
    drawn = plot.svg("Title", ("requests", "us"), {"events": [(1, 2.0), (10, 20.0), (256, 219.0)]})
    assert drawn.count("<circle") == 3
    assert ">219</text>" in drawn
