"""What Warp does on the way to a module of kernels on the CPU: in memory, on disk, compiled by its own clang."""

# No `from __future__ import annotations`: Warp reads what they are.
import importlib
import sys
from pathlib import Path

from steps import event, main, step, watch

watch()

import warp as wp  # noqa: E402

wp.config.quiet = True
wp.config.kernel_cache_dir = str(Path.cwd() / "warp")

SOURCE = """
import warp as wp

@wp.kernel
def scale(values: wp.array(dtype=float)):
    values[wp.tid()] = values[wp.tid()] * {factor}
"""


def load(name: str, factor: str = "2.0"):
    (Path.cwd() / f"{name}.py").write_text(SOURCE.format(factor=factor))
    sys.path.insert(0, str(Path.cwd()))
    importlib.invalidate_caches()
    sys.modules.pop(name, None)
    return importlib.import_module(name)


def run(kernel) -> float:
    values = wp.array([1.0, 2.0], dtype=float, device="cpu")
    wp.launch(kernel, dim=2, inputs=[values], device="cpu")
    return float(values.numpy().sum())


@step(event("compile", "kernels_one", "miss", "first_use"))
def a_module_that_is_nowhere():
    return run(load("kernels_one").scale)


@step()
def a_module_in_memory():
    return [run(sys.modules["kernels_one"].scale) for _ in range(20)]


@step(event("load", "kernels_one", "hit", "recompile"))
def from_the_disk():
    sys.modules["kernels_one"].scale.module.unload()
    return run(sys.modules["kernels_one"].scale)


@step(event("compile", "kernels_one", "miss", "new_specialization", "module_hash: "))
def a_source_that_has_changed():
    return run(load("kernels_one", "333.25").scale)


# Up to 1.9 the C++ was written before a place of ours.
KNOWN_TO_FAIL = [event("compile", "kernels_wrong", "miss", "first_use", error="WarpCodegenKeyError")]


@step(*(KNOWN_TO_FAIL if not wp.config.version.startswith("1.5.") else []))
def a_kernel_that_cannot_be_read():
    try:
        return run(load("kernels_wrong", "no_such_name").scale)
    except Exception as error:
        return type(error).__name__


if __name__ == "__main__":
    main()
