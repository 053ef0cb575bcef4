"""Kernels that Inductor gives to its pool of processes: the real pool, the real Triton and ptxas, and no GPU.

What needs one is left out: the choice of a driver (in the worker, by the kernel's own source), and the launchers.
"""

from __future__ import annotations

import os
import time

os.environ |= {"TORCHINDUCTOR_COMPILE_THREADS": "2", "TORCHINDUCTOR_WORKER_START": "subprocess"}

from steps import event, main, step, watch

watch()

from torch._inductor.async_compile import AsyncCompile, CompiledTritonKernels  # noqa: E402
from torch._inductor.runtime.triton_heuristics import CachingAutotuner  # noqa: E402

os.environ["TRITON_CACHE_DIR"] = os.path.join(os.environ["TORCHINDUCTOR_CACHE_DIR"], "triton")
for name in ("_make_launchers", "_dynamic_scale_rblock"):
    setattr(CachingAutotuner, name, lambda *_arguments, **_options: None)

SOURCE = """
import triton
import triton.language as tl
from torch._inductor.runtime import triton_helpers, triton_heuristics
from torch._inductor.runtime.hints import AutotuneHint, DeviceProperties
triton_helpers.set_driver_to_gpu = lambda: None

@triton_heuristics.pointwise(
    size_hints={{'x': 1024}},
    filename=__file__,
    triton_meta={{'signature': {{'x': '*fp32', 'n': 'i32', 'XBLOCK': 'constexpr'}},
        'device': DeviceProperties(type='cuda', index=0, multi_processor_count=132, cc=90, major=9,
            regs_per_multiprocessor=65536, max_threads_per_multi_processor=2048, warp_size=32),
        'constants': {{}}, 'configs': [{{(0,): [['tt.divisibility', 16]]}}]}},
    inductor_meta={{'kernel_name': '{name}', 'mutated_arg_names': ['x'], 'autotune_hints': set(),
        'autotune_local_cache': False}},
    min_elem_per_thread=0,
)
@triton.jit
def {name}(x, n, XBLOCK: tl.constexpr):
    index = tl.program_id(0) * XBLOCK + tl.arange(0, XBLOCK)
    tl.store(x + index, tl.load(x + index, mask=index < n) {change}, mask=index < n)
"""


def source(name: str, change: str) -> str:
    return SOURCE.format(name=name, change=change)


def ready() -> AsyncCompile:
    compiler = AsyncCompile()
    for _ in range(600):
        if compiler.use_process_pool():
            return compiler
        time.sleep(0.1)
    raise TimeoutError("the pool does not start")


@step(event("compile", "triton_poi_double", "miss", runtime="triton"))
def a_kernel_that_the_pool_compiles():
    first = ready().triton("triton_poi_double", source("triton_poi_double", "* 2"))
    # Asked for twice, as Inductor does: it is one kernel.
    again = ready().triton("triton_poi_double", source("triton_poi_double", "* 2"))
    return type(first.result()).__name__, again is first


@step(event("load", "triton_poi_double", "hit", runtime="triton"))
def a_kernel_that_the_pool_finds_on_disk():
    CompiledTritonKernels.cache_clear()
    time.sleep(0.1)
    return type(ready().triton("triton_poi_double", source("triton_poi_double", "* 2")).result()).__name__


@step(
    event("compile", "triton_poi_triple", "miss", runtime="triton"),
    event("compile", "triton_poi_half", "miss", runtime="triton"),
)
def two_at_once():
    kernels = {"triton_poi_triple": "* 3", "triton_poi_half": "/ 2"}
    futures = [ready().triton(name, source(name, change)) for name, change in kernels.items()]
    return [type(future.result()).__name__ for future in futures]


@step(event("compile", "triton_poi_wrong", "unknown", error="SubprocException", runtime="triton"))
def a_kernel_that_does_not_compile():
    try:
        return ready().triton("triton_poi_wrong", source("triton_poi_wrong", "+ no_such_name")).result()
    except Exception as error:
        return type(error).__name__


@step()
def a_kernel_that_nobody_waits_for():
    ready().triton("triton_poi_unused", source("triton_poi_unused", "- 1"))


if __name__ == "__main__":
    main()
