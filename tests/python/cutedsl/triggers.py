"""Everything that makes CuTeDSL compile, and what does not, each step in a request of its own name.

    python triggers.py [without] STEP...

Prints one JSON object a line: the step, and what the user's call returned or raised. The spans come from the console
exporter on the same output. `without` runs the same steps without jitspan.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import sys
import threading

logging.getLogger("jitspan").setLevel(logging.ERROR)
arguments = sys.argv[1:]
watching = arguments[:1] != ["without"]
chosen = arguments if watching else arguments[1:]
mode = "warn"
if chosen[:1] == ["error"]:
    mode, chosen = chosen[0], chosen[1:]

if watching:
    import jitspan

    # Before the runtime is there: it is hooked when it is imported.
    jitspan.activate(mode=mode, verbose=True)

import cutlass  # noqa: E402
import cutlass.cute as cute  # noqa: E402
from cutlass import Constexpr, Int32  # noqa: E402
from cutlass.cute import compile as bound_early  # noqa: E402


@cute.jit
def host(n: Int32, k: Constexpr = 1):
    cute.printf("host %d\n", n + k)


@cute.kernel
def device_kernel(n: Int32):
    thread, _, _ = cute.arch.thread_idx()
    if thread < n:
        cute.printf("thread %d\n", thread)


@cute.jit
def launching(n: Int32):
    device_kernel(n).launch(grid=[1, 1, 1], block=[32, 1, 1])


@cute.jit
def inner(n: Int32):
    cute.printf("inner %d\n", n)


@cute.jit
def outer(n: Int32):
    inner(n)


@cute.jit
def failing(n: Int32):  # noqa: ARG001
    raise KeyError("the trace fails")


class Gemm:
    def __init__(self, tile: int) -> None:
        self.tile = tile

    @cute.jit
    def __call__(self, n: Int32):
        cute.printf("gemm %d\n", n + self.tile)

    @cute.jit
    def method(self, n: Int32):
        cute.printf("method %d\n", n + self.tile)


class SmallGemm(Gemm):
    pass


compiled = []


def keep(executor):
    compiled.append(executor)
    return executor


def threads():
    def work(n):
        with jitspan.request(None, name="in_threads") if watching else contextlib.nullcontext():
            cute.compile(host, n)

    # One after another: the DSL itself is not safe to use from two threads at a time.
    for n in (31, 32):
        thread = threading.Thread(target=work, args=(n,))
        thread.start()
        thread.join()


STEPS = {
    "compile": lambda: keep(cute.compile(host, 3)),
    "compile_again": lambda: cute.compile(host, 3),
    "compile_kernel": lambda: cute.compile(launching, 3),
    "call_executor": lambda: compiled[0](3),
    "implicit": lambda: host(41),
    "implicit_again": lambda: host(41),
    "implicit_other_value": lambda: host(42),
    "implicit_dynamic": lambda: host(Int32(5)),
    "implicit_dynamic_other_value": lambda: host(Int32(6)),
    "implicit_constexpr": lambda: host(Int32(6), 2),
    "implicit_keyword": lambda: host(Int32(6), k=3),
    "nested": lambda: outer(7),
    "bound_early": lambda: bound_early(host, 8),
    "options": lambda: cute.compile(host, 9, options="--opt-level 2"),
    "subscript": lambda: cute.compile[cute.OptLevel(2)](host, 10),
    "precompiled": lambda: cute.compile.to_precompiled_mlir(host, 11),
    "experimental": lambda: cute.experimental.compile(host, 12),
    "instance": lambda: cute.compile(Gemm(2), 3),
    "instance_other_state": lambda: cute.compile(Gemm(4), 3),
    "instance_of_subclass": lambda: cute.compile(SmallGemm(2), 3),
    "instance_implicit": lambda: Gemm(2)(3),
    "bound_method": lambda: cute.compile(Gemm(2).method, 3),
    "tvm_ffi": lambda: cute.compile(host, Int32(13), options="--enable-tvm-ffi"),
    "tensor": lambda: cute.compile(tensor_host, fake_tensor((32,)), options="--enable-tvm-ffi"),
    "tensor_other_shape": lambda: cute.compile(tensor_host, fake_tensor((64,)), options="--enable-tvm-ffi"),
    "no_cache": lambda: host(41, no_cache=True),
    "failing": lambda: cute.compile(failing, 1),
    "failing_implicit": lambda: failing(1),
    "after_failing": lambda: cute.compile(host, 14),
    "wrong_arguments": lambda: cute.compile(host),
    "failing_launch": lambda: launching(3),
    "failing_launch_again": lambda: launching(3),
    "threads": threads,
}


@cute.kernel
def tensor_kernel(t: cute.Tensor):
    thread, _, _ = cute.arch.thread_idx()
    t[thread] = t[thread] + 1.0


@cute.jit
def tensor_host(t: cute.Tensor):
    tensor_kernel(t).launch(grid=[1, 1, 1], block=[32, 1, 1])


def fake_tensor(shape):
    # Not an import statement: 4.2 runs each one that it finds in this file.
    runtime = importlib.import_module("cutlass.cute.runtime")
    return runtime.make_fake_compact_tensor(cutlass.Float32, shape)


def outcome(run) -> str:
    try:
        result = run()
    except BaseException as error:
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0][:100] if lines else ''}"
    return type(result).__name__


def main() -> None:
    with contextlib.suppress(ImportError, NotImplementedError):
        importlib.import_module("cutlass.cute.experimental")
    for step in chosen or STEPS:
        with jitspan.request(None, name=step) if watching else contextlib.nullcontext():
            said = outcome(STEPS[step])
        print("\n" + json.dumps({"step": step, "outcome": said}), flush=True)
    if watching:
        jitspan.flush()
        stats = {name: count for name, count in jitspan.stats().items() if name.startswith(("events.", "faults."))}
        print("\n" + json.dumps({"stats": stats}), flush=True)


main()
