"""Kernels for tests, in a file because Triton reads their source. Importing this installs the fake GPU."""

import fake_gpu
import triton
import triton.language as tl

GPU = fake_gpu.install()

INPUT, OUTPUT = fake_gpu.FakeTensor("float32"), fake_gpu.FakeTensor("float32")


@triton.jit
def add(output, left, right, length, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < length
    total = tl.load(left + index, mask=inside) + tl.load(right + index, mask=inside)
    tl.store(output + index, total, mask=inside)


@triton.jit
def softmax(output, scores, length, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    inside = column < length
    score = tl.load(scores + column, mask=inside, other=-float("inf"))
    weight = tl.exp(score - tl.max(score, axis=0))
    tl.store(output + column, weight / tl.sum(weight, axis=0), mask=inside)


@triton.jit
def broken(output, BLOCK: tl.constexpr):
    tl.static_assert(BLOCK < 0, "this kernel never compiles")
    tl.store(output, BLOCK)


@triton.jit
def unrolled(output, source, TIMES: tl.constexpr):
    total = 0.0
    for _ in tl.static_range(TIMES):
        total = tl.exp(total + tl.load(source))
    tl.store(output, total)


@triton.autotune(configs=[triton.Config({"BLOCK": block}) for block in (128, 256)], key=["length"])
@triton.jit
def tuned_copy(output, source, length, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = index < length
    tl.store(output + index, tl.load(source + index, mask=inside), mask=inside)


def launch_add(length: int = 1024, block: int = 128, **options: int):
    return add[(triton.cdiv(length, block),)](OUTPUT, INPUT, INPUT, length, BLOCK=block, **options)


def launch_softmax(length: int = 1024, block: int = 1024):
    return softmax[(1,)](OUTPUT, INPUT, length, BLOCK=block)


def launch_unrolled(times: int = 200):
    """Compiles for about a second."""
    return unrolled[(1,)](OUTPUT, INPUT, TIMES=times)


def launch_broken():
    return broken[(1,)](OUTPUT, BLOCK=1)


def launch_tuned_copy(length: int = 1024):
    return tuned_copy[lambda meta: (triton.cdiv(length, meta["BLOCK"]),)](OUTPUT, INPUT, length)


def forget(kernel) -> None:
    """Empties the cache in memory, so that the next launch asks the cache on disk."""
    # Up to Triton 3.2 it is called `cache`.
    getattr(kernel, "device_caches" if hasattr(kernel, "device_caches") else "cache").clear()
