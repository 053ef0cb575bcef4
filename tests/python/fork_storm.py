"""Forks `sys.argv[1]` times while three threads compile; each child compiles, flushes and ends. Prints who did not.

Run by `test_lifetime.py` with each CPython that is at hand: needs the module `jitspan` and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings

from support import fake_triton

warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and newer warn of a fork with threads, which is the point
fake_triton.install()

import jitspan  # noqa: E402

FORKS = int(sys.argv[1])
CHILD_SECONDS = 30.0
# Each takes CHILD_SECONDS to be found out.
ENOUGH_FAILED = 3

kernel = fake_triton.JITFunction("storm")
stop = threading.Event()


def compile_for_ever(thread: int) -> None:
    number = 0
    while not stop.is_set():
        with jitspan.request():
            kernel.launch(f"{thread}.{number}")
        number += 1
        time.sleep(0.001)


def child(number: int) -> int:
    with jitspan.request():
        kernel.launch(f"child.{number}")
    flushed = jitspan.flush(timeout=20)
    stats = jitspan.stats()
    return 0 if flushed and stats["spans.exported"] == stats["spans.recorded"] == 2 else 3


def wait_for(process: int) -> str | None:
    deadline = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return None if status == 0 else f"status {os.waitstatus_to_exitcode(status)}"
        time.sleep(0.002)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return "hung"


jitspan.activate()
threads = [threading.Thread(target=compile_for_ever, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
failed = []
for number in range(FORKS):
    process = os.fork()
    if process == 0:
        status = 4
        try:
            status = child(number)
        finally:
            os._exit(status)
    if problem := wait_for(process):
        failed.append([number, problem])
    if len(failed) == ENOUGH_FAILED:
        break
stop.set()
for thread in threads:
    thread.join()
flushed = jitspan.flush(timeout=20)
print(json.dumps({"failed": failed, "flushed": flushed, "stats": jitspan.stats()}))
