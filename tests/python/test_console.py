"""Spans on standard output: whoever reads them may be slow, or gone, and nobody waits for him."""

from __future__ import annotations

import json
import os

import pytest

CONSOLE = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none"}
PRELUDE = """
import json, logging, os, sys, time
from support import fake_triton
fake_triton.install()
import jitspan
kernel = fake_triton.JITFunction("rms_norm")
# Nobody reads standard error either.
logging.getLogger("jitspan").setLevel("CRITICAL")
jitspan.activate()

def books(stats):
    dropped = sum(count for name, count in stats.items() if name.startswith("spans.dropped."))
    return stats["spans.recorded"] == stats["spans.exported"] + dropped + stats["spans.queued"]

def tell(*what):
    with open(os.environ["TOLD"], "a") as file:
        file.write(json.dumps(what) + "\\n")
"""


@pytest.fixture
def told(tmp_path):
    """What a script whose output nobody reads has written to a file, when it has ended."""
    file = tmp_path / "told"

    def run(scripts, source: str):
        process = scripts.start(PRELUDE + source, env=CONSOLE | {"TOLD": str(file)})
        try:
            assert process.wait(timeout=60) == 0, process.stderr.read()
        finally:
            process.kill()
            process.communicate()
        return [json.loads(line) for line in file.read_text().splitlines()]

    return run


def test_a_reader_that_does_not_read_holds_up_nobody_and_what_does_not_fit_is_counted(scripts, told):
    [[took, balanced, queue_full]] = told(
        scripts,
        """
began = time.monotonic()
for number in range(5000):
    kernel.launch(str(number))
stats = jitspan.stats()
tell(time.monotonic() - began, books(stats), stats["spans.dropped.queue_full"])
""",
    )
    assert took < 20
    assert balanced
    assert queue_full > 0


def test_children_that_are_forked_while_a_reader_is_behind_say_what_they_have_to_and_end(scripts, told):
    [counts] = told(
        scripts,
        """
def child():
    kernel.launch("in the child")
    recorded = jitspan.stats()["spans.recorded"]
    os._exit(7 if recorded == 1 else 1)

ended = []
for number in range(200):
    kernel.launch(str(number))
    if number % 10:
        continue
    pid = os.fork()
    if pid == 0:
        child()
    until = time.monotonic() + 10
    while (found := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
        time.sleep(0.01)
    if found == (0, 0):
        os.kill(pid, 9)
        found = os.waitpid(pid, 0)
    ended.append(os.waitstatus_to_exitcode(found[1]))
tell(ended.count(7), len(ended))
""",
    )
    assert counts == [20, 20]


def test_each_span_is_a_line_as_soon_as_it_has_ended(scripts):
    finished = scripts.run(
        PRELUDE
        + """
for number in range(50):
    kernel.launch(str(number))
assert jitspan.flush(timeout=10)
stats = jitspan.stats()
print(json.dumps([stats["spans.exported"], books(stats)]), flush=True)
os._exit(0)
""",
        env=CONSOLE,
    )
    *lines, last = finished.check().stdout.splitlines()
    assert json.loads(last) == [50, True]
    assert [json.loads(line)["name"] for line in lines] == ["jit.compile"] * 50


def test_an_output_that_is_closed_is_counted_as_a_refusal(scripts, tmp_path):
    file = tmp_path / "told"
    scripts.run(
        PRELUDE
        + """
os.close(1)
kernel.launch("a")
assert jitspan.flush(timeout=10)
stats = jitspan.stats()
tell(stats["spans.dropped.refused"], books(stats), stats["export.last_error"])
""",
        env=CONSOLE | {"TOLD": os.fspath(file)},
    )
    refused, balanced, error = json.loads(file.read_text())
    assert (refused, balanced) == (1, True)
    assert "standard output" in error
