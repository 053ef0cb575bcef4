"""Entering and leaving a scope in which nothing compiles, beside what else a server may do once a request."""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os

import pyperf
from support import QUICK

os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "60000"
# ddtrace's own switches: nothing but the span.
os.environ |= {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
LOOPS = 100 if QUICK else 20_000


def jitspan_scope():
    import jitspan

    jitspan.activate()
    return lambda: jitspan.request(None)


def batch_of_256():
    import jitspan

    jitspan.activate()
    carriers = [{} for _ in range(256)]
    return lambda: jitspan.batch(carriers)


def empty_pyo3():
    import jitspan_floor

    return lambda: jitspan_floor.request(None)


def empty_pyo3_in_a_variable():
    import jitspan_floor

    return lambda: jitspan_floor.request_in_variable(None)


def empty_python():
    class Empty:
        def __enter__(self):
            return self

        def __exit__(self, *_error):
            return None

    return lambda: Empty()


def opentelemetry_span():
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    logging.disable(logging.CRITICAL)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("bench")
    return lambda: tracer.start_as_current_span("inference")


def ddtrace_span():
    from ddtrace.trace import tracer

    logging.disable(logging.CRITICAL)
    return lambda: tracer.trace("inference")


def logfire_span():
    import logfire

    logging.disable(logging.CRITICAL)
    logfire.configure(send_to_logfire=False, console=False)
    return lambda: logfire.span("inference")


def logged_warning():
    logger = logging.getLogger("bench")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(open(os.devnull, "w")))  # noqa: SIM115

    class Warned:
        def __enter__(self):
            logger.warning("inference")

        def __exit__(self, *_error):
            return None

    return lambda: Warned()


SUBJECTS = {
    "jitspan.request": (jitspan_scope, "jitspan"),
    "jitspan.batch of 256": (batch_of_256, "jitspan"),
    "empty PyO3 `with`": (empty_pyo3, "jitspan_floor"),
    "PyO3 `with` that sets a context variable": (empty_pyo3_in_a_variable, "jitspan_floor"),
    "empty Python `with`": (empty_python, "sys"),
    "opentelemetry-sdk span, batch processor": (opentelemetry_span, "opentelemetry.exporter.otlp.proto.http"),
    "ddtrace span": (ddtrace_span, "ddtrace"),
    "logfire span": (logfire_span, "logfire"),
    "logging.warning": (logged_warning, "sys"),
}


def loops(make) -> object:
    manager = make()

    def run(count: int) -> float:
        began = pyperf.perf_counter()
        for _ in range(count):
            with manager():
                pass
        return pyperf.perf_counter() - began

    return run


def is_installed(module: str) -> bool:
    """Imports none of it but the packages around it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def main() -> None:
    runner = pyperf.Runner(loops=LOOPS)
    runner.parse_args()
    for name, (make, module) in SUBJECTS.items():
        # Each has a process of its own: nothing is imported, and nobody measures, beside it.
        later = {}

        def run(count: int, make=make, later=later) -> float:
            if "run" not in later:
                later["run"] = loops(make)
                # Nobody takes what the others have recorded, and some try for half a minute.
                atexit.register(os._exit, 0)
            return later["run"](count)

        if is_installed(module):
            runner.bench_time_func(name, run)


main()
