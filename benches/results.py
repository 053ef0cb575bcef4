"""Writes `RESULTS.md` and the plots."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import plot
from readings import ROOT, Figure, Found, command, number
from table import Goal, Row

FOLDER = ROOT / "benches"
PACKAGES = ["jitspan", "opentelemetry-sdk", "ddtrace", "logfire", "pyperf"]


def write(rows: list[tuple[Row, Found]], seconds: float, load: float) -> None:
    (FOLDER / "RESULTS.md").write_text("\n".join(lines(rows, seconds, load)) + "\n")
    (FOLDER / "growth").mkdir(exist_ok=True)
    for row, found in rows:
        if row.plot and found.figures:
            (FOLDER / "growth" / f"{row.plot}.svg").write_text(plot.svg(row.name, row.axes, series(found)))


def lines(rows: list[tuple[Row, Found]], seconds: float, load: float) -> Iterator[str]:
    yield "# What it costs, and compared with what"
    yield ""
    yield f"Written by `make bench` in {seconds / 60:.0f} minutes."
    yield "[README.md](README.md) says how to read and repeat it."
    yield ""
    yield f"- Machine: {machine()}; load average {load:.1f} when it began"
    tools = ", ".join(tool(name, "--version") for name in ("rustc", "valgrind"))
    yield f"- {platform.python_implementation()} {platform.python_version()}, {tools}"
    yield "- " + ", ".join(filter(None, map(installed, PACKAGES)))
    if load > 0.5:
        yield "- Other work ran beside it: instructions hold, and so do ratios within a row; times are too long."
    yield ""
    known = {figure.name: figure.value for _, found in rows for figure in found.figures}
    yield "| what | goal | measured | reached |"
    yield "|---|---|---|---|"
    for row, found in rows:
        yield from summary(row, found, known)
    for row, found in rows:
        yield from details(row, found)


def summary(row: Row, found: Found, known: dict[str, float]) -> Iterator[str]:
    if not found.figures:
        yield f"| {row.name} | {'; '.join(goal.text for goal in row.goals)} | {why(found)} | not run |"
        return
    for goal in row.goals:
        # Names that several rows have are this one's.
        value = measured(goal, known | {figure.name: figure.value for figure in found.figures})
        if value is None:
            yield f"| {row.name} | {goal.text} | what it compares is not here | not run |"
        elif goal.text.startswith("(the floor)"):
            yield f"| {row.name} | {goal.text.removeprefix('(the floor) ')} | {show(value)} | the floor |"
        elif goal.is_reached(value):
            yield f"| {row.name} | {goal.text} | {show(value)} | yes |"
        else:
            yield f"| {row.name} | {goal.text} | {show(value)} | **no**{': ' + goal.because if goal.because else ''} |"


def measured(goal: Goal, known: dict[str, float]) -> float | None:
    try:
        return goal.of(known)
    except (KeyError, ValueError):
        return None


def details(row: Row, found: Found) -> Iterator[str]:
    yield from ["", f"## {row.name}", "", "```", command(row), "```", ""]
    if not found.figures:
        yield f"Not run: {why(found)}."
        return
    yield "| | | from | to |"
    yield "|---|---|---|---|"
    for figure in found.figures:
        yield f"| {figure.name} | {show(figure.value)} {figure.unit} | {spread(figure.low)} | {spread(figure.high)} |"
    if found.notes:
        yield ""
        yield from (f"- {note}" for note in found.notes)
    if row.plot:
        yield from ["", f"![{row.name}](growth/{row.plot}.svg)"]


def series(found: Found) -> dict[str, plot.Points]:
    series: dict[str, plot.Points] = {}
    for figure in found.figures:
        name = figure.name.split("/")[0] if "/" in figure.name else ""
        series.setdefault(name, []).append((number(figure.name), figure.value))
    return series


def why(found: Found) -> str:
    reason = found.failed.splitlines()[-1] if found.failed else found.skipped or "it gave no figure"
    return ("FAILED: " if found.failed else "SKIPPED: ") + reason.replace("|", "/").replace(str(ROOT), ".")


def show(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def spread(value: float | None) -> str:
    return "" if value is None else show(value)


def machine() -> str:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    return f"{os.cpu_count()} CPUs ({model.partition(':')[2].strip() or platform.machine()}), {platform.system()}"


def tool(*run: str) -> str:
    try:
        return subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"no {run[0]}"


def installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def one_line(figure: Figure) -> str:
    return f"  {figure.name}: {show(figure.value)} {figure.unit}"
