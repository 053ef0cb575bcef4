"""Settings in a Python program: the switch, what is ignored, what is misspelt."""

from __future__ import annotations

import pytest

SOURCE = """
import json, logging, jitspan

lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append((record.levelname, record.getMessage()))
logging.getLogger("jitspan").addHandler(Keep())
logging.getLogger("jitspan").setLevel(logging.INFO)
START
try:
    jitspan.activate()
    raised = None
except ValueError as error:
    raised = str(error)
print(json.dumps([raised, jitspan.is_active(), [text for level, text in lines if level != "INFO"]]))
"""


def run(scripts, variables: dict[str, str], start: str = "") -> tuple[str | None, bool, list[str]]:
    return tuple(scripts.run(SOURCE.replace("START", start), env=variables).json())


@pytest.mark.parametrize("switch", [{"JITSPAN": "0"}, {"OTEL_SDK_DISABLED": "true"}])
@pytest.mark.parametrize(
    "bad",
    [
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
        {"OTEL_EXPORTER_OTLP_HEADERS": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "htp://"},
        {"JITSPAN_EVENTS": "morse", "JITSPAN_ARM": "later"},
    ],
)
def test_the_switch_works_whatever_else_is_wrong(scripts, switch, bad):
    raised, active, _ = run(scripts, switch | bad)
    assert (raised, active) == (None, True)


def test_a_value_that_opentelemetry_ignores_is_ignored_with_one_line(scripts):
    bad = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_BSP_SCHEDULE_DELAY": "5s"}
    # A plugin prepares before it arms: that is no reason to say it twice.
    raised, active, [line] = run(scripts, bad, start="jitspan._vllm_plugin()")
    assert (raised, active) == (None, True)
    assert 'OTEL_EXPORTER_OTLP_PROTOCOL="http/json": expected grpc or http/protobuf; it is ignored' in line
    assert "OTEL_BSP_SCHEDULE_DELAY" in line


def test_the_variable_of_a_signal_that_is_not_sent_is_not_looked_at(scripts):
    assert run(scripts, {"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/json"}) == (None, True, [])


def test_a_misspelt_variable_is_told_with_the_closest_name(scripts):
    raised, active, [line] = run(scripts, {"JITSPAN_VEBROSE": "1"})
    assert (raised, active) == (None, True)
    assert line == "settings: JITSPAN_VEBROSE is no setting of jitspan: did you mean JITSPAN_VERBOSE?"


def test_a_value_that_is_not_unicode_is_refused_by_name(scripts):
    raised, active, _ = run(scripts, {"JITSPAN_MODE": "\udcff"})
    assert (raised or "").startswith("JITSPAN_MODE=")
    assert active is False


def test_a_wrong_moment_to_arm_switches_a_program_off_that_asked_for_nothing_and_says_so(scripts):
    finished = scripts.run("import jitspan; jitspan._start(); print(jitspan.is_active())", env={"JITSPAN_ARM": "later"})
    assert finished.check().stdout == "False\n"
    assert 'jitspan stays switched off: JITSPAN_ARM="later"' in finished.stderr
