"""Threads that meet the same new kernel each wait, and each request is told of its own wait."""

from __future__ import annotations

from support.records import outline, parent_id, trace_id, traceparent


def test_two_threads_that_compile_the_same_kernel_are_both_reported(scripts, receiver):
    # Triton holds no lock around a compile: both threads compile, as the barrier makes sure that they start together.
    scripts.run(
        f"""
        import threading, jitspan, kernels
        from triton import knobs

        kernels.launch_add(block=128)
        meet = threading.Barrier(2, timeout=30)
        knobs.runtime.jit_cache_hook = lambda **_: meet.wait() and None
        jitspan.activate()

        def serve(traceparent):
            with jitspan.request(traceparent):
                kernels.launch_add(block=256)

        threads = [threading.Thread(target=serve, args=(each,)) for each in {[traceparent(1), traceparent(2)]}]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert jitspan.flush(timeout=10)
        print("null")
        """,
        env=receiver.environment(),
    ).json()
    assert outline(receiver.spans) == [
        (trace_id(number), parent_id(number), "inference", ["jit.compile"]) for number in (1, 2)
    ]


def test_a_thread_pool_keeps_requests_apart(scripts, receiver):
    blocks = {number: 128 << (number % 4) for number in range(16)}
    scripts.run(
        f"""
        import jitspan, kernels
        from concurrent.futures import ThreadPoolExecutor

        for block in (128, 256, 512, 1024):
            kernels.launch_add(block=block)
        jitspan.activate()

        def serve(number, traceparent, block):
            with jitspan.request(traceparent):
                kernels.launch_add(block=block)
                if number == 9:
                    kernels.launch_softmax()
                kernels.launch_add(block=block)

        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(serve, *each) for each in {[(n, traceparent(n), b) for n, b in blocks.items()]}]:
                future.result()
        assert jitspan.flush(timeout=10)
        print("null")
        """,
        env=receiver.environment(),
    ).json()
    assert outline(receiver.spans) == [(trace_id(9), parent_id(9), "inference", ["jit.compile"])]
