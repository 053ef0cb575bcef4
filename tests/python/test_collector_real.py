"""The real Collector as the receiver: restarted, killed, paused, without a pipeline, with TLS. Each run closes with the
books: recorded = exported + dropped (by reason) + queued, and what was exported is what the Collector wrote.

Needs `make backends`. `JITSPAN_TEST_AWAY` (2) is how many seconds it is away in a restart, `JITSPAN_TEST_FORKS` (60)
how often is forked while TLS is set up: `make test-collector-long`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.certificates import certificates
from support.collector import BINARY, Collector

pytestmark = pytest.mark.skipif(not BINARY.exists(), reason="needs the Collector: make backends")

AWAY = float(os.environ.get("JITSPAN_TEST_AWAY", "2"))
FORKS = os.environ.get("JITSPAN_TEST_FORKS", "60")

# Compiles every millisecond or so until a line comes on stdin; then flushes and tells what became of it.
WORK = """
import json, os, sys, threading, time
from support import fake_triton
fake_triton.install()
import jitspan

kernel = fake_triton.JITFunction("rms_norm")
go_on = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), go_on.set()), daemon=True).start()
jitspan.activate()
print("ready", flush=True)
number = 0
pause = float(os.environ.get("JITSPAN_TEST_PAUSE", "0.02"))
while not go_on.wait(pause):
    with jitspan.request():
        kernel.launch(str(number))
    number += 1
