"""Forks, exits and signals, on every CPython that is at hand (`support/pythons.py`): nothing hangs, and what was
recorded arrives.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from support.pythons import finish

pytestmark = pytest.mark.hostile

TESTS = Path(__file__).parent
FORKS = int(os.environ.get("JITSPAN_TEST_FORKS", "200"))

# What a shell starts in the background has SIGINT ignored, and then CPython leaves it so.
INTERRUPT = "signal.signal(signal.SIGINT, signal.default_int_handler); signal.raise_signal(signal.SIGINT)"


def names(receiver) -> list[str]:
    return sorted(span["name"] for span in receiver.spans)


# A child waits for its turn at the receiver, behind what its parent sends: 0.05 s with a receiver of its own core, but
# 1.1 s if that has a fifth of one, and 1.8 s with a tenth. The storm itself finds out who hangs, and says so sooner.
STORM_SECONDS = 60 + 5 * FORKS


@pytest.mark.timeout(STORM_SECONDS + 30)
def test_forks_under_load_hang_nobody(python):
    code, stdout, stderr = finish(python(TESTS / "fork_storm.py", str(FORKS)), timeout=STORM_SECONDS)
    assert code == 0, stderr
    result = json.loads(stdout)
    assert result["failed"] == []
    stats = result["stats"]
    dropped = sum(count for name, count in stats.items() if name.startswith("spans.dropped."))
    assert stats["spans.recorded"] == stats["spans.exported"] + dropped + stats["spans.queued"]


def test_a_fork_while_a_line_is_being_written_leaves_a_child_that_can_write(python):
    # The child inherits the lock of `sys.stderr` as it stands, and a reader that is behind makes every line last.
    process = python(
        """
        import fcntl, os, signal, sys, threading, time, warnings

        warnings.simplefilter("ignore", DeprecationWarning)
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
        sys.stderr = os.fdopen(write, "w", buffering=1)
        stop = threading.Event()

        def read_slowly():
            while os.read(read, 512):
                time.sleep(0.002)

        def compile_for_ever():
            number = 0
            while not stop.is_set():
                compile_one(f"parent.{number}")
                number += 1

        jitspan.activate()
        threading.Thread(target=read_slowly, daemon=True).start()
        writer = threading.Thread(target=compile_for_ever)
        writer.start()
        time.sleep(0.3)
        for number in range(30):
            process = os.fork()
            if process == 0:
                signal.alarm(10)
                compile_one(f"child.{number}")
                os._exit(0)
            _, status = os.waitpid(process, 0)
            assert status == 0, (number, status)
        stop.set()
        writer.join()
        print("all", flush=True)
        os._exit(0)
        """
    )
    code, stdout, stderr = finish(process, timeout=150)
    assert (code, stdout) == (0, "all\n"), stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_multiprocessing_child_delivers_at_exit(python, receiver, method):
    process = python(
        f"""
        if __name__ == "__main__":
            import multiprocessing
            jitspan.activate()
            worker = multiprocessing.get_context({method!r}).Process(target=in_child, args=("child",))
            worker.start()
            worker.join(30)
            assert worker.exitcode == 0, worker.exitcode
        """
    )
    code, _stdout, stderr = finish(process)
    assert code == 0, stderr
    assert names(receiver) == ["inference", "jit.compile"]


@pytest.mark.parametrize(
    ("how", "code"),
    [("pass", 0), ("sys.exit(3)", 3), ("raise ValueError", 1), (INTERRUPT, -signal.SIGINT)],
)
def test_a_process_delivers_however_it_ends(python, receiver, how, code):
    exit_code, _stdout, stderr = finish(python(f"jitspan.activate()\ncompile_one('a')\n{how}\n"))
    assert exit_code == code, stderr
    assert names(receiver) == ["inference", "jit.compile"]


def test_sigterm_loses_the_queue_unless_a_handler_flushes(python, receiver):
    source = """
    jitspan.activate()
    compile_one('a')
    if len(sys.argv) > 1:
        def leave(number, frame):
            jitspan.flush()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        signal.signal(signal.SIGTERM, leave)
    print("ready", flush=True)
    time.sleep(60)
    """
    for arguments, delivered in ([], []), (["with"], ["inference", "jit.compile"]):
        process = python(source, *arguments)
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert finish(process)[0] == -signal.SIGTERM
        assert names(receiver) == delivered


@pytest.mark.usefixtures("receiver")
def test_a_flush_from_a_handler_that_interrupts_anything_returns(python):
    process = python(
        """
        flushes = 0
        def handler(number, frame):
            global flushes
            jitspan.flush(timeout=5)
            flushes += 1
        signal.signal(signal.SIGALRM, handler)
        jitspan.activate()
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        began = time.monotonic()
        number = 0
        while time.monotonic() - began < 3:
            compile_one(str(number))
            number += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert jitspan.flush(timeout=10)
        stats = jitspan.stats()
        assert stats["spans.recorded"] == stats["spans.exported"] == 2 * number, stats
        print(flushes)
        """
    )
    code, stdout, stderr = finish(process)
    assert code == 0, stderr
    assert int(stdout) > 10


def test_what_comes_after_the_shutdown_starts_no_thread(python, receiver):
    process = python(
        """
        import atexit
        def threads():
            return len(os.listdir("/proc/self/task"))
        def late():
            for _ in range(100):  # the exporter's threads have said that they are done, and are on their way out
                if threads() == 1:
                    break
                time.sleep(0.05)
            compile_one("late")
            time.sleep(0.2)
            print(json.dumps([jitspan.stats(), threads()]))
        atexit.register(late)  # runs after jitspan's own, which is registered later
        jitspan.activate()
        compile_one("in time")
        """
    )
    code, stdout, stderr = finish(process)
    assert code == 0, stderr
    stats, threads = json.loads(stdout)
    assert stats["spans.dropped.shutdown"] == 2
    assert stats["spans.exported"] == 2
    assert threads == 1
    assert names(receiver) == ["inference", "jit.compile"]


def test_an_exit_with_a_collector_that_says_nothing_takes_no_longer_than_the_deadline(python, receiver):
    receiver.hang()
    process = python("jitspan.activate()\ncompile_one('a')\nprint('done', flush=True)\n", JITSPAN_FLUSH_TIMEOUT="1")
    assert process.stdout.readline() == "done\n"
    began = time.monotonic()
    code, _stdout, stderr = finish(process)
    assert code == 0, stderr
    assert 0.8 < time.monotonic() - began < 2.0
