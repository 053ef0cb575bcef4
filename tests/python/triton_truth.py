"""Things that happen in Triton, each with all that must be reported of it: no more, and no less.

A program of its own: `test_triton_truth.py` runs it and compares. Prints what it expects as its last line; what was
reported comes from the console exporter, one request span for each step.
"""

from __future__ import annotations

import contextvars
import json
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fake_gpu
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler import compile as bound_early

VERSION = fake_gpu.TRITON_VERSION
GPU = fake_gpu.install()

if VERSION < (3, 2):
    # This old autotuner imports torch to ask for a GPU, and benchmarks with a function of its own.
    sys.modules["torch"] = types.ModuleType("torch")
    sys.modules["torch"].cuda = types.SimpleNamespace(is_available=lambda: False)
    import triton.runtime.autotuner

    triton.runtime.autotuner.do_bench = lambda call, **_options: fake_gpu.benchmark(call)

import jitspan  # noqa: E402

X, HALF, BRAIN, UNALIGNED = (
    fake_gpu.FakeTensor("float32"),
    fake_gpu.FakeTensor("float16"),
    fake_gpu.FakeTensor("bfloat16"),
    fake_gpu.FakeTensor("float32", offset=4),
)

Expected = list[dict[str, Any]]
STEPS: list[tuple[str, Callable[[], Any], Expected]] = []


def event(kind: str, kernel: str, cause: str | None, changes: str = "", **more: Any) -> dict[str, Any]:
    """What is compared of one event."""
    cache = {"load": "hit", "compile": "miss", "autotune": "miss"}[kind]
    expected = {"event": f"jit.{kind}", "kernel": kernel, "cache": cache, "cause": cause, "changes": changes, **more}
    return {key: value for key, value in expected.items() if value not in (None, "")}


def step(expected: Expected | dict[str, Any], since: tuple[int, int] = (3, 0)) -> Callable:
    def decorate(run: Callable[[], Any]) -> Callable:
        if since <= VERSION:
            STEPS.append((run.__name__, run, expected if isinstance(expected, list) else [expected]))
        return run

    return decorate


def scale(x, n, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + index, tl.load(x + index, mask=index < n) * 2, mask=index < n)


def shift(x, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + index, tl.load(x + index, mask=index < n) + EVEN, mask=index < n)


def picky(x, BLOCK: tl.constexpr):
    tl.static_assert(BLOCK > 100, "too small a block")
    tl.store(x + tl.arange(0, BLOCK), tl.zeros((BLOCK,), tl.float32))


def typed(x, n, TYPE: tl.constexpr, BLOCK: tl.constexpr):
    index = tl.arange(0, BLOCK)
    tl.store(x + index, tl.load(x + index, mask=index < n).to(TYPE).to(tl.float32), mask=index < n)


def once(*_arguments: Any, **_options: Any) -> tuple[int]:
    return (1,)


add = triton.jit(scale)
picky = triton.jit(picky)
typed = triton.jit(typed)


def forget(kernel: Any) -> None:
    getattr(kernel, "device_caches" if hasattr(kernel, "device_caches") else "cache").clear()


def raises(name: str, call: Callable[[], Any]) -> None:
    raised = "nothing"
    try:
        call()
    except Exception as error:
        raised = type(error).__name__
    assert raised == name


# --- One launch, one difference.


@step([])
def a_kernel_of_the_warm_up():
    add[(1,)](X, 128, BLOCK=128)


@step(event("compile", "scale", "new_specialization", "n: divisible by 16 -> not"))
def a_number_that_is_no_multiple_of_16():
    assert add[(1,)](X, 100, BLOCK=128) is not None


@step([])
def a_launch_from_memory():
    add[(1,)](X, 101, BLOCK=128)


@step(event("compile", "scale", "new_specialization", "n: any -> 1"))
def a_number_that_is_one():
    add[(1,)](X, 1, BLOCK=128)


@step(event("compile", "scale", "new_specialization", "BLOCK: 128 -> 256 (constexpr)"))
def another_constant():
    add[(1,)](X, 128, BLOCK=256)


@step(event("compile", "scale", "new_specialization", "dtype of x: fp32 -> fp16"))
def another_dtype():
    add[(1,)](HALF, 128, BLOCK=128)


@step(event("compile", "scale", "new_specialization", "dtype of x: fp16 -> bf16"))
def the_nearest_is_the_newest_of_the_near():
    add[(1,)](BRAIN, 128, BLOCK=128)


