"""The ASGI middleware, in front of a real uvicorn and by itself."""

from __future__ import annotations

from support.records import outline, parent_id, trace_id, traceparent

SERVER = """
import asyncio, contextlib, json, socket, threading, urllib.request
import jitspan, kernels, uvicorn

kernels.launch_add(block=128)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            await send({"type": f"lifespan.{step}.complete"})
        return
    await asyncio.sleep(0.01)
    if scope["path"] != "/health":
        await asyncio.to_thread(kernels.launch_add, block=int(scope["path"][1:]))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

@contextlib.contextmanager
def serving(app):
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    def get(path, traceparent=None):
        headers = {"traceparent": traceparent} if traceparent else {}
        return urllib.request.urlopen(urllib.request.Request(base + path, headers=headers), timeout=60).status
    try:
        yield get
    finally:
        server.should_exit = True
        thread.join()
"""


def test_each_request_behind_uvicorn_gets_its_own_compiles(scripts, receiver):
    scripts.run(
        SERVER
        + f"""
jitspan.activate()
with serving(jitspan.Middleware(app, name="generate")) as get:
    assert get("/256", {traceparent(1)!r}) == 200
    assert get("/256", {traceparent(2)!r}) == 200
    assert get("/512", {traceparent(3)!r}) == 200
assert jitspan.flush(timeout=10)
print("null")
""",
        env=receiver.environment(),
    ).json()
    assert outline(receiver.spans) == [
        (trace_id(number), parent_id(number), "generate", ["jit.compile"]) for number in (1, 3)
    ]


def test_the_first_good_answer_on_the_readiness_path_arms(scripts, receiver):
    finished = scripts.run(
        SERVER
        + """
with serving(jitspan.Middleware(app, arm_on="/health")) as get:
    seen = [get("/256"), jitspan.is_active(), get("/health"), jitspan.is_active()]
print(json.dumps(seen))
""",
        env=receiver.environment(),
    )
    assert finished.json() == [200, False, 200, True]


DRIVER = """
import asyncio, json, jitspan

def driven(app, **scope):
    return jitspan.Middleware(app)({"type": "http", "path": "/", "headers": []} | scope, None, None)
"""


def test_it_is_the_coroutine_that_async_def_would_have_made(scripts):
    finished = scripts.run(
        DRIVER
        + """
async def app(scope, receive, send):
    await asyncio.sleep(0)
    return "done"

async def main():
    middleware = jitspan.Middleware(app)
    coroutine = driven(app)
    facts = [asyncio.iscoroutine(coroutine), asyncio.iscoroutinefunction(middleware.__call__), middleware.app is app]
    return [*facts, await coroutine, await asyncio.create_task(driven(app)), await driven(app, type="websocket")]

print(json.dumps(asyncio.run(main())))
"""
    )
    assert finished.json() == [True, True, True, "done", "done", "done"]


def test_exceptions_and_cancellation_are_the_applications_own(scripts):
    finished = scripts.run(
        DRIVER
        + """
async def fails(scope, receive, send):
    raise ValueError("of the application")

async def hangs(scope, receive, send):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise

async def main():
    try:
        await driven(fails)
    except ValueError as error:
        seen.append(str(error))
    try:
        await asyncio.wait_for(driven(hangs), 0.05)
    except asyncio.TimeoutError:
        seen.append("timed out")
    driven(hangs).close()
    never = driven(hangs)
    try:
        never.throw(KeyError("before the first step"))
    except KeyError:
        seen.append("thrown")

seen = []
asyncio.run(main())
print(json.dumps(seen))
"""
    )
    assert finished.json() == ["of the application", "cancelled", "timed out", "thrown"]
