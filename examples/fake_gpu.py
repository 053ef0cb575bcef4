"""A GPU that is not there: Triton compiles for real, only the launch does nothing.

Triton's front end, MLIR, LLVM and `ptxas` (it comes in the wheel) all run; what they make is loaded into nowhere and
launched on nothing. So a machine without a GPU pays the true price of a compile. Works with Triton 3.0 to 3.9, and
with its autotuner from 3.2 on; needs no torch.

    import fake_gpu
    fake_gpu.install()
    kernel[(grid,)](fake_gpu.FakeTensor("float32"), 1024, BLOCK=1024)
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.runtime import driver as triton_driver

# Up to Triton 3.1 the name in `triton.runtime` is the module, since then the object inside it.
ACTIVE_DRIVER = triton_driver if hasattr(triton_driver, "set_active") else triton_driver.driver

TRITON_VERSION = tuple(int(part) for part in triton.__version__.split(".")[:2])

HOPPER = GPUTarget("cuda", 90, 32)


class Launch(NamedTuple):
    """One launch that a GPU would have run."""

    kernel: str
    grid: tuple[int, int, int]


class FakeTensor:
    """As much of a tensor as Triton looks at: a type that prints as torch's does, and an address.

    `offset` moves the address: with one that is no multiple of 16, Triton builds another, slower kernel.
    """

    # Far apart and well aligned, as a GPU allocator's blocks are.
    _addresses = itertools.count(0x7F00_0000_0000, 1 << 30)

    def __init__(self, dtype: str = "float32", *, offset: int = 0) -> None:
        self.dtype = f"torch.{dtype}"
        self.device = "cuda:0"
        self._address = next(self._addresses) + offset

    def data_ptr(self) -> int:
        return self._address

    # An autotuner with `reset_to_zero` or `restore_value` calls these between two runs.
    def zero_(self) -> FakeTensor:
        return self

    def clone(self) -> FakeTensor:
        return self

    def copy_(self, _source: FakeTensor) -> FakeTensor:
        return self


class FakeDriver(DriverBase):  # type: ignore[misc]
    """What Triton asks of a driver, with an H100's answers."""

    def __init__(self, target: GPUTarget = HOPPER) -> None:
        self.target = target
        self.launches: deque[Launch] = deque(maxlen=10_000)
        self.utils = _Utils()

    def launcher_cls(self, _source: Any, metadata: Any) -> Callable[..., None]:
        """Takes the place of the C launcher: runs the hooks around a launch and notes that it happened."""

        def launch(*arguments: Any) -> None:
            grid_x, grid_y, grid_z, _stream, _function, _packed, launch_metadata, enter_hook, exit_hook = arguments[:9]
            if enter_hook is not None:
                enter_hook(launch_metadata)
            self.launches.append(Launch(metadata.name, (grid_x, grid_y, grid_z)))
            if exit_hook is not None:
                exit_hook(launch_metadata)

        return launch

    @classmethod
    def is_active(cls) -> bool:
        return True

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def set_current_device(self, _device: int) -> None:
        pass

    def get_current_stream(self, _device: int = 0) -> int:
        return 0

    def get_device_capability(self, _device: int = 0) -> tuple[int, int]:
        major, minor = divmod(int(self.target.arch), 10)
        return major, minor

    def get_active_torch_device(self) -> str:
        return "cuda:0"

    def get_device_interface(self) -> None:
        return None

    def map_python_to_cpp_type(self, _type: str) -> str:
        return "void*"

    def assemble_tensormap_to_arg(self, _tensormaps: Any, arguments: Any) -> Any:
        return arguments

    def get_benchmarker(self) -> Callable[..., Sequence[float]]:
        return benchmark


class _Utils:
    """The part of Triton's CUDA driver that is written in C."""

    def get_device_properties(self, _device: int) -> dict[str, int]:
        return {
            "max_shared_mem": 232_448,
            "max_num_regs": 65_536,
            "multiprocessor_count": 132,
            "warpSize": 32,
            "sm_clock_rate": 1_980_000,
            "mem_clock_rate": 2_619_000,
            "mem_bus_width": 5_120,
        }

    def load_binary(self, _name: str, binary: bytes, _shared_memory: int, _device: int) -> tuple[object, ...]:
        if not binary.startswith(b"\x7fELF"):
            raise ValueError("Triton handed over something that is not a compiled kernel")
        module, function, registers, spills, max_threads = object(), 1, 32, 0, 1024
        # The last one is asked for since Triton 3.4.
        return (module, function, registers, spills, max_threads)[: 5 if TRITON_VERSION >= (3, 4) else 4]

    def unload_module(self, _module: object) -> None:
        pass


def benchmark(
    kernel_call: Callable[[], Any], *, quantiles: Sequence[float] = (0.5, 0.2, 0.8), **_options: Any
) -> list[float]:
    """Stands in for `triton.testing.do_bench`: as many numbers as `quantiles`, in milliseconds.

    The times are of a launch that does nothing, so which configuration wins is chance. The compiles are real.
    """
    kernel_call()  # The first call compiles; do_bench does not count it either.
    times = []
    for _ in range(3):
        start = time.perf_counter()
        kernel_call()
        times.append((time.perf_counter() - start) * 1e3)
    times.sort()
    return [times[min(int(quantile * len(times)), len(times) - 1)] for quantile in quantiles]


def install(target: GPUTarget = HOPPER) -> FakeDriver:
    """Makes a fake GPU the one that Triton works with in this process."""
    driver = FakeDriver(target)
    ACTIVE_DRIVER.set_active(driver)
    return driver
