"""A collector that takes nothing is mentioned in the log: not at once, not often, and once more when it is well."""

from __future__ import annotations

from support.receiver import INVALID, Receiver

PRELUDE = """
import logging, os, sys, time
from support import fake_triton
fake_triton.install()
import jitspan
logging.basicConfig(level="INFO", format="%(levelname)s %(message)s", stream=sys.stdout)
kernel = fake_triton.JITFunction("rms_norm")
jitspan.activate()
"""


def about_the_collector(output: str) -> list[str]:
    return [line for line in output.splitlines() if "takes" in line]


def test_a_failure_that_lasts_is_one_line_and_its_end_another(scripts):
    away = Receiver()
    away.start()
    away.stop()
    process = scripts.start(
        PRELUDE
        + """
for _ in range(3):
    kernel.launch(str(time.time()))
    time.sleep(2.2)
# It has failed for some seconds now.
for _ in range(3):
    kernel.launch(str(time.time()))
print("failing", flush=True)
sys.stdin.readline()
assert jitspan.flush(timeout=30)
kernel.launch(str(time.time()))
""",
        env=away.environment() | {"OTEL_BSP_SCHEDULE_DELAY": "10"},
    )
    try:
        output = ""
        while "failing\n" not in output:
            output += process.stdout.readline()
        [line] = about_the_collector(output)
        assert line.startswith(f"WARNING {away.grpc_endpoint} takes no spans since ")
        assert "Connection refused" in line
        assert "records wait for it, 0 were lost (see stats())" in line
        away.start()
        output, _ = process.communicate("go on\n", timeout=60)
        assert about_the_collector(output) == [f"INFO {away.grpc_endpoint} takes all again"]
    finally:
        process.kill()
        away.stop()


def test_a_process_that_ends_says_what_never_arrived(scripts):
    finished = scripts.run(
        PRELUDE + "kernel.launch('a')\n",
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:s3cret@127.0.0.1:1/t0ken",
            "OTEL_METRICS_EXPORTER": "none",
            "JITSPAN_FLUSH_TIMEOUT": "0.5",
        },
    ).check()
    [line] = about_the_collector(finished.stdout)
    assert line.startswith("WARNING http://127.0.0.1:1 takes no spans")
    assert "0 records wait for it, 1 were lost" in line
    assert "s3cret" not in line
    assert "t0ken" not in line


def test_a_refusal_is_mentioned_as_well_with_what_the_collector_says(scripts, receiver):
    receiver.answer(INVALID)
    finished = scripts.run(
        PRELUDE + "kernel.launch('a')\nassert jitspan.flush(timeout=10)\n", env=receiver.environment()
    ).check()
    [line] = about_the_collector(finished.stdout)
    assert "InvalidArgument" in line


def test_a_collector_that_takes_everything_is_not_mentioned(scripts, receiver):
    finished = scripts.run(
        PRELUDE + "kernel.launch('a')\nassert jitspan.flush(timeout=10)\n", env=receiver.environment(metrics=True)
    ).check()
    assert about_the_collector(finished.stdout) == []
