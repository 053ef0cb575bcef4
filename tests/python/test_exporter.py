"""What a hostile examiner tries on the exporter: headers that are the protocol's own, credentials that are quoted back,
a receiver that is stopped in the middle, shutting down twice, switching it off, time-outs of any size.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from email.utils import formatdate

import grpc
import pytest
from support.receiver import Answer, Receiver

PRELUDE = """
import asyncio, json, logging, os, sys, threading, time
from support import fake_triton
fake_triton.install()
import jitspan
kernel = fake_triton.JITFunction("rms_norm")
"""
# Not a word of which may be seen anywhere.
TOKEN = "s3cr3t-t0ken"

both = pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])


@both
def test_headers_arrive_decoded_and_those_of_the_protocol_are_its_own(scripts, receiver, protocol):
    headers = " X-Tenant = a%20b , content-type=text/plain,content-length=1,te=x,user-agent=mine,x-twice=1,x-twice=2,"
    scripts.run(
        PRELUDE + "jitspan.activate()\nkernel.launch('a')\nassert jitspan.flush(timeout=10)\n",
        env=receiver.environment(protocol) | {"OTEL_EXPORTER_OTLP_HEADERS": headers},
    ).check()
    [export] = receiver.exports
    assert export.answer.accepts
    assert (export.headers["x-tenant"], export.headers["x-twice"]) == ("a b", "2")
    assert export.headers["user-agent"].startswith("mine")


@both
def test_without_headers_we_say_who_we_are(scripts, receiver, protocol):
    scripts.run(
        PRELUDE + "jitspan.activate()\nkernel.launch('a')\nassert jitspan.flush(timeout=10)\n",
        env=receiver.environment(protocol),
    ).check()
    assert receiver.exports[0].headers["user-agent"].startswith("jitspan/")


@both
def test_what_is_packed_can_be_unpacked(scripts, receiver, protocol):
    scripts.run(
        PRELUDE + "jitspan.activate()\nkernel.launch('a')\nassert jitspan.flush(timeout=10)\n",
        env=receiver.environment(protocol, metrics=True)
        | {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "JITSPAN_EVENTS": "both"},
    ).check()
    assert {export.signal for export in receiver.exports} == {"traces", "metrics", "logs"}
    assert [span["name"] for span in receiver.spans] == ["jit.compile"]
    assert [record["event_name"] for record in receiver.logs] == ["jit.compile"]
    if protocol == "http/protobuf":
        assert {export.headers["content-encoding"] for export in receiver.exports} == {"gzip"}


def test_each_signal_goes_where_and_how_its_own_variables_say(scripts, receiver):
    with Receiver() as other:
        scripts.run(
            PRELUDE + "jitspan.activate()\nkernel.launch('a')\nassert jitspan.flush(timeout=10)\n",
            env={
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint,
                "OTEL_EXPORTER_OTLP_HEADERS": "who=all",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": other.grpc_endpoint,
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "who=traces",
                "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": f"{other.http_endpoint}/v1/logs",
                "JITSPAN_EVENTS": "both",
            },
        ).check()
    seen = {(export.signal, export.protocol, export.headers["who"]) for export in other.exports}
    assert seen == {("traces", "grpc", "traces"), ("logs", "http", "all")}
    assert {(export.signal, export.headers["who"]) for export in receiver.exports} == {("metrics", "all")}


@both
@pytest.mark.parametrize("status", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE])
def test_a_credential_that_is_quoted_back_is_shown_nowhere(scripts, receiver, protocol, status):
    http = {grpc.StatusCode.UNAUTHENTICATED: 401, grpc.StatusCode.UNAVAILABLE: 503}[status]
    receiver.answer(Answer(status, http, message=f"who is Bearer {TOKEN}, that is, {TOKEN}?"))
    finished = scripts.run(
        PRELUDE
        + """
logging.basicConfig(level=1)
jitspan.activate(verbose=True)
kernel.launch("a")
jitspan.flush(timeout=1)
jitspan.main(["jitspan", "doctor"])
print(repr(jitspan.status()), [repr(row.reason) for row in jitspan.status()])
print(json.dumps(jitspan.stats()))
""",
        env=receiver.environment(protocol, metrics=True)
        | {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{TOKEN}", "JITSPAN_FLUSH_TIMEOUT": "0.2"},
    ).check()
    assert receiver.exports[0].headers["authorization"] == f"Bearer {TOKEN}"
    # The rest of what the collector says is there: it is what an operator needs.
    assert "who is" in finished.json()["export.last_error"]
    assert TOKEN not in finished.stdout + finished.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization: Bearer {TOKEN}"},
        {"OTEL_EXPORTER_OTLP_HEADERS": f"a={TOKEN}%0d%0a"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": f"htp://user:{TOKEN}@c"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": f"htp://c/?token={TOKEN}"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": f"htp://c/{TOKEN}/v1"},
        {"OTEL_EXPORTER_OTLP_CLIENT_KEY": f"-----BEGIN PRIVATE KEY-----\n{TOKEN}\n-----END PRIVATE KEY-----"},
        {"OTEL_EXPORTER_OTLP_CLIENT_KEY": TOKEN},
    ],
)
def test_a_refused_setting_does_not_show_a_credential(scripts, variables):
    finished = scripts.run(
        PRELUDE
        + """