flushed = jitspan.flush(timeout=float(os.environ.get("JITSPAN_TEST_FLUSH", 30)))
print(json.dumps({"flushed": flushed, "stats": jitspan.stats()}))
"""


@pytest.fixture
def collector(tmp_path):
    running = Collector(tmp_path)
    running.start()
    yield running
    running.stop()


def start(scripts, collector, protocol: str, **env: str) -> subprocess.Popen[str]:
    process = scripts.start(WORK, env=collector.environment(protocol) | env)
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> dict:
    stdout, stderr = process.communicate("\n", timeout=60)
    assert process.returncode == 0, stderr
    result = json.loads(stdout.splitlines()[-1])
    check_books(result["stats"])
    return result


def check_books(stats: dict) -> None:
    for signal_ in ("spans", "logs"):
        dropped = sum(count for name, count in stats.items() if name.startswith(f"{signal_}.dropped."))
        known = stats[f"{signal_}.exported"] + dropped + stats[f"{signal_}.queued"]
        assert stats[f"{signal_}.recorded"] == known, stats


def memory(process: subprocess.Popen[str]) -> int:
    """What it has in memory, in bytes."""
    pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def ids(collector) -> list[str]:
    return [span["spanId"] for span in collector.spans()]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_what_is_exported_is_what_the_collector_has(scripts, collector, protocol):
    process = start(scripts, collector, protocol, JITSPAN_EVENTS="both")
    time.sleep(1)
    result = finish(process)
    collector.stop()
    stats = result["stats"]
    assert result["flushed"]
    assert stats["spans.recorded"] == stats["spans.exported"] == len(set(ids(collector))) == len(collector.spans()) > 20
    assert stats["logs.recorded"] == stats["logs.exported"] == len(collector.logs())
    assert {record["eventName"] for record in collector.logs()} == {"jit.compile"}
    counts = [metric for metric in collector.metrics() if metric["name"] == "jit.compiles"]
    totals = [sum(int(point["asInt"]) for point in metric["sum"]["dataPoints"]) for metric in counts]
    assert (totals[0], totals[-1]) == (0, stats["events.compile"])


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_restart_under_load_loses_nothing_that_fits(scripts, collector, protocol):
    process = start(scripts, collector, protocol, OTEL_BSP_SCHEDULE_DELAY="100")
    for _ in range(2):
        time.sleep(0.7)
        collector.stop()
        time.sleep(2)
        collector.start()
    time.sleep(0.5)
    result = finish(process)
    collector.stop()
    stats = result["stats"]
    assert result["flushed"]
    assert stats["spans.exported"] == stats["spans.recorded"]
    # What was on its way when the Collector went may be there twice, and may be there though we were not told.
    assert len(set(ids(collector))) == stats["spans.recorded"]


@pytest.mark.timeout(AWAY + 120)
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_that_is_away_gets_everything_and_memory_stays_where_it_was(scripts, collector, protocol):
    # Two spans each 60 ms: 2,000 in a minute, which the queue of 2,048 holds.
    process = start(
        scripts, collector, protocol, OTEL_BSP_SCHEDULE_DELAY="100", JITSPAN_EVENTS="both", JITSPAN_TEST_PAUSE="0.06"
    )
    time.sleep(1)
    collector.stop()
    time.sleep(min(AWAY, 2) / 2)
    before, began = memory(process), time.monotonic()
    time.sleep(AWAY - min(AWAY, 2) / 2)
    grown, seconds = memory(process) - before, time.monotonic() - began
    collector.start()
    time.sleep(1)
    result = finish(process)
    collector.stop()
    stats = result["stats"]
    print(f"away {AWAY} s: {stats['spans.recorded']} spans, {grown / 1e6:.1f} MB more in the last {seconds:.0f} s")
    assert result["flushed"]
    assert stats["spans.exported"] == stats["spans.recorded"] == len(set(ids(collector)))
    assert stats["logs.exported"] == stats["logs.recorded"] == len(collector.logs())
    # What waits is some 1 kB a record, and no more than two queues may hold.
    assert grown < 8e6


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_paused_collector_gets_everything_when_it_goes_on(scripts, collector, protocol):
    process = start(scripts, collector, protocol, OTEL_BSP_SCHEDULE_DELAY="100", OTEL_EXPORTER_OTLP_TIMEOUT="1000")
    time.sleep(0.5)
    collector.pause()
    time.sleep(3)
    collector.go_on()
    time.sleep(0.5)
    result = finish(process)
    collector.stop()
    assert result["flushed"]
    assert result["stats"]["spans.exported"] == result["stats"]["spans.recorded"]
    assert len(set(ids(collector))) == result["stats"]["spans.recorded"]


def test_a_collector_that_is_killed_comes_back_to_a_queue_that_kept_its_bound(scripts, collector):
    process = start(scripts, collector, "grpc", OTEL_BSP_MAX_QUEUE_SIZE="50", OTEL_BSP_SCHEDULE_DELAY="100")
    time.sleep(0.5)
    collector.stop(signal.SIGKILL)
    time.sleep(3)
    collector.start()
    time.sleep(0.5)
    stats = finish(process)["stats"]
    assert stats["spans.dropped.queue_full"] > 0
    assert stats["spans.exported"] + stats["spans.dropped.queue_full"] == stats["spans.recorded"]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_collector_without_pipelines_for_metrics_and_logs_gets_the_spans(scripts, tmp_path, protocol):
    collector = Collector(tmp_path, signals=("traces",))
    collector.start()
    try:
        process = start(scripts, collector, protocol, JITSPAN_EVENTS="both", OTEL_METRIC_EXPORT_INTERVAL="100")
        time.sleep(1)
        stats = finish(process)["stats"]
    finally:
        collector.stop()
    assert stats["spans.exported"] == stats["spans.recorded"] == len(collector.spans())
    assert stats["logs.dropped.refused"] == stats["logs.recorded"]
    assert stats["metrics.exports.failed"] == 1


@pytest.mark.parametrize(("protocol", "compression"), [("grpc", "gzip"), ("grpc", "zstd"), ("http/protobuf", "gzip")])
def test_what_is_packed_the_collector_can_unpack(scripts, collector, protocol, compression):
    process = start(scripts, collector, protocol, JITSPAN_EVENTS="both", OTEL_EXPORTER_OTLP_COMPRESSION=compression)
    time.sleep(0.5)
    stats = finish(process)["stats"]
    collector.stop()
    assert (stats["metrics.exports.failed"], stats["export.last_error"]) == (0, None)
    assert stats["spans.exported"] == stats["spans.recorded"] == len(collector.spans()) > 0
    assert stats["logs.exported"] == len(collector.logs()) > 0


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_mutual_tls_and_the_systems_authorities(scripts, tmp_path, protocol):
    certificates(tmp_path)
    tls = f"{{cert_file: {tmp_path}/server.pem, key_file: {tmp_path}/server.key, client_ca_file: {tmp_path}/ca.pem}}"
    collector = Collector(tmp_path, tls=tls)
    collector.start()
    client = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": f"{tmp_path}/client.pem",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": f"{tmp_path}/client.key",
        "OTEL_METRICS_EXPORTER": "none",
    }
    try:
        # SSL_CERT_FILE is where the system's authorities are, for this process.
        for trusted in (
            {"OTEL_EXPORTER_OTLP_CERTIFICATE": f"{tmp_path}/ca.pem"},
            {"SSL_CERT_FILE": f"{tmp_path}/ca.pem"},
        ):
            process = start(scripts, collector, protocol, **client, **trusted)
            time.sleep(0.5)
            result = finish(process)
            assert result["flushed"], result
        known = len(collector.spans())
        process = start(
            scripts,
            collector,
            protocol,
            **client,
            OTEL_EXPORTER_OTLP_CERTIFICATE=f"{tmp_path}/other.pem",
            JITSPAN_TEST_FLUSH="1",
        )
        time.sleep(0.5)
        result = finish(process)
        assert not result["flushed"]
        assert "UnknownIssuer" in result["stats"]["export.last_error"]
        assert result["stats"]["spans.queued"] == result["stats"]["spans.recorded"] > 0
    finally:
        collector.stop()
    assert len(collector.spans()) == known > 0


@pytest.mark.timeout(60 + int(FORKS))
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_fork_while_tls_is_set_up_leaves_nothing_held(scripts, tmp_path, protocol):
    certificates(tmp_path)
    collector = Collector(tmp_path, tls=f"{{cert_file: {tmp_path}/server.pem, key_file: {tmp_path}/server.key}}")
    collector.start()
    storm = (Path(__file__).parent / "fork_tls.py").read_text()
    environment = collector.environment(protocol) | {
        "SSL_CERT_FILE": f"{tmp_path}/ca.pem",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_BSP_SCHEDULE_DELAY": "0",
    }
    try:
        failed = scripts.run(storm.replace("sys.argv[1]", repr(FORKS)), env=environment, timeout=60 + int(FORKS)).json()
    finally:
        collector.stop()
    assert failed == []
    # Each grandchild's span, once; a child that was ended while it sent may have sent its own.
    assert len(collector.spans()) >= int(FORKS)
