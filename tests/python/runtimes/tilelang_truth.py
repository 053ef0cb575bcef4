"""What TileLang does on the way to a kernel for the CPU: in memory, in its database, compiled."""

# No `from __future__ import annotations`: TileLang reads what they are.
import gc
import inspect
from concurrent.futures import ThreadPoolExecutor

from steps import event, main, request, step, watch

watch()

import tilelang  # noqa: E402
import tilelang.language as T  # noqa: E402
import torch  # noqa: E402
from tilelang.cache.kernel_cache import KernelCache  # noqa: E402

NEW = "new_specialization"
# 0.1.8 takes the target "c" for a GPU's unless told.
ON_CPU = {"is_cpu": True} if "is_cpu" in inspect.signature(T.Kernel).parameters else {}


def program(count: int, block: int = 32, dtype: str = "float32", name: str = "scale"):
    @T.prim_func
    def main(a: T.Tensor((count,), dtype), o: T.Tensor((count,), dtype)):
        with T.Kernel(T.ceildiv(count, block), **ON_CPU) as bx:
            for i in T.serial(block):
                o[bx * block + i] = a[bx * block + i] + 1.0

    return main.with_attr("global_symbol", name)


@tilelang.jit(target="c")
def scale(count: int):
    return program(count)


def run(kernel, count: int) -> float:
    values, result = torch.ones(count), torch.zeros(count)
    kernel(values, result)
    return float(result.sum())


@step(event("compile", "scale", "miss", "first_use"))
def a_kernel_that_is_nowhere():
    return run(scale(64), 64)


@step()
def a_kernel_in_memory():
    return run(scale(64), 64)


@step(event("compile", "scale", "miss", NEW, "a: float32[64] -> float32[128]; o: float32[64] -> float32[128]"))
def another_shape():
    return run(scale(128), 128)


@step(event("load", "scale", "hit", "recompile"))
def from_the_database():
    for cache in [any_ for any_ in gc.get_objects() if isinstance(any_, KernelCache)]:
        cache._memory_cache.clear()
    return run(tilelang.jit(target="c")(program)(64), 64)


@step(event("compile", "scale", "miss", NEW, "a: float32[64] -> float64[64]; o: float32[64] -> float64[64]"))
def another_dtype():
    kernel = tilelang.jit(target="c")(program)(64, 32, "float64")
    values, result = torch.ones(64, dtype=torch.float64), torch.zeros(64, dtype=torch.float64)
    kernel(values, result)
    return float(result.sum())


@step(event("compile", "broken", "miss", "first_use", error="RuntimeError"))
def a_program_that_does_not_compile():
    try:
        tilelang.compile(program(64, name="broken"), target="c", compile_flags=["--no-such-flag"], pass_configs=None)
    except Exception as error:
        return type(error).__name__


@step(
    event("compile", "several_", "miss", "first_use"),
    event("compile", "several_", "miss", "first_use"),
)
def several_in_threads_of_its_own():
    kernels = tilelang.par_compile(
        [program(size, name=f"several_{size}") for size in (32, 96)], target="c", num_workers=2
    )
    return [run(kernel, size) for kernel, size in zip(kernels, (32, 96), strict=True)]


@step(
    event("compile", "first", "miss", "first_use", request="in_a_thread_of_first"),
    event("compile", "second", "miss", "first_use", request="in_a_thread_of_second"),
)
def in_two_threads():
    def serve(name: str) -> float:
        with request(f"in_a_thread_of_{name}"):
            return run(tilelang.compile(program(64, name=name), target="c"), 64)

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(serve, ("first", "second")))


if __name__ == "__main__":
    main()
