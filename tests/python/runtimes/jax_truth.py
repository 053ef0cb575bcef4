"""What JAX does on the way to an executable on the CPU: in memory, in the persistent cache, compiled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from steps import event, main, request, step, watch

watch()

import jax  # noqa: E402
import numpy as np  # noqa: E402

jax.config.update("jax_compilation_cache_dir", str(Path.cwd() / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

NEW = "new_specialization"


@jax.jit
def scale(values):
    return values * 2 + 1


def numbers(count: int, dtype: str = "float32") -> np.ndarray:
    return np.ones(count, dtype)


def total(values) -> float:
    # By numpy: JAX would compile that too.
    return float(np.asarray(values).sum())


@step(event("compile", "jit_scale", "miss", "first_use"))
def a_function_that_is_nowhere():
    return total(scale(numbers(8)))


@step()
def a_function_in_memory():
    return [total(scale(numbers(8))) for _ in range(20)]


@step(event("compile", "jit_scale", "miss", NEW, "arguments: (tensor<8xf32>) -> (tensor<16xf32>)"))
def another_shape():
    return total(scale(numbers(16)))


@step(event("load", "jit_scale", "hit", "recompile"))
def from_the_persistent_cache():
    jax.clear_caches()
    return total(scale(numbers(8)))


@step(event("compile", "jit_other", "miss", "first_use"))
def after_somebody_has_cleared_the_listeners():
    if hasattr(jax.monitoring, "clear_event_listeners"):
        jax.monitoring.clear_event_listeners()

    def other(values):
        return values - 5

    return total(jax.jit(other)(numbers(8)))


@step()
def a_function_that_cannot_be_traced():
    return jax.jit(lambda values: values.no_such_attribute)(numbers(8))


@step(event("compile", "jit_ahead", "miss", "first_use"))
def ahead_of_time():
    def ahead(values):
        return values / 3

    return type(jax.jit(ahead).lower(numbers(8)).compile()).__name__


@step(
    event("compile", "jit_first", "miss", "first_use", request="in_a_thread_of_first"),
    event("compile", "jit_second", "miss", "first_use", request="in_a_thread_of_second"),
)
def in_two_threads():
    def first(values):
        return values + 41

    def second(values):
        return values + 42

    def serve(function):
        with request(f"in_a_thread_of_{function.__name__}"):
            return total(jax.jit(function)(numbers(8)))

    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(serve, (first, second)))


if __name__ == "__main__":
    main()