@step(event("compile", "scale", "new_specialization", "x: aligned 16 -> unaligned"))
def an_address_that_is_no_multiple_of_16():
    add[(1,)](UNALIGNED, 128, BLOCK=128)


@step(event("compile", "scale", "new_specialization", "num_warps 4 -> 8"))
def another_number_of_warps():
    add[(1,)](X, 128, BLOCK=128, num_warps=8)


@step(event("compile", "scale", "new_specialization", "dtype of n: i32 -> i64"))
def a_large_number():
    add[(1,)](X, 1 << 40, BLOCK=128)


@step(
    [
        event("compile", "typed", "first_use"),
        event("compile", "typed", "new_specialization", "TYPE: fp16 -> bf16 (constexpr)"),
    ]
)
def a_type_as_a_constant():
    typed[(1,)](X, 128, TYPE=tl.float16, BLOCK=128)
    typed[(1,)](X, 128, TYPE=tl.bfloat16, BLOCK=128)


@step(event("load", "scale", "recompile"))
def a_cache_in_memory_that_was_dropped():
    forget(add)
    add[(1,)](X, 100, BLOCK=128)


@step(event("load", "scale", "first_use"))
def the_same_source_in_another_function():
    triton.jit(scale)[(1,)](X, 100, BLOCK=128)


# --- Failures.

ASSERTION = {"error": "CompileTimeAssertionFailure"}


@step([event("compile", "picky", "first_use", **ASSERTION), event("compile", "picky", "first_use", **ASSERTION)])
def a_kernel_that_does_not_compile_and_is_tried_again():
    for _ in range(2):
        raises("CompileTimeAssertionFailure", lambda: picky[(1,)](X, BLOCK=64))


@step(event("compile", "picky", "first_use"))
def the_same_kernel_when_it_does():
    picky[(1,)](X, BLOCK=128)


# --- Without a launch.


def source(function: Any, **constants: int) -> ASTSource:
    signature = {name: kind for name, kind in (("x", "*fp32"), ("n", "i32")) if name in function.arg_names}
    if VERSION < (3, 3):
        return ASTSource(function, signature=signature, constants=constants)
    paths = {(function.arg_names.index(name),): value for name, value in constants.items()}
    return ASTSource(function, {**signature, **dict.fromkeys(constants, "constexpr")}, paths)


HOPPER = GPUTarget("cuda", 90, 32)
direct = triton.jit(scale)


@step([event("compile", "scale", "first_use"), event("load", "scale", "recompile")])
def compile_called_directly_twice():
    for _ in range(2):
        assert bound_early(source(direct, BLOCK=64), target=HOPPER).name.endswith("scale")


@step(event("compile", "scale", "new_specialization", "BLOCK: 64 -> 32 (constexpr)"))
def compile_called_directly_for_another_constant():
    triton.compile(source(direct, BLOCK=32), target=HOPPER)


@step(
    event(
        "compile",
        "picky",
        "new_specialization",
        "x: aligned 16 -> unaligned; BLOCK: 128 -> 16 (constexpr)",
        **ASSERTION,
    )
)
def compile_called_directly_that_fails():
    raises("CompileTimeAssertionFailure", lambda: triton.compile(source(picky, BLOCK=16), target=HOPPER))


@step(event("compile", "scale", "first_use", manual=True))
def a_manual_warm_up():
    triton.jit(scale).warmup(X, 128, BLOCK=2048, grid=(1,))


@step([])
def a_launch_that_fails_before_it_compiles():
    raises("KeyError", lambda: add[(1,)](X, 128, BLOCK=1024, no_such_option=1))


preloaded = triton.jit(scale)
PRELOAD: dict[str, str] = {}


@step(event("load", "scale", "first_use", manual=True))
def a_preload():
    assert preloaded.preload(PRELOAD["data"]) is not None


# --- Threads.

raced = triton.jit(scale)


