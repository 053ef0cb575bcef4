"""`activate()`, `deactivate()`, `activate()` again: the books go on, nothing is lost, nothing grows, nobody waits."""

from __future__ import annotations

import time

import pytest
from support.receiver import Receiver

PRELUDE = """
import json, logging, os, sys, time
from support import fake_triton
fake_triton.install()
import jitspan
kernel = fake_triton.JITFunction("rms_norm")

def compile(count):
    for number in range(count):
        kernel.launch(str(number))

def books():
    stats = jitspan.stats()
    dropped = sum(count for name, count in stats.items() if name.startswith("spans.dropped."))
    assert stats["spans.recorded"] == stats["spans.exported"] + dropped + stats["spans.queued"], stats
    return [stats["events.compile"], stats["spans.recorded"], stats["spans.exported"], dropped, stats["spans.queued"]]
"""
# Nobody listens here.
AWAY = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}


def test_the_books_go_on_and_nobody_waits_for_a_collector_that_is_away(scripts):
    counts, seconds = scripts.run(
        PRELUDE
        + """
jitspan.activate()
compile(10)
before = books()
began = time.monotonic()
jitspan.deactivate()
inactive = books()
jitspan.activate()
seconds = time.monotonic() - began
compile(5)
print(json.dumps([[before, inactive, books()], seconds]), flush=True)
os._exit(0)
""",
        env=AWAY,
    ).json()
    assert counts == [[10, 10, 0, 0, 10], [10, 10, 0, 0, 10], [15, 15, 0, 0, 15]]
    assert seconds < 1


def test_what_waited_before_a_second_activation_arrives_after_it(scripts, receiver):
    scripts.run(
        PRELUDE
        + """
jitspan.activate()
compile(3)
jitspan.deactivate()
jitspan.activate(verbose=True)
compile(4)
jitspan.deactivate()
jitspan.activate()
compile(5)
assert jitspan.flush(timeout=10)
assert books() == [12, 12, 12, 0, 0]
""",
        env=receiver.environment() | {"OTEL_BSP_SCHEDULE_DELAY": "60000"},
    ).check()
    assert len(receiver.spans) == 12
    assert len({span["resource"]["service.instance.id"] for span in receiver.spans}) == 1


def test_each_activation_sends_where_the_environment_of_its_moment_says(scripts, receiver):
    with Receiver() as other:
        scripts.run(
            PRELUDE
            + """
jitspan.activate()
compile(3)
jitspan.deactivate()
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = os.environ["OTHER"]
jitspan.activate()
compile(4)
assert jitspan.flush(timeout=10)
assert books() == [7, 7, 7, 0, 0]
""",
            env=receiver.environment() | {"OTEL_BSP_SCHEDULE_DELAY": "60000", "OTHER": other.grpc_endpoint},
        ).check()
        assert (len(receiver.spans), len(other.spans)) == (3, 4)


@pytest.mark.parametrize("mode", ["the same", "others"])
def test_activations_by_the_thousand_leave_nothing_behind(scripts, receiver, mode):
    receiver.hang()
    grown, threads = scripts.run(
        PRELUDE
        + f"""
logging.getLogger("jitspan").setLevel("CRITICAL")
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def pairs(count):
    for number in range(count):
        jitspan.activate(mode=["warn", "error"][number % 2 if {mode!r} == "others" else 0])
        jitspan.deactivate()

pairs(1000)
before, threads = resident(), len(os.listdir("/proc/self/task"))
pairs(2000)
print(json.dumps([resident() - before, len(os.listdir("/proc/self/task")) - threads]), flush=True)
os._exit(0)
""",
        env=receiver.environment(metrics=True),
    ).json()
    # A pair used to leave 18 kB.
    assert grown / 2000 < 500
    assert threads == 0


def test_metrics_are_sent_once_more_when_it_is_deactivated_and_go_on_when_it_is_activated(scripts, receiver):
    process = scripts.start(
        PRELUDE
        + """
jitspan.activate()
compile(2)
jitspan.deactivate()
print("inactive", flush=True)
sys.stdin.readline()
jitspan.activate()
compile(3)
sys.stdin.readline()
""",
        env=receiver.environment(metrics=True) | {"OTEL_METRIC_EXPORT_INTERVAL": "200", "OTEL_TRACES_EXPORTER": "none"},
    )

    def compiles(export) -> int:
        return sum(point["value"] for point in export.records if point["name"] == "jit.compiles")

    def exports() -> list[int]:
        return [compiles(export) for export in receiver.exports if export.signal == "metrics"]

    try:
        assert process.stdout.readline() == "inactive\n"
        receiver.wait_for(lambda _: exports()[-1:] == [2])
        # One may have been on its way.
        most = len(exports()) + 1
        time.sleep(1.5)
        assert len(exports()) <= most
        process.stdin.write("go on\n")
        process.stdin.flush()
        receiver.wait_for(lambda _: exports()[-1:] == [5])
        assert exports() == sorted(exports())
    finally:
        process.communicate("end\n", timeout=30)


def test_a_child_that_has_used_nothing_takes_no_time_to_end_though_the_collector_hangs(scripts, receiver):
    receiver.hang()
    seconds = scripts.run(
        PRELUDE
        + """
jitspan.activate()
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    import atexit
    # Registered last, so called first: what is left is ours.
    atexit.register(lambda: os.write(write, json.dumps(time.monotonic()).encode()))
    sys.exit()
os.close(write)
os.waitpid(pid, 0)
print(json.dumps(time.monotonic() - json.loads(os.read(read, 100))), flush=True)
os._exit(0)
""",
        env=receiver.environment(metrics=True),
    ).json()
    assert seconds < 0.7


def test_stats_have_all_their_names_before_there_is_anything_to_count(scripts):
    before, after = scripts.run(
        PRELUDE
        + """
before = jitspan.stats()
jitspan.activate()
print(json.dumps([before, jitspan.stats()]))
""",
        env=AWAY | {"OTEL_METRICS_EXPORTER": "none"},
    ).json()
    # The stand-in for Triton lacks places that the real one has.
    assert before == {name: value for name, value in after.items() if not name.startswith("faults.")}
    assert before.pop("export.last_error") is None
    assert set(before.values()) == {0}
    assert {"spans.recorded", "spans.queued", "logs.queued", "spans.dropped.fault"} <= set(before)


def test_other_arguments_while_it_is_active_change_nothing_and_the_log_says_so(scripts):
    finished = scripts.run(
        PRELUDE
        + """
logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s", stream=sys.stdout)
jitspan.activate()
jitspan.activate()
jitspan.activate(mode="warn", verbose=False)
jitspan.activate(mode="error")
kernel.launch("a")
jitspan.deactivate()
jitspan.activate(mode="error")
jitspan.activate(mode="error")
""",
        env={"OTEL_TRACES_EXPORTER": "none"},
    ).check()
    warnings = [line for line in finished.stdout.splitlines() if "activate()" in line]
    assert warnings == [
        "WARNING activate() asks for mode=error, verbose=false, but jitspan is active with mode=warn, verbose=false: "
        "that stays until deactivate()"
    ]
