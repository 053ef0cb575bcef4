"""From what Jaeger has to a start without a stall; and the report's page in a real browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from backends import ROOT, wait_until
from conftest import Running

JITSPAN = Path(sys.executable).with_name("jitspan")

REPLICA = """
    import json, sys
    import jitspan, kernels

    counts = jitspan.preload(*sys.argv[1:2], timeout=30) if sys.argv[1:] else None
    jitspan.activate()
    with jitspan.batch([None, None], name="step"):
        kernels.launch_add({length})
    with jitspan.request(None, name="other"):
        kernels.launch_tuned_copy()
    jitspan.flush(10)
    stats = jitspan.stats()
    print(json.dumps([counts, sum(stats[f"events.{{kind}}"] for kind in ("compile", "load", "autotune"))]))
"""


def test_what_any_replica_paid_for_is_warm_at_the_next_start(running: Running, tmp_path: Path) -> None:
    jaeger = running.jaeger()

    def replica(number: int, length: int, *arguments: str) -> list:
        script = tmp_path / "replica.py"
        script.write_text(re.sub("^    ", "", REPLICA.format(length=length), flags=re.MULTILINE))
        path = [str(ROOT / "tests" / "python"), str(ROOT / "examples"), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "TRITON_CACHE_DIR": str(tmp_path / f"cache_{number}"),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{jaeger.otlp_grpc}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_SERVICE_NAME": "fleet",
        }
        command = [sys.executable, str(script), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    for number, length in enumerate((1, 17)):
        assert replica(number, length)[1] == 4
    wait_until(lambda: len(jaeger.search(service="fleet")) >= 6, 20, "all traces are in Jaeger")

    made = tmp_path / "fleet.jsonl"
    command = [JITSPAN, "manifest", "--from-jaeger", jaeger.url, "--service", "fleet", "--since", "1h", "--out", made]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr

    lines = [json.loads(line) for line in made.read_text().splitlines()]
    add = [line for line in lines if line["kernel"]["name"] == "add"]
    assert [(line["times"], line["requests"]) for line in add] == [(1, 2), (1, 2)]
    [tuning] = [line for line in lines if line["kind"] == "tuning"]
    assert (tuning["times"], tuning["requests"]) == (2, 2)
    costs = [line["duration"] for line in lines]
    assert costs == sorted(costs, reverse=True)
    assert said.startswith(f"jitspan manifest: {len(lines)} lines, ")

    counts, came = replica(2, 17, str(made))
    assert (counts["warm"], counts["tunings_warm"], came) == (counts["total"], 1, 0)


def test_a_jaeger_that_is_not_there_and_a_service_that_is_not_known_are_said(running: Running) -> None:
    def ask(url: str) -> subprocess.CompletedProcess[str]:
        command = [JITSPAN, "manifest", "--from-jaeger", url, "--service", "nobody"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    nothing = ask(running.jaeger().url)
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "0 lines" in nothing.stderr
    away = ask("http://127.0.0.1:9")
    assert away.returncode == 1
    assert "refused" in away.stderr


MANIFEST = [
    {"kernel": {"module": "vllm.lora", "name": "expand"}, "duration": 2.5, "requests": 3},
    {"kernel": {"module": "evil", "name": "<script>document.title='evil'</script>"}, "duration": 1.0, "cache": "hit"},
]


def test_the_page_shows_its_plot_and_runs_and_loads_nothing(tmp_path: Path) -> None:
    pytest.importorskip("playwright", reason="needs playwright: requirements/backends.txt")
    from screenshots import browser

    manifest = tmp_path / "one.jsonl"
    with manifest.open("w") as file:
        for line in MANIFEST:
            told = {"v": 1, "kind": "specialization", "runtime": "triton", "cache": "miss", "requests": 1, **line}
            file.write(json.dumps(told) + "\n")
    page_file = tmp_path / "report.html"
    subprocess.run([JITSPAN, "report", manifest, "--html", page_file], check=True, capture_output=True)

    with browser() as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        assert page.title() == "3.5 s of late compiles: 2 specializations and 0 tunings of 2 kernels"
        bars = [bar.bounding_box() for bar in page.locator("svg > rect").all()]
        names = page.locator("svg .name").all_text_contents()
    assert asked == [page_file.as_uri()]
    assert names[0] == "expand"
    assert names[1].startswith("<script>")
    # As long as the seconds.
    assert bars[0]["width"] == pytest.approx(2.5 * bars[1]["width"], rel=0.02)
