"""What numba does on the way to a function: in memory, on disk, compiled; alone, and in one that calls it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ["NUMBA_CACHE_DIR"] = str(Path.cwd() / "numba")

from steps import event, main, request, step, watch

watch()

import numba  # noqa: E402
import numpy as np  # noqa: E402

NEW = "new_specialization"
FLOATS = np.ones(8)


def plus(left, right):
    return left + right


scale = numba.njit(plus)


@numba.njit
def inner(value):
    return value * 2


@numba.njit
def outer(value):
    return inner(value) + 1


@numba.njit
def untypable(value):
    return value.no_such_attribute


@numba.njit(cache=True)
def kept(value):
    return value + 3


@numba.vectorize
def each(value):
    return value + 1


@step(event("compile", "plus", "miss", "first_use"))
def a_function_that_is_nowhere():
    return scale(1, 2)


@step()
def a_function_in_memory():
    return [scale(number, 2) for number in range(100)]


@step(event("compile", "plus", "miss", NEW, "left: int64 -> float64"))
def another_type():
    return scale(1.5, 2)


@step(
    event("compile", "outer", "miss", "first_use"),
    event("compile", "inner", "miss", "first_use", parent="jit.compile"),
)
def a_function_that_calls_another():
    return outer(3)


@step(event("compile", "untypable", "miss", "first_use", error="TypingError"))
def a_function_that_does_not_compile():
    return untypable(1)


@step()
def the_same_again():
    return untypable(1)


@step(event("compile", "kept", "miss", "first_use"))
def one_with_a_cache_on_disk():
    return kept(1)


@step(event("load", "kept", "hit", "recompile"))
def from_the_disk():
    again = numba.njit(cache=True)(kept.py_func)
    return again(1)


@step(event("compile", "each", "miss", "first_use"))
def a_ufunc():
    return each(FLOATS).sum()


@step()
def a_ufunc_in_memory():
    return each(FLOATS).sum()


@step(event("compile", "plus", "miss", NEW, "left: float64 -> float32; right: int64 -> float32"))
def a_ufunc_with_its_signatures():
    return numba.vectorize(["float32(float32, float32)"])(plus)(np.float32(1), np.float32(2))


@step(event("compile", "plus", "miss", NEW, "right: int64 -> float64"))
def a_callback():
    return numba.cfunc("float64(float64, float64)")(plus).ctypes(1.0, 2.0)


@step(
    event("compile", "first", "miss", "first_use", request="in_a_thread_of_first"),
    event("compile", "second", "miss", "first_use", request="in_a_thread_of_second"),
)
def in_two_threads():
    def first(value):
        return value + 1

    def second(value):
        return value + 2

    def serve(function):
        with request(f"in_a_thread_of_{function.__name__}"):
            return numba.njit(function)(1)

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(serve, (first, second)))


if __name__ == "__main__":
    main()
