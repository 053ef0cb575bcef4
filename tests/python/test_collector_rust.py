"""A Rust program that sets its exporter in code, TLS and token included, and the real Collector as the receiver."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
from support.certificates import certificates
from support.collector import BINARY, Collector, attributes

ROOT = Path(__file__).parents[2]
PROGRAM = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/rust_jit"

pytestmark = [
    pytest.mark.skipif(not BINARY.exists(), reason="needs the Collector: make backends"),
    pytest.mark.skipif(not PROGRAM.exists(), reason="needs the Rust examples: make test-collector"),
]


@pytest.fixture
def collector(tmp_path):
    certificates(tmp_path)
    (tmp_path / "token").write_text("sesame\n")
    (tmp_path / "wrong").write_text("open\n")
    tls = f"{{cert_file: {tmp_path}/server.pem, key_file: {tmp_path}/server.key}}"
    running = Collector(tmp_path, tls=tls, token="sesame")
    running.start()
    yield running
    running.stop()


def run(collector: Collector, token: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs the example with what it sets in code, and no variable of OpenTelemetry's or ours but these."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "JITSPAN_"))}
    # The examples embed Python: one of them runs it.
    libraries = [sysconfig.get_config_var("LIBDIR"), *filter(None, [environment.get("LD_LIBRARY_PATH")])]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
    said = [f"https://127.0.0.1:{collector.grpc_port}", str(collector.folder / token), str(collector.folder / "ca.pem")]
    return subprocess.run([PROGRAM, *said], env=environment | env, capture_output=True, text=True, timeout=60)


def test_what_the_program_says_in_code_holds_for_our_spans_as_for_its_own(collector):
    finished = run(collector, "token")
    assert (finished.returncode, finished.stdout.split("\n")) == (0, ["3^2 = 9", "3^5 = 243", ""]), finished.stderr
    collector.stop()
    spans = collector.spans_with_resource()
    requests = {attributes(span)["exponent"]: span for _, span in spans if span["name"] == "request"}
    [own] = [span for _, span in spans if span["name"] != "request"]
    assert sorted(requests) == ["2", "5"]
    assert (own["traceId"], own["parentSpanId"]) == (requests["5"]["traceId"], requests["5"]["spanId"])
    assert (own["name"], attributes(own)["jit.runtime"]) == ("jit.compile", "cranelift")
    assert [event["name"] for event in requests["5"]["events"]] == ["jit.compile"]
    # One resource, the program's.
    [resource] = [dict(resource) for resource in {tuple(sorted(resource.items())) for resource, _ in spans}]
    assert (resource["service.name"], resource["telemetry.sdk.name"]) == ("rust_jit", "opentelemetry")


def test_the_program_hears_of_the_compile_and_of_a_token_that_is_refused(collector):
    finished = run(collector, "wrong")
    assert finished.returncode in (0, 1)  # its own provider says at its shutdown that it could not send
    collector.stop()
    assert collector.spans() == []
    lines = [line for line in finished.stderr.splitlines() if " jitspan: " in line]
    [compiled, refused] = lines
    assert "WARN" in compiled
    assert 'kernel="power"' in compiled
    assert "requests=1" in compiled
    assert "WARN" in refused
    assert "Unauthenticated" in refused


def test_the_variable_that_switches_traces_off_is_the_operators_last_word(collector):
    assert run(collector, "token", OTEL_TRACES_EXPORTER="none").returncode == 0
    collector.stop()
    assert [span["name"] for span in collector.spans()] == ["request", "request"]
