"""After a fork both processes report, each for itself, and nothing is sent twice."""

from __future__ import annotations

import os

import pytest
from support.pythons import finish
from support.records import outline, parent_id, trace_id, traceparent

pytestmark = pytest.mark.hostile

# Compiles for request `number`, in a block size of its own, so that it always compiles.
PRELUDE = f"""
import json, os, jitspan, kernels

TRACEPARENTS = {[traceparent(number) for number in range(4)]}

def compile_for(number):
    with jitspan.request(TRACEPARENTS[number]):
        kernels.launch_add(block=128 << number)

def in_child(work):
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0 if jitspan.flush(timeout=10) else 2
        finally:
            os._exit(status)
    assert os.waitpid(process, 0)[1] == 0

jitspan.activate()
"""


def expected(*numbers: int):
    return [(trace_id(number), parent_id(number), "inference", ["jit.compile"]) for number in numbers]


def instances(receiver) -> dict[str, str]:
    return {span["trace_id"]: span["resource"]["service.instance.id"] for span in receiver.spans}


def run(scripts, receiver, body: str, **env: str) -> None:
    scripts.run(PRELUDE + body + '\nprint("null")\n', env=receiver.environment() | env).json()


def test_a_fork_before_the_first_event_leaves_both_reporting(scripts, receiver):
    run(
        scripts,
        receiver,
        """
in_child(lambda: compile_for(1))
compile_for(2)
assert jitspan.flush(timeout=10)
""",
    )
    assert outline(receiver.spans) == expected(1, 2)
    assert instances(receiver)[trace_id(1)] != instances(receiver)[trace_id(2)]


def test_a_fork_after_the_first_event_leaves_both_reporting(scripts, receiver):
    run(
        scripts,
        receiver,
        """
compile_for(0)
assert jitspan.flush(timeout=10)
in_child(lambda: compile_for(1))
compile_for(2)
assert jitspan.flush(timeout=10)
""",
    )
    assert outline(receiver.spans) == expected(0, 1, 2)
    found = instances(receiver)
    assert found[trace_id(0)] == found[trace_id(2)] != found[trace_id(1)]


def test_what_was_waiting_at_the_fork_is_sent_by_the_parent_alone(scripts, receiver):
    run(
        scripts,
        receiver,
        """
compile_for(0)
in_child(lambda: compile_for(1))
assert jitspan.flush(timeout=10)
""",
        OTEL_BSP_SCHEDULE_DELAY="60000",
    )
    assert outline(receiver.spans) == expected(0, 1)


def test_a_child_forked_inside_a_request_reports_on_that_request(scripts, receiver):
    run(
        scripts,
        receiver,
        """
with jitspan.request(TRACEPARENTS[0]):
    in_child(kernels.launch_softmax)
""",
    )
    # The child never leaves the `with` block, so the request's own span stays with the parent, which saw no compile.
    assert {span["trace_id"] for span in receiver.spans} == {trace_id(0)}
    assert [span["attributes"]["jit.kernel.name"] for span in receiver.spans if span["name"] == "jit.compile"] == [
        "softmax"
    ]


def test_a_multiprocessing_worker_reports_before_it_ends(scripts, receiver):
    run(
        scripts,
        receiver,
        """
import multiprocessing

compile_for(0)
worker = multiprocessing.get_context("fork").Process(target=compile_for, args=(1,))
worker.start()
worker.join(30)
assert worker.exitcode == 0
assert jitspan.flush(timeout=10)
""",
        OTEL_BSP_SCHEDULE_DELAY="200",
    )
    receiver.wait_for(lambda receiver: outline(receiver.spans) == expected(0, 1))


def test_a_fork_in_the_middle_of_the_first_event_leaves_a_child_that_can_compile(silent_python):
    # What is made once for the process was made there, in a thread that the child does not have.
    source = """
    import threading
    jitspan.activate()
    def storm():
        for number in range(20):
            compile_one(f"storm {number}")
    threading.Thread(target=storm, daemon=True).start()
    children = []
    for _ in range(20):
        child = os.fork()
        if not child:
            compile_one("in the child")
            os._exit(0)
        children.append(child)
    hung = set(children)
    end = time.monotonic() + 20
    while hung and time.monotonic() < end:
        hung -= {child for child in hung if os.waitpid(child, os.WNOHANG)[0]}
        time.sleep(0.01)
    for child in hung:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    print(json.dumps(len(hung)), flush=True)
    os._exit(0)
    """
    for _ in range(int(os.environ.get("JITSPAN_TEST_FIRST_EVENTS", "5"))):
        code, stdout, stderr = finish(silent_python(source))
        assert (code, stdout) == (0, "0\n"), stderr
