"""What a wheel must do wherever it is installed: import, watch, export, survive a fork, fail a request. No test.

Takes three `traceparent`s, and prints one line of JSON. Triton is imitated: there is none for every Python that a wheel
is for. Nothing but the wheel and Python is there.
"""

from __future__ import annotations

import json
import os
import platform
import sys

from support import fake_triton

fake_triton.install()

import jitspan  # noqa: E402

kernel = fake_triton.JITFunction("rms_norm")


def compile_for(request: int) -> None:
    with jitspan.request({"traceparent": sys.argv[request]}, name="generate"):
        kernel.launch(f"shape {request}")


def in_a_child(request: int) -> int:
    child = os.fork()
    if child == 0:
        compile_for(request)
        os._exit(0 if jitspan.flush(timeout=20) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def raised(request: int) -> str:
    try:
        compile_for(request)
    except jitspan.UnexpectedCompileError as error:
        return type(error).__mro__[1].__name__
    return "nothing"


jitspan.activate()
compile_for(1)
child = in_a_child(2)
flushed = jitspan.flush(timeout=20)
jitspan.deactivate()
jitspan.activate(mode="error")
told = {
    "machine": platform.machine(),
    "module": jitspan.__file__,
    "child": child,
    "flushed": flushed,
    "raised": raised(3),
}
print(json.dumps(told))
