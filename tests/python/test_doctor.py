"""`jitspan doctor`: why do I see nothing?"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from support.receiver import Answer

BIN = Path(sys.executable).parent
DOCUMENT = Path(__file__).parents[2] / "docs" / "doctor.md"


class Doctor:
    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def run(self, *flags: str, **variables: str) -> tuple[int, str, str]:
        command = [str(BIN / "jitspan"), "doctor", *flags]
        done = subprocess.run(
            command, env=self.environment | variables, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout, done.stderr

    def report(self, *flags: str, **variables: str) -> tuple[int, dict[str, Any]]:
        code, stdout, stderr = self.run("--json", *flags, **variables)
        assert stderr == ""
        return code, json.loads(stdout)


@pytest.fixture
def doctor(scripts) -> Doctor:
    return Doctor(scripts.environment)


def errors(report: dict[str, Any]) -> list[str]:
    return [problem["text"] for problem in report["problems"] if problem["level"] == "error"]


def fields(value: Any, path: str = "") -> set[str]:
    if isinstance(value, dict):
        return {found for key, inner in value.items() for found in {f"{path}{key}"} | fields(inner, f"{path}{key}.")}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {found for inner in value for found in fields(inner, path[:-1] + "[].")}
    return set()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_span_is_really_sent_and_the_collectors_answer_told(doctor, receiver, protocol):
    variables = receiver.environment(protocol) | {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abcdef"}
    code, report = doctor.report(**variables)
    assert (code, errors(report)) == (0, [])
    assert report["collector"]["accepted"] is True
    assert [span["name"] for span in receiver.spans] == ["jitspan.doctor"]
    assert receiver.exports[0].headers["authorization"] == "Bearer abcdef"


def test_offline_nothing_is_sent(doctor, receiver):
    code, report = doctor.report("--offline", **receiver.environment())
    assert (code, report["collector"], receiver.exports) == (0, None, [])


def test_the_runtimes_are_imported_elsewhere_and_their_hook_points_told(doctor):
    _, report = doctor.report("--offline")
    [triton] = [row for row in report["runtimes"] if row["runtime"] == "triton"]
    assert (triton["state"], triton["reason"]) == ("hooked", None)
    assert "triton.jit_cache_hook" in triton["standing"]
    assert all(isinstance(place, str) for place in triton["missing"])


def test_every_field_of_the_json_has_its_documented_type(doctor, receiver):
    variables = receiver.environment() | {"VLLM_PLUGINS": "jitspan", "JITSPAN_VERBOSE": "1"}
    code, report = doctor.report(**variables)
    assert code == 0
    document = DOCUMENT.read_text()
    documented: dict[str, str] = {}
    for names, kind in re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", document, re.MULTILINE):
        first, *more = re.findall(r"`([^`]*)`", names)
        documented[first] = kind
        documented |= {first.rsplit(".", 1)[0] + name: kind for name in more if name.startswith(".")}
        documented |= {name: kind for name in more if not name.startswith(".")}
    told = {field for field in fields(report) if field not in ("python",)}
    rows = {f"server_variables[].{name}" for name in ("variable", "value", "about")}
    assert told - set(documented) - rows == set()

    values = {row["variable"]: row["value"] for row in report["settings"]}
    assert values["JITSPAN_VERBOSE"] is True
    assert values["OTEL_SDK_DISABLED"] is False
    assert values["OTEL_SERVICE_NAME"] is None
    assert values["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY"] is None
    assert values["OTEL_BSP_MAX_QUEUE_SIZE"] == 2048
    assert values["JITSPAN_FLUSH_TIMEOUT"] == 2.0
    for name in ("JITSPAN", "JITSPAN_MODE", "JITSPAN_ARM", "JITSPAN_VLLM_TRACEPARENT"):
        assert name in values


def test_a_setting_that_activate_would_refuse_is_an_error_and_all_of_them_are_told(doctor):
    code, report = doctor.report("--offline", JITSPAN_EVENTS="morse", JITSPAN_MODE="loud")
    assert code == 1
    assert report["error"] in (
        'JITSPAN_EVENTS="morse": expected span, log or both',
        'JITSPAN_MODE="loud": expected warn or error',
    )
    assert {error.split("=")[0].split()[-1] for error in errors(report)} == {"JITSPAN_EVENTS", "JITSPAN_MODE"}


def test_what_is_misspelt_or_ignored_or_switched_off_is_a_warning(doctor):
    variables = {"JITSPAN_VEBROSE": "1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}
    code, report = doctor.report("--offline", **variables)
    warnings = " ".join(problem["text"] for problem in report["problems"] if problem["level"] == "warning")
    assert code == 0
    assert "did you mean JITSPAN_VERBOSE?" in warnings
    assert 'OTEL_EXPORTER_OTLP_PROTOCOL="http/json"' in warnings
    code, report = doctor.report(JITSPAN="0")
    assert (code, report["collector"]) == (0, None)
    assert any("switched off" in problem["text"] for problem in report["problems"])


@pytest.mark.parametrize("variable", ["VLLM_PLUGINS", "SGLANG_PLUGINS"])
def test_a_plugin_list_without_us_is_told(doctor, variable):
    _, report = doctor.report("--offline", **{variable: "foo,bar"})
    assert any(f"{variable}=foo,bar" in problem["text"] for problem in report["problems"])
    _, report = doctor.report("--offline", **{variable: "foo, jitspan"})
    assert not any(variable in problem["text"] for problem in report["problems"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def failure(doctor: Doctor, **variables: str) -> tuple[str, str]:
    """The word for why no span arrived, and the problem as it is told."""
    code, report = doctor.report(**variables)
    assert code == 1
    [error] = errors(report)
    assert report["collector"]["accepted"] is False
    return report["collector"]["failure"], error


def test_a_dead_endpoint_is_told(doctor):
    endpoint = f"http://127.0.0.1:{free_port()}"
    word, error = failure(doctor, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert word == "nothing_listens"
    assert "start a collector there, or set OTEL_EXPORTER_OTLP_ENDPOINT" in error


def test_a_name_without_an_address_is_told(doctor):
    word, error = failure(doctor, OTEL_EXPORTER_OTLP_ENDPOINT="http://no-such-host.invalid:4318")
    assert word == "unknown_name"
    assert "no-such-host.invalid" in error


def test_a_port_of_the_other_protocol_is_told_and_the_headers_are_not_sent_there(doctor, receiver):
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abcdef"}
    for endpoint, said, spoken in (
        (receiver.grpc_endpoint, "http/protobuf", "grpc"),
        (receiver.http_endpoint, "grpc", "http/protobuf"),
    ):
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": said}
        word, error = failure(doctor, **variables, **headers)
        assert word == "wrong_protocol"
        assert f"OTEL_EXPORTER_OTLP_PROTOCOL={spoken}" in error
    assert receiver.exports != []
    assert all("authorization" not in export.headers for export in receiver.exports)


def test_tls_where_none_is_spoken_is_told(doctor, receiver):
    endpoint = receiver.http_endpoint.replace("http://", "https://")
    word, error = failure(doctor, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert word == "wrong_protocol"
    assert "begin the address with http://" in error


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_credentials_that_are_not_wanted_are_told_and_not_shown(doctor, receiver, protocol):
    receiver.answer(Answer(grpc.StatusCode.UNAUTHENTICATED, 401, message="who is Bearer abcdef?"))
    variables = receiver.environment(protocol) | {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20abcdef"}
    word, error = failure(doctor, **variables)
    assert word == "credentials"
    assert "OTEL_EXPORTER_OTLP_HEADERS" in error
    assert "abcdef" not in error


def test_a_collector_that_says_nothing_is_waited_for_a_few_seconds(doctor):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        word, _ = failure(doctor, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert word == "no_answer"


def test_people_are_told_in_words_and_in_color_only_if_they_want(doctor, receiver):
    code, stdout, _ = doctor.run(**receiver.environment())
    assert code == 0
    assert re.search(r"collector: http://127\.0\.0\.1:\d+/ over grpc: took a span in \d+ ms", stdout)
    assert "\x1b" not in stdout
    _, stdout, _ = doctor.run("--offline", CLICOLOR_FORCE="1")
    assert "\x1b" in stdout
    _, stdout, _ = doctor.run("--offline", CLICOLOR_FORCE="1", NO_COLOR="1")
    assert "\x1b" not in stdout