try:
    jitspan.activate()
except ValueError as error:
    print(error, repr(error))
jitspan.main(["jitspan", "doctor"])
""",
        env=variables,
    ).check()
    [name] = variables
    assert f"{name}=<hidden>" in finished.stdout
    assert TOKEN not in finished.stdout + finished.stderr


def test_doctor_shows_no_credential_that_is_in_an_address_or_an_attribute(scripts):
    for flags in ([], ["--json"]):
        finished = scripts.run(
            f"import jitspan; jitspan.main(['jitspan', 'doctor', *{flags}])",
            env={
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://user:{TOKEN}@127.0.0.1:9/{TOKEN}?key={TOKEN}",
                "OTEL_RESOURCE_ATTRIBUTES": f"service.name=chat,api.key={TOKEN}",
            },
        ).check()
        assert TOKEN not in finished.stdout + finished.stderr
        assert "127.0.0.1:9/<hidden>/v1/traces" in finished.stdout


@both
@pytest.mark.parametrize("moment", ["before the first connection", "in the middle"])
def test_a_flush_keeps_its_deadline_while_the_receiver_is_stopped(scripts, protocol, moment):
    receiver = subprocess.Popen(
        [sys.executable, "-m", "support.receiver", "quiet"],
        env=scripts.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        endpoints = json.loads(receiver.stdout.readline())
        process = scripts.start(
            PRELUDE
            + """
jitspan.activate()
if sys.stdin.readline() == "in the middle\\n":
    kernel.launch("a")
    assert jitspan.flush(timeout=10)
print("ready", flush=True)
sys.stdin.readline()
kernel.launch("b")
began = time.monotonic()
flushed = jitspan.flush(timeout=1)
took = time.monotonic() - began
print(json.dumps([flushed, took]), flush=True)
sys.stdin.readline()
print(json.dumps([jitspan.flush(timeout=20), jitspan.stats()]), flush=True)
""",
            env={
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoints["grpc" if protocol == "grpc" else "http"],
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
                "OTEL_EXPORTER_OTLP_TIMEOUT": "2000",
            },
        )

        def go_on(line: str) -> str:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            return process.stdout.readline()

        assert go_on(moment) == "ready\n"
        receiver.send_signal(signal.SIGSTOP)
        flushed, took = json.loads(go_on("stopped"))
        assert not flushed
        assert 0.9 < took < 1.5
        receiver.send_signal(signal.SIGCONT)
        flushed, stats = json.loads(go_on("goes on"))
        assert flushed, process.stderr.read()
        assert stats["spans.exported"] == stats["spans.recorded"]
        process.communicate(timeout=30)
    finally:
        receiver.send_signal(signal.SIGCONT)
        receiver.terminate()
        receiver.wait(10)


def test_a_date_to_come_back_at_is_kept(scripts, receiver):
    # Far enough for a script to have started by then.
    at = int(time.time()) + 6
    receiver.answer_next(Answer(grpc.StatusCode.UNAVAILABLE, 429, retry_after=formatdate(at, usegmt=True)))
    scripts.run(
        PRELUDE + "jitspan.activate()\nkernel.launch('a')\nassert jitspan.flush(timeout=20)\n",
        env=receiver.environment("http/protobuf"),
    ).check()
    refused, taken = receiver.exports
    assert refused.received_ns / 1e9 < at - 1 < at - 0.1 < taken.received_ns / 1e9 < at + 5


@both
@pytest.mark.parametrize(
    ("status", "http"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
        (grpc.StatusCode.FAILED_PRECONDITION, 307),
        (grpc.StatusCode.INTERNAL, 500),
    ],
)
def test_what_does_not_get_better_is_sent_once(scripts, receiver, protocol, status, http):
    receiver.answer(Answer(status, http, message="too large"))
    stats = scripts.run(
        PRELUDE
        + "jitspan.activate()\nkernel.launch('a')\njitspan.flush(timeout=10)\nprint(json.dumps(jitspan.stats()))",
        env=receiver.environment(protocol),
    ).json()
    assert len(receiver.exports) == 1
    assert stats["spans.dropped.refused"] == stats["spans.recorded"] > 0
    assert "too large" in stats["export.last_error"]


def test_switched_off_it_watches_and_counts_and_starts_no_thread(scripts, receiver):
    for switch in ({"OTEL_SDK_DISABLED": " TRUE "}, {"JITSPAN": "0"}):
        stats, threads = scripts.run(
            PRELUDE
            + """
