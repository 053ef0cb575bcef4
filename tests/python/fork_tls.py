"""Forks `sys.argv[1]` times in the middle of a first TLS set-up; prints which grandchildren did not deliver over TLS.

Each child starts to export, which reads the system's authorities and shakes hands, and forks some milliseconds later.
Run by `test_collector_real.py`.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings

from support import fake_triton

warnings.simplefilter("ignore", DeprecationWarning)
fake_triton.install()

import jitspan  # noqa: E402

SECONDS = 30.0
# The set-up takes some 5 to 30 ms of a debug build; the forks are spread over them.
SPREAD_MS = 40

kernel = fake_triton.JITFunction("storm")


def forked(body) -> int:
    """The exit status of a child that runs `body`; 9, negative: it hung."""
    process = os.fork()
    if process == 0:
        status = 4
        try:
            status = body()
        finally:
            os._exit(status)
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(process, 9)
    os.waitpid(process, 0)
    return -9


def deliver() -> int:
    kernel.launch("grandchild")
    flushed = jitspan.flush(timeout=20)
    stats = jitspan.stats()
    return 0 if flushed and stats["spans.exported"] == stats["spans.recorded"] == 1 else 3


def fork_while_connecting(number: int) -> int:
    kernel.launch("child")
    time.sleep(number % SPREAD_MS / 1000)
    return forked(deliver)


jitspan.activate()
failed = []
for number in range(int(sys.argv[1])):
    status = forked(lambda number=number: fork_while_connecting(number))
    if status:
        failed.append([number, status])
print(json.dumps(failed))
