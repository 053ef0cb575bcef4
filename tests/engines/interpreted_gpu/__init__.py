"""A vLLM platform for machines without a GPU: the unmodified CUDA wheel, with every launch interpreted.

Front end, engine core, workers, scheduler, model runner, sampler, LoRA, warm-up, vLLM's own `jit_monitor`, tracing and
every Triton compile are the real ones. A launch runs the kernel's own source in Triton's interpreter, on CPU tensors:
right numbers, slowly. There are no CUDA graphs, no streams, no Inductor and no NCCL here.

The folder beside this one is its entry point: with `tests/engines` and `examples` on PYTHONPATH it is installed. It
does nothing unless `INTERPRETED_GPU=1`. Written for vLLM 0.26 with Triton 3.6 and models in float16: the interpreter
computes on the bits of a bfloat16 as if they were an integer.
"""

import os

# Several engines on one machine, and nothing that can be reached from outside.
LOOPBACK = {"VLLM_HOST_IP": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}


def platform() -> str | None:
    """vLLM asks in each of its processes, more than once."""
    if os.environ.get("INTERPRETED_GPU") != "1":
        return None
    for name, value in LOOPBACK.items():
        os.environ.setdefault(name, value)
    from interpreted_gpu import driver

    driver.install()
    return "interpreted_gpu.platform.InterpretedPlatform"
