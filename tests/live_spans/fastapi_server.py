"""A FastAPI server that only opentelemetry-instrumentation-fastapi traces; prints its port, then serves."""

import asyncio

import kernels
import uvicorn
from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from provider import PROVIDER, TRACER

import jitspan

kernels.launch_add(block=128)
jitspan.activate()

app = FastAPI()


@app.get("/worker/{number}/{block}")
def in_a_worker_thread(number: int, block: int) -> int:
    kernels.launch_add(block=block)
    return number


@app.get("/task/{number}/{block}")
async def in_the_task(number: int, block: int) -> int:
    await asyncio.sleep(number % 5 / 100)
    kernels.launch_add(block=block)
    await asyncio.sleep(number % 3 / 100)
    return number


@app.get("/nested/{number}/{block}")
async def in_a_span_inside_a_thread(number: int, block: int) -> int:
    await asyncio.sleep(number % 7 / 100)
    with TRACER.start_as_current_span("model"):
        await asyncio.to_thread(kernels.launch_add, block=block)
    return number


FastAPIInstrumentor.instrument_app(app, tracer_provider=PROVIDER)


class Server(uvicorn.Server):
    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        print(self.servers[0].sockets[0].getsockname()[1], flush=True)


Server(uvicorn.Config(app, port=0, log_level="warning")).run()
assert jitspan.flush(timeout=10)