@step([event("compile", "scale", "first_use"), event("compile", "scale", "first_use")])
def two_threads_and_one_specialization():
    ready = threading.Barrier(2)

    def launch():
        ready.wait()
        raced[(1,)](X, 128, BLOCK=4096)

    threads = [threading.Thread(target=jitspan.bind(launch)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


asynchronous = triton.jit(scale)


@step(
    [
        event("compile", "scale", "first_use"),
        event("compile", "scale", "new_specialization", "BLOCK: 16 -> 8 (constexpr)"),
    ],
    since=(3, 5),
)
def compiles_in_a_pool_are_the_requests_that_asked():
    from triton.runtime._async_compile import AsyncCompileMode

    with ThreadPoolExecutor(1) as pool, AsyncCompileMode(pool):
        asynchronous[(1,)](X, 128, BLOCK=16, num_warps=1)
        asynchronous[(1,)](X, 128, BLOCK=8, num_warps=1)


@step(event("compile", "picky", "first_use", manual=True, **ASSERTION), since=(3, 5))
def a_failure_in_a_pool():
    from triton.runtime._async_compile import AsyncCompileMode

    def launch():
        with ThreadPoolExecutor(1) as pool, AsyncCompileMode(pool):
            triton.jit(picky.fn).warmup(X, BLOCK=8, grid=(1,)).result()

    # In a context of its own: 3.6 stays in the mode after a failure.
    raises("CompileTimeAssertionFailure", lambda: contextvars.copy_context().run(launch))


# --- Tuning.


def tuned(*blocks: int, of: Any = scale, **options: Any) -> Any:
    configurations = [triton.Config({"BLOCK": block}, num_stages=2) for block in blocks]
    function = of if hasattr(of, "fn") else triton.jit(of)
    return triton.autotune(configs=configurations, key=["n"], **options)(function)


def tuning(cause: str, changes: str = "", count: int = 2, declared: int = 2, key: str = "n=1000", **more: Any) -> dict:
    kernel = more.pop("kernel", "scale")
    return event("autotune", kernel, cause, changes, key=key, declared=declared, benchmarked=count, **more)


both = tuned(512, 1024)
NEXT_BLOCK = "BLOCK: {} -> {} (constexpr)"


@step(
    [
        tuning("first_use"),
        event("compile", "scale", "first_use", parent="jit.autotune"),
        event("compile", "scale", "new_specialization", NEXT_BLOCK.format(512, 1024), parent="jit.autotune"),
    ]
)
def a_tuning():
    both[once](X, 1000)


@step([])
def a_launch_that_was_tuned():
    both[once](X, 1000)


@step(tuning("retune", "n: 1000 -> 1001 (tuning key)", key="n=1001"))
def a_tuning_without_a_compile():
    both[once](X, 1001)


@step(
    [
        tuning("retune", "dtype of x: fp32 -> fp16", key="n=1001"),
        event("compile", "scale", "new_specialization", "dtype of x: fp32 -> fp16", parent="jit.autotune"),
        event("compile", "scale", "new_specialization", NEXT_BLOCK.format(512, 1024), parent="jit.autotune"),
    ]
)
def a_tuning_for_another_dtype():
    both[once](HALF, 1001)


@step(event("compile", "scale", "first_use"))
def one_configuration_is_not_tuned():
    tuned(8192)[once](X, 1000)


# Up to 3.7 a single configuration that is left is benchmarked all the same.
PRUNED = (
    [tuning("first_use", count=1), event("load", "scale", "first_use", parent="jit.autotune")]
    if VERSION < (3, 8)
    else [event("load", "scale", "first_use")]
)


@step(PRUNED)
def pruned_to_one_configuration():
    first = {"early_config_prune": lambda configurations, *_, **__: configurations[:1]}
    tuned(512, 1024, prune_configs_by=first)[once](X, 1000)


def is_even(arguments: dict[str, Any]) -> bool:
    return arguments["n"] % 2 == 0


@step(event("compile", "shift", "first_use"))
def heuristics():
    triton.heuristics({"EVEN": is_even})(triton.jit(shift))[once](X, 1000, BLOCK=128)


SHIFTED = [
    tuning("first_use", kernel="shift"),
    event("compile", "shift", "first_use", parent="jit.autotune"),
    event("compile", "shift", "new_specialization", NEXT_BLOCK.format(512, 1024), parent="jit.autotune"),
]


@step(SHIFTED)
def a_tuning_over_heuristics():
    tuned(512, 1024, of=triton.heuristics({"EVEN": is_even})(triton.jit(shift)))[once](X, 1000)


@step([*SHIFTED[:1], *({**each, "event": "jit.load", "cache": "hit"} for each in SHIFTED[1:])])
def heuristics_over_a_tuning():
    triton.heuristics({"EVEN": is_even})(tuned(512, 1024, of=shift))[once](X, 1000)


@step(
    [
        event("load", "scale", "first_use", manual=True),
        event("load", "scale", "new_specialization", NEXT_BLOCK.format(512, 1024), manual=True),
    ]
)
def a_tuners_warm_up():
    tuned(512, 1024).warmup(X, 1000, grid=(1,))


@step(
    [
        tuning("first_use", count=1, error="CompilationError"),
        event("load", "scale", "first_use", parent="jit.autotune"),
        event(
            "compile",
            "scale",
            "new_specialization",
            NEXT_BLOCK.format(512, 100),
            error="CompilationError",
            parent="jit.autotune",
        ),
    ]
)
def a_configuration_that_ends_the_tuning():
    raises("CompilationError", lambda: tuned(512, 100)[once](X, 1000))


@step(
    [
        event("autotune", "picky", "first_use", declared=2, benchmarked=2),
        event("compile", "picky", "first_use", parent="jit.autotune", **ASSERTION),
        event("compile", "picky", "first_use", parent="jit.autotune"),
    ]
)
def a_configuration_that_cannot_run():
    configurations = [triton.Config({"BLOCK": block}, num_stages=2) for block in (64, 256)]
    tuner = triton.autotune(configs=configurations, key=[])(triton.jit(picky.fn))
    tuner[once](X)


kept = tuned(512, 1024, cache_results=True) if VERSION >= (3, 4) else None


@step(
    [
        tuning("first_use"),
        event("load", "scale", "first_use", parent="jit.autotune"),
        event("load", "scale", "new_specialization", NEXT_BLOCK.format(512, 1024), parent="jit.autotune"),
    ],
    since=(3, 4),
)
def a_tuning_that_is_kept_on_disk():
    kept[once](X, 1000)


@step({**tuning("first_use", count=0), "cache": "hit"}, since=(3, 4))
def a_tuning_from_disk():
    kept.cache.clear()
    kept[once](X, 1000)


# --- Others who compile.


@step([event("compile", "scale", None, cache="unknown")], since=(3, 2))
def inductor_tells_of_a_kernel_of_another_process():
    for _ in range(2):
        tell(types.SimpleNamespace(hash="0" * 64, src=None))


@step(event("compile", "scale", "new_specialization", "BLOCK: 32 -> 1 (constexpr)"), since=(3, 2))
def inductor_tells_of_a_kernel_of_this_process():
    tell(triton.compile(source(direct, BLOCK=1), target=HOPPER))


def tell(kernel: Any) -> None:
    """As torch/_inductor/runtime/triton_heuristics.py does with TORCHINDUCTOR_RUN_JIT_POST_COMPILE_HOOK=1."""
    if hasattr(triton, "knobs"):
        hook = triton.knobs.runtime.jit_post_compile_hook
    else:
        hook = triton.runtime.jit.JITFunction.compiled_hook
    hook(key="", repr="", fn=direct, compile=kernel, is_manual_warmup=False, already_compiled=True)


if VERSION >= (3, 5):
    from triton.experimental import gluon
    from triton.experimental.gluon import language as gl

    @gluon.jit
    def layered(x, BLOCK: gl.constexpr):
        layout: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
        index = gl.arange(0, BLOCK, layout=layout)
        gl.store(x + index, index.to(gl.float32))

    @step(
        [
            event("compile", "layered", "first_use"),
            event("compile", "layered", "new_specialization", "BLOCK: 128 -> 256 (constexpr)"),
        ]
    )
    def gluon_kernels():
        layered[(1,)](X, BLOCK=128)
        layered[(1,)](X, BLOCK=256)


def warm_up() -> None:
    def keep(**payload: Any) -> None:
        PRELOAD["data"] = payload["compile"]["specialization_data"]

    owner, name = (
        (triton.knobs.runtime, "jit_cache_hook")
        if hasattr(triton, "knobs")
        else (triton.runtime.jit.JITFunction, "cache_hook")
    )
    setattr(owner, name, keep)
    add[(1,)](X, 128, BLOCK=128)
    setattr(owner, name, None)


if __name__ == "__main__":
    warm_up()
    jitspan.activate()
    for name, run, _ in STEPS:
        with jitspan.request(name=name):
            run()
    jitspan.deactivate()
    add[(1,)](X, 128, BLOCK=2)
    jitspan.flush()
    print(json.dumps([[name, expected] for name, _, expected in STEPS]))
