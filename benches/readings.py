"""Runs a row and reads what it has found."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from table import Row

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
LIMIT = 600  # seconds for one row


@dataclass(frozen=True)
class Figure:
    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None


@dataclass
class Found:
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # Why there are none.
    skipped: str = ""
    failed: str = ""


def command(row: Row) -> str:
    """As it is pasted into a shell, at the root of the checkout."""
    variables = {name: fill(value) for name, value in row.environment.items()}
    said = "".join(f"{name}={os.path.relpath(value, ROOT)} " for name, value in variables.items())
    more = " -p 1 -n 5 -w 1" if row.read == "pyperf" else ""
    return said + row.command.format(python="build/bench/venv/bin/python") + more


def fill(text: str) -> str:
    site = f"lib/python{sysconfig.get_python_version()}/site-packages"
    return text.format(root=ROOT, site=site, python=sys.executable)


class Readings:
    """`quick`: a few loops of each, and no figure that is worth telling."""

    def __init__(self, quick: bool, folder: Path) -> None:
        self.quick, self.folder = quick, folder
        self._ran: dict[str, subprocess.CompletedProcess[str]] = {}

    def of(self, row: Row) -> Found:
        program = ROOT / shlex.split(fill(row.command))[0]
        if "/" in row.command.split()[0] and not program.exists():
            return Found(
                skipped=f"no {program.relative_to(ROOT)} here: `make test-engines` makes it, with what it needs (8 GB)"
            )
        try:
            return {"prints": self._printed, "pyperf": self._pyperf, "criterion": self._criterion}[row.read](row)
        except subprocess.TimeoutExpired:
            return Found(failed=f"took longer than {LIMIT} s")
        except subprocess.CalledProcessError as error:
            return Found(failed=(error.stderr or str(error)).strip()[-500:])

    def _run(self, row: Row, *more: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {name: fill(value) for name, value in row.environment.items()}
        if self.quick:
            environment["BENCH_QUICK"] = "1"
        run = [*shlex.split(fill(row.command)), *more]
        if run[0] == "cargo":
            run += ["--", *(["--test"] if self.quick else [])]
        return subprocess.run(run, cwd=ROOT, env=environment, check=True, capture_output=True, text=True, timeout=LIMIT)

    def _printed(self, row: Row) -> Found:
        found = Found()
        for line in self._run(row).stdout.splitlines():
            match line.split("\t"):
                case ["FIGURE", name, value, unit, *spread]:
                    found.figures.append(Figure(name, float(value), unit, *map(float, spread)))
                case ["NOTE", text]:
                    found.notes.append(text)
                case ["SKIPPED", reason]:
                    found.skipped = reason
        return found

    def _pyperf(self, row: Row) -> Found:
        """Each subject in turn, several times: a slow minute of the machine slows all of them."""
        values: dict[str, list[float]] = {}
        path = self.folder / f"{Path(shlex.split(row.command)[1]).stem}.json"
        rounds, size = (1, ["-n", "1"]) if self.quick else (ROUNDS, ["-n", "5"])
        for _ in range(rounds):
            path.unlink(missing_ok=True)
            self._run(row, "-p", "1", "-w", "1", *size, "--quiet", "-o", str(path))
            if not path.exists():
                return Found(skipped="none of what it measures is installed here")
            written = json.loads(path.read_text())
            # What all benchmarks of a file share, a lone one's name too, stands beside them.
            measured = written.get("metadata", {})
            for benchmark in written["benchmarks"]:
                runs = [value for run in benchmark["runs"] for value in run.get("values", [])]
                name = benchmark.get("metadata", {}).get("name") or measured["name"]
                values.setdefault(name, []).extend(value * 1e6 for value in runs)
        return Found(
            [Figure(name, statistics.median(each), "us", min(each), max(each)) for name, each in values.items()]
        )

    def _criterion(self, row: Row) -> Found:
        if row.command not in self._ran:
            self._ran[row.command] = self._run(row)
        found = Found()
        for group in [] if self.quick else row.groups:
            folder = ROOT / "target" / "criterion" / group
            for path in folder.rglob("new/benchmark.json"):
                said = json.loads(path.read_text())
                name = "/".join(filter(None, [said["function_id"], said["value_str"]]))
                median = json.loads(path.with_name("estimates.json").read_text())["median"]
                bounds = median["confidence_interval"]
                numbers = [median["point_estimate"], bounds["lower_bound"], bounds["upper_bound"]]
                value, low, high = (number / 1e3 for number in numbers)
                found.figures.append(Figure(name, value, "us", low, high))
        found.figures.sort(key=lambda figure: (figure.name.split("/")[0], number(figure.name)))
        return found


def number(name: str) -> float:
    """The first number in a name, for the order of a row and the place in a plot."""
    digits = [word for word in name.replace("/", " ").replace(",", "").split() if word.isdigit()]
    return float(digits[0]) if digits else 0.0
