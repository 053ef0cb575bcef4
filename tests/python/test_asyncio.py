"""A scope follows asyncio's tasks and threads, so that a compile is on the request that waited and on no other."""

from __future__ import annotations

from support.records import outline, parent_id, trace_id, traceparent


def test_of_fifty_concurrent_requests_only_those_that_compiled_carry_an_event(scripts, receiver):
    unlucky = {7: 256, 23: 512, 42: 1024}
    scripts.run(
        f"""
        import asyncio, jitspan, kernels

        kernels.launch_add(block=128)
        jitspan.activate()

        async def serve(number, traceparent, block):
            with jitspan.request({{"traceparent": traceparent}}, name="generate"):
                await asyncio.sleep(number % 5 / 100)
                await asyncio.to_thread(kernels.launch_add, block=block)
                await asyncio.sleep(number % 3 / 100)

        async def main():
            unlucky = {unlucky}
            traceparents = {[traceparent(number) for number in range(50)]}
            await asyncio.gather(*(
                serve(number, traceparent, unlucky.get(number, 128)) for number, traceparent in enumerate(traceparents)
            ))

        asyncio.run(main())
        assert jitspan.flush(timeout=10)
        print("null")
        """,
        env=receiver.environment(),
    ).json()
    assert outline(receiver.spans) == [
        (trace_id(number), parent_id(number), "generate", ["jit.compile"]) for number in unlucky
    ]


def test_a_compile_inside_the_task_itself_is_on_its_request(scripts, receiver):
    scripts.run(
        f"""
        import asyncio, jitspan, kernels

        jitspan.activate()

        async def step(block):
            kernels.launch_add(block=block)

        async def serve(traceparent, block):
            with jitspan.request(traceparent):
                await asyncio.sleep(0)
                await asyncio.create_task(step(block))

        async def main():
            await asyncio.gather(serve({traceparent(1)!r}, 128), serve({traceparent(2)!r}, 256))

        asyncio.run(main())
        assert jitspan.flush(timeout=10)
        print("null")
        """,
        env=receiver.environment(),
    ).json()
    assert outline(receiver.spans) == [
        (trace_id(number), parent_id(number), "inference", ["jit.compile"]) for number in (1, 2)
    ]


def test_an_executor_needs_bind_to_know_the_request(scripts, receiver):
    scripts.run(
        f"""
        import asyncio, jitspan, kernels

        jitspan.activate()

        async def main():
            loop = asyncio.get_running_loop()
            with jitspan.request({traceparent(1)!r}):
                kernel = await loop.run_in_executor(None, jitspan.bind(kernels.launch_add), 1024, 128)
                assert kernel.name == "add"
                await loop.run_in_executor(None, kernels.launch_add, 1024, 256)

        asyncio.run(main())
        assert jitspan.flush(timeout=10)
        print("null")
        """,
        env=receiver.environment(),
    ).json()
    lost, bound = sorted(outline(receiver.spans), key=lambda line: line[1])
    assert bound == (trace_id(1), parent_id(1), "inference", ["jit.compile"])
    # Nobody is in scope there, so it leaves as a root span of its own rather than getting lost.
    assert lost[0] != trace_id(1)
    assert lost[1] == ""
    assert lost[3] == ["jit.compile"]


def test_every_request_of_a_batch_is_told(scripts, receiver):
    scripts.run(
        f"""
        import jitspan, kernels

        jitspan.activate()
        with jitspan.batch([{traceparent(1)!r}, {{"TraceParent": {traceparent(2)!r}}}], name="step"):
            kernels.launch_add()
        with jitspan.batch([{traceparent(3)!r}], name="step"):
            kernels.launch_add()
        assert jitspan.flush(timeout=10)
        print("null")
        """,
        env=receiver.environment(),
    ).json()
    assert outline(receiver.spans) == [
        (trace_id(number), parent_id(number), "step", ["jit.compile"]) for number in (1, 2)
    ]
