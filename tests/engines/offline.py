"""A process that imports vLLM once, and forks for each engine that a test wants: importing it takes longer than what
is tested. It reads a line of JSON for each case, and answers with one.

A case is a function of `offline_cases.py`. Its process begins where a user's would: vLLM's modules are there, no
plug-in has been loaded.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any


def run(order: dict[str, Any]) -> None:
    """In the child. What is printed goes to the case's log."""
    with open(order["log"], "wb", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.setsid()
    os.environ.update(order["env"])
    import offline_cases

    answer = getattr(offline_cases, order["case"])(**order["arguments"])
    Path(order["answer"]).write_text(json.dumps(answer))


def fork(order: dict[str, Any]) -> int:
    """Returns the status of the child, which it waits for; what the child has started ends with it."""
    child = os.fork()
    if child == 0:
        try:
            run(order)
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        sys.exit(0)  # through `atexit`: what is queued is sent
    deadline = time.monotonic() + order["seconds"]
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
        return -1
    return os.waitstatus_to_exitcode(status)


def main() -> None:
    # Answers go where nothing that vLLM prints goes.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    import torch
    import vllm
    import vllm.v1.core.sched.scheduler
    import vllm.v1.engine.core
    import vllm.v1.engine.llm_engine
    import vllm.v1.executor.uniproc_executor
    import vllm.v1.worker.gpu.model_runner
    import vllm.v1.worker.gpu_model_runner
    import vllm.v1.worker.worker_base  # noqa: F401
    from interpreted_gpu import worker  # noqa: F401

    # A pool of threads does not survive a fork.
    torch.set_num_threads(1)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(fork(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