jitspan.activate()
with jitspan.request():
    kernel.launch("a")
assert jitspan.flush(timeout=10)
print(json.dumps([jitspan.stats(), len(os.listdir("/proc/self/task"))]))
""",
            env=receiver.environment(metrics=True) | switch | {"JITSPAN_EVENTS": "both"},
        ).json()
        assert (stats["events.compile"], threads) == (1, 1)
        assert stats["spans.dropped.disabled"] == stats["spans.recorded"] == 2
        assert stats["logs.dropped.disabled"] == stats["logs.recorded"] == 1
    assert receiver.exports == []


def test_an_error_is_raised_in_error_mode_though_exporting_is_switched_off(scripts):
    raised = scripts.run(
        PRELUDE
        + """
jitspan.activate(mode="error")
try:
    kernel.launch("a")
except jitspan.UnexpectedCompileError:
    print("true")
""",
        env={"OTEL_SDK_DISABLED": "true"},
    ).json()
    assert raised is True


def test_time_outs_of_any_size_are_waited_for_or_refused(scripts, receiver):
    scripts.run(
        PRELUDE
        + """
jitspan.activate()
kernel.launch("a")
for timeout in (1e9, 1e18, 1.8e19):
    assert jitspan.flush(timeout=timeout)
assert jitspan.flush(timeout=0) in (True, False)
for timeout in (-1, float("nan"), float("inf"), 1e300):
    try:
        jitspan.flush(timeout=timeout)
    except ValueError:
        pass
    else:
        raise AssertionError(timeout)
""",
        env=receiver.environment() | {"JITSPAN_FLUSH_TIMEOUT": "3600", "OTEL_EXPORTER_OTLP_TIMEOUT": "0"},
    ).check()
    assert len(receiver.spans) == 1


# A process that has recorded something, and what it has registered for its end.
AT_EXIT = (
    PRELUDE
    + """
import atexit
registered = []
register, atexit.register = atexit.register, registered.append
jitspan.activate()
kernel.launch("a")
"""
)


def test_leaving_twice_and_being_used_after_it_breaks_nothing(scripts, receiver):
    stats = scripts.run(
        AT_EXIT
        + """
leave, *_ = registered
leave()
leave()
kernel.launch("late")
assert jitspan.flush(timeout=1)
print(json.dumps(jitspan.stats()))
""",
        env=receiver.environment(metrics=True),
    ).json()
    assert (stats["spans.exported"], stats["spans.dropped.shutdown"]) == (1, 1)
    assert len(receiver.spans) == 1


def test_who_activates_again_after_the_shutdown_means_it(scripts, receiver):
    stats = scripts.run(
        AT_EXIT
        + """
registered[0]()
jitspan.deactivate()
jitspan.activate()
kernel.launch("b")
registered[0]()
print(json.dumps(jitspan.stats()))
""",
        env=receiver.environment(metrics=True),
    ).json()
    assert stats["spans.exported"] == stats["spans.recorded"] == 2
    assert len(receiver.spans) == 2


@pytest.mark.parametrize("fault", ["none", "hangs"])
def test_the_event_loop_is_not_held_up_by_exporting(scripts, receiver, fault):
    if fault == "hangs":
        receiver.hang()
    longest, exported = scripts.run(
        PRELUDE
        + """
jitspan.activate()

async def work():
    for number in range(300):
        with jitspan.request():
            kernel.launch(str(number))
        await asyncio.sleep(0)

async def beat(stop):
    longest = 0
    while not stop.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - began)
    return longest

async def main():
    stop = asyncio.Event()
    beating = asyncio.create_task(beat(stop))
    await work()
    # What was queued leaves now, while nothing but the beat runs.
    await asyncio.sleep(1)
    stop.set()
    return await beating

longest = asyncio.run(main())
print(json.dumps([longest, jitspan.stats()["spans.exported"]]), flush=True)
os._exit(0)
""",
        env=receiver.environment() | {"OTEL_BSP_SCHEDULE_DELAY": "50"},
    ).json()
    assert exported == (600 if fault == "none" else 0)
    # A busy machine may take the process off its processor for a while; a flush or an export would take longer.
    assert longest < 0.5 * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
