"""A process with jitspan ends as it would have ended without.

CPython 3.10 to 3.13 end a daemon thread that wants the interpreter while it is finalizing by `pthread_exit`. That
cannot unwind a Rust frame: the process then dies of SIGSEGV or SIGABRT.
"""

from __future__ import annotations

import os
import time

import pytest
from support.pythons import finish

pytestmark = pytest.mark.hostile

# Each many times: a death is a matter of which thread has its turn.
RUNS = int(os.environ.get("JITSPAN_TEST_EXITS", "6"))

HEAD = """
import threading
ON = sys.argv[1] == "on"

def in_daemon_threads(body, count=3):
    for _ in range(count):
        threading.Thread(target=body, daemon=True).start()
    time.sleep(0.15)
"""

# What a daemon thread does for ever. With `ON` it goes through us. Each sleeps now and then: CPython 3.10 dies of
# threads that wait for the interpreter when it goes, with us or without (`while True: pass` in four: 1 to 2 of 100).
BODIES = {
    "bound function": """
def spin():
    while True:
        time.sleep(0.0005)
in_daemon_threads(jitspan.bind(spin) if ON else spin)
""",
    "middleware": """
import asyncio
async def app(scope, receive, send):
    while True:
        time.sleep(0.0005)
        await asyncio.sleep(0)
served = jitspan.Middleware(app) if ON else app
in_daemon_threads(lambda: asyncio.run(served({"type": "http", "headers": []}, None, None)), 1)
""",
    "compile": """
if ON:
    jitspan.activate()
def work():
    slow = fake_triton.JITFunction("slow", 0.0005)
    number = 0
    while True:
        number += 1
        slow.launch(str(number % 50))
in_daemon_threads(work)
""",
    "log handler that waits": """
import logging
class Waits(logging.Handler):
    # Not `emit`: for that the handler's lock is held, and `logging` waits for it at exit.
    def handle(self, record):
        while True:
            time.sleep(0.0005)
logging.getLogger("jitspan").addHandler(Waits())
if ON:
    threading.Thread(target=jitspan.activate, daemon=True).start()
else:
    in_daemon_threads(lambda: logging.getLogger("jitspan").warning("a line"), 1)
time.sleep(0.15)
""",
    "attribute that takes its time": """
class Slow(fake_triton.JITFunction):
    def __getattr__(self, name):
        time.sleep(0.0005)
        raise AttributeError(name)
if ON:
    jitspan.activate()
def work():
    slow = Slow("slow")
    while True:
        time.sleep(0.0005)
        slow.launch(str(time.monotonic_ns()))
in_daemon_threads(work)
""",
    # Collected where an object is made, which up to 3.11 is inside of us. Not slow: an exit has no patience for ever.
    "scopes with garbage": """
import gc
gc.set_threshold(20)
class Leaves:
    def __init__(self):
        self.circle = self
    def __del__(self):
        for _ in range(50):
            pass
def work():
    while True:
        time.sleep(0.0002)
        Leaves()
        if ON:
            with jitspan.request({"traceparent": "x"}):
                jitspan.bind(len)([])
in_daemon_threads(work)
""",
    # Not an `import`: CPython up to 3.12 frees the lock of imports under such a thread, and dies of that by itself.
    "finder": """
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        time.sleep(0.0005)
sys.meta_path[:] = [Finder]
if ON:
    jitspan.activate()
def work():
    while True:
        sys.meta_path[0].find_spec("cutlass.cutlass_dsl.cutlass")
in_daemon_threads(work)
""",
}


@pytest.mark.parametrize("what", BODIES)
def test_a_daemon_thread_in_our_code_leaves_the_exit_as_it_is(silent_python, what):
    source = HEAD + BODIES[what] + "\nprint('ends', flush=True)\n"
    statuses = {}
    for kind, runs in (("off", 3), ("on", RUNS)):
        ended = []
        for _ in range(0, runs, 3):
            running = [silent_python(source, kind) for _ in range(3)]
            ended += [finish(process)[:2] for process in running]
        statuses[kind] = sorted(set(ended))
    assert statuses["on"] == statuses["off"] == [(0, "ends\n")]


def test_what_never_comes_out_holds_an_exit_up_for_five_seconds_and_no_longer(silent_python):
    # An attribute that never answers: the exit waits for it, and gives up.
    source = """
    import threading
    class Never(fake_triton.JITFunction):
        def __getattr__(self, name):
            began.set()
            time.sleep(3600)
    began = threading.Event()
    jitspan.activate()
    threading.Thread(target=Never("never").launch, args=("1",), daemon=True).start()
    began.wait()
    """
    began = time.monotonic()
    code, _, stderr = finish(silent_python(source), timeout=30)
    assert code == 0, stderr
    # Another second or two to start and to end, on a busy machine more.
    assert 5 <= time.monotonic() - began < 20
