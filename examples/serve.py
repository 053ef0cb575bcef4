"""A small inference server that says which request paid for a kernel compile.

The shape is that of a real one: an HTTP handler, a model step in a worker thread, a Triton kernel compiled once for
each block size, and a warm-up that was thought to cover what comes. The lines with `jitspan` are all it takes.

    python examples/serve.py --port 8000
    curl -d '{"prompt_tokens": 20000}' -H 'content-type: application/json' http://127.0.0.1:8000/generate
"""

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jitspan
import triton
import triton.language as tl
import uvicorn
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field

try:
    import torch

    HAS_GPU = torch.cuda.is_available()
except ImportError:
    HAS_GPU = False

if not HAS_GPU:
    import fake_gpu

    fake_gpu.install()

HEADS = 8
LONGEST_PROMPT = 32_768
WARM_UP_LENGTHS = (128, 256, 512, 1024, 2048)

logger = logging.getLogger("serve")


@triton.jit  # type: ignore[untyped-decorator]
def attention_softmax(output, scores, length, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < length
    score = tl.load(scores + row * length + column, mask=inside, other=-float("inf"))
    weight = tl.exp(score - tl.max(score, axis=0))
    tl.store(output + row * length + column, weight / tl.sum(weight, axis=0), mask=inside)


def new_tensor() -> Any:
    return torch.zeros(HEADS * LONGEST_PROMPT, device="cuda") if HAS_GPU else fake_gpu.FakeTensor("float32")


SCORES, WEIGHTS = new_tensor(), new_tensor()


def model_step(length: int) -> None:
    attention_softmax[(HEADS,)](WEIGHTS, SCORES, length, BLOCK=triton.next_power_of_2(length))
    if HAS_GPU:
        torch.cuda.synchronize()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    for length in WARM_UP_LENGTHS:
        model_step(length)
    logger.info("warm-up done for prompts of %s tokens, on a %s", WARM_UP_LENGTHS, "GPU" if HAS_GPU else "fake GPU")
    jitspan.preload()  # what JITSPAN_MANIFEST says compiled late before; nothing if it is not set
    jitspan.activate()
    yield
    # uvicorn ends a process that got SIGTERM with that signal, so nothing registered with `atexit` runs.
    jitspan.flush(timeout=2)


class Prompt(BaseModel):
    prompt_tokens: int = Field(ge=1, le=LONGEST_PROMPT)


app = FastAPI(lifespan=lifespan)


@app.post("/generate")
async def generate(prompt: Prompt, request: Request) -> dict[str, int]:
    with jitspan.request(request.headers, name="generate"):
        await asyncio.to_thread(model_step, prompt.prompt_tokens)
    return {"prompt_tokens": prompt.prompt_tokens}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    uvicorn.run(app, host="127.0.0.1", port=arguments.port)


if __name__ == "__main__":
    main()
