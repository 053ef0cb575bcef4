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


def test_a_compile_beside_another_is_explained_by_the_kernels_of_the_warm_up(scripts, receiver):
    scripts.run(
        f"""
        import threading, jitspan, kernels

        kernels.launch_softmax(1024, 1024)
        jitspan.activate()
        both = threading.Barrier(2)

        def serve(traceparent, length, block):
            with jitspan.request(traceparent):
                both.wait()
                kernels.launch_softmax(length, block)

        # The small one ends first, and has looked at Triton's caches when the large one ends.
        work = [({traceparent(1)!r}, 20_000, 32_768), ({traceparent(2)!r}, 1000, 1024)]
        threads = [threading.Thread(target=serve, args=arguments) for arguments in work]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        """,
        env=receiver.environment(),
    )
    changes = {
        span["trace_id"]: [event["attributes"].get("jit.changes") for event in span["events"]]
        for span in receiver.spans
        if span["name"] == "inference"
    }
    assert changes == {
        trace_id(1): ["BLOCK: 1024 -> 32768 (constexpr)"],
        trace_id(2): ["length: divisible by 16 -> not"],
    }


def test_a_compile_that_outlives_its_request_is_told_at_once(scripts, receiver):
    # A client that goes away cancels the task, not the thread that compiles for it.
    scripts.run(
        f"""
        import threading, time, jitspan, kernels

        kernels.launch_add()
        jitspan.activate()
        begun = threading.Event()

        def serve():
            begun.set()
            kernels.launch_unrolled()

        with jitspan.request({traceparent(1)!r}):
            thread = threading.Thread(target=jitspan.bind(serve))
            thread.start()
            begun.wait()
            time.sleep(0.1)
        thread.join()
        assert jitspan.flush(timeout=10)
        assert jitspan.stats()["spans.exported"] == 2, jitspan.stats()
        print("null")
        """,
        env=receiver.environment(),
    ).json()
    assert outline(receiver.spans) == [(trace_id(1), parent_id(1), "inference", ["jit.compile"])]


def test_what_runs_after_its_request_is_told_at_once(scripts, receiver):
    scripts.run(
        f"""
        import jitspan, kernels

        kernels.launch_add(block=128)
        jitspan.activate()
        with jitspan.request({traceparent(1)!r}):
            later = jitspan.bind(kernels.launch_add)
        later(block=256)
        assert jitspan.flush(timeout=10)
        assert jitspan.stats()["spans.exported"] == 2, jitspan.stats()
        print("null")
        """,
        env=receiver.environment(),
    ).json()
    assert outline(receiver.spans) == [(trace_id(1), parent_id(1), "inference", ["jit.compile"])]
