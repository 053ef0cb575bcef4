"""The rows of `make bench`: what is measured, by which command, how it is read, and what it should come to.

A row that prints says `FIGURE name value unit [low high]`, tab between them, `NOTE text`, or `SKIPPED reason`. pyperf's
and criterion's rows are read from the files that these write.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Figures = dict[str, float]


@dataclass(frozen=True)
class Goal:
    """Reached if what `of` makes of the figures is within the bound. What is missing there is not judged."""

    text: str
    of: Callable[[Figures], float]
    at_most: float | None = None
    at_least: float | None = None
    # What stands in the way, where it is missed and will be.
    because: str = ""

    def is_reached(self, value: float) -> bool:
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)


@dataclass(frozen=True)
class Row:
    name: str
    command: str
    # "prints", "pyperf" or "criterion".
    read: str = "prints"
    goals: list[Goal] = field(default_factory=list)
    # Of criterion: the groups that belong to this row.
    groups: tuple[str, ...] = ()
    # Variables of the command's environment; `{root}` is the checkout.
    environment: dict[str, str] = field(default_factory=dict)
    # A plot of growth: title, and which figures are its points; the number is the first in their names.
    plot: str = ""
    axes: tuple[str, str] = ("", "")


TORCH = "{root}/build/torch/2.15.0"
OTEL = "opentelemetry-sdk span, batch processor"
SCOPE, PYO3 = "jitspan.request", "empty PyO3 `with`"
VARIABLE = "PyO3 `with` that sets a context variable"
CARGO = "cargo bench --locked --features view --bench"


def launch(triton: str) -> Row:
    return Row(
        f"Triton {triton}: a launch from memory",
        "{python} benches/rows/triton_launch.py",
        environment={"PYTHONPATH": f"{{root}}/build/triton/{triton}"},
        goals=[
            Goal(
                "armed / not installed, instructions: equal (within 0.1 %)",
                lambda f: f["armed"] / f["not installed"],
                1.001,
            )
        ],
    )


ROWS = [
    launch("3.6.0"),
    launch("3.9.0"),
    Row(
        "torch.compile 2.15: a call whose guards hold",
        "{python} benches/rows/torch_guard.py",
        environment={"PYTHONPATH": TORCH + "/{site}", "LD_LIBRARY_PATH": TORCH + "/stubs"},
        goals=[
            Goal(
                "armed / not installed, instructions: equal (within 0.1 %)",
                lambda f: f["armed"] / f["not installed"],
                1.001,
            )
        ],
    ),
    Row(
        "A scope in which nothing compiles, instructions",
        "{python} benches/rows/scope_count.py",
        goals=[
            Goal(
                "<= 1.5 times an empty PyO3 `with`",
                lambda f: f[SCOPE] / f[PYO3],
                1.5,
                because="a PyO3 `with` that only puts itself into a context variable is over it by itself",
            ),
            Goal("(the floor) times a PyO3 `with` that sets a context variable", lambda f: f[SCOPE] / f[VARIABLE], 1.5),
        ],
    ),
    Row(
        "A scope in which nothing compiles, time",
        "{python} benches/rows/scope.py",
        read="pyperf",
        goals=[
            Goal(
                ">= 100 times cheaper than an opentelemetry-python span",
                lambda f: f[OTEL] / f[SCOPE],
                at_least=100,
                because="against this opentelemetry-python not even an empty PyO3 `with` is that",
            ),
            Goal("(the floor) an empty PyO3 `with` against that span", lambda f: f[OTEL] / f[PYO3], at_least=100),
            Goal("batch of 256: <= 1.2 times a scope of one", lambda f: f["jitspan.batch of 256"] / f[SCOPE], 1.2),
        ],
    ),
    Row(
        "vLLM: what a step calls, and what a request pays",
        "build/engines/venv/bin/python benches/rows/vllm_step.py",
        goals=[Goal("a step: <= 3 us", lambda f: f["a step"], 3.0)],
    ),
    Row(
        "An event of 12 attributes, the thread that compiled",
        CARGO + " caller",
        read="criterion",
        groups=("event",),
        goals=[Goal("<= 3 us", lambda f: f["event"], 3.0)],
    ),
    Row(
        "The same as `span.add_event`",
        "{python} benches/rows/add_event.py",
        read="pyperf",
        goals=[
            Goal(
                ">= 4 times dearer than our event",
                lambda f: f["opentelemetry-sdk `span.add_event`"] / f["event"],
                at_least=4,
            )
        ],
    ),
    Row(
        "10 compiles in a step, by requests in scope",
        CARGO + " caller",
        read="criterion",
        groups=("requests in scope",),
        plot="requests",
        axes=("requests in scope", "us, the thread that compiled"),
        goals=[
            Goal("256 requests: <= 1 ms", lambda f: f["events/256"] / 1e3, 1.0),
            Goal(
                "256 requests, each compile a child span of each: <= 1 ms",
                lambda f: f["and compile spans/256"] / 1e3,
                1.0,
                because="these are 2,816 spans, 1.1 us each; JITSPAN_COMPILE_SPANS=0 leaves the events",
            ),
        ],
    ),
    Row(
        "A span of so many events",
        CARGO + " caller",
        read="criterion",
        groups=("events a span",),
        plot="events",
        axes=("events a span (128 are kept)", "us, the thread that compiled"),
    ),
    Row(
        "A span more behind so many in the queue",
        CARGO + " caller",
        read="criterion",
        groups=("queue depth",),
        plot="queue",
        axes=("spans in the queue", "us, the thread that compiled"),
    ),
    Row(
        "`explain` with so many known specializations",
        CARGO + " explain",
        read="criterion",
        groups=("known specializations",),
        plot="specializations",
        axes=("known specializations", "us"),
        goals=[Goal("10,000: <= 1 ms", lambda f: f["explain/10000"] / 1e3, 1.0)],
    ),
    Row(
        "Event loop while exporting, and opentelemetry-python's CPU",
        "{python} benches/rows/export.py",
        goals=[
            Goal("lag, p50: <= 1.0 times idle (within 10 %)", lambda f: f["jitspan, p50, ratio to idle"], 1.1),
            Goal("lag, p99: <= 1.0 times idle (within 10 %)", lambda f: f["jitspan, p99, ratio to idle"], 1.1),
        ],
    ),
    Row(
        "Export, from the stall to the socket",
        CARGO + " export",
        goals=[
            Goal("gRPC: <= 0.5 CPU-s", lambda f: f["100,000 spans of 3 events, grpc"], 0.5),
            Goal("HTTP: <= 0.5 CPU-s", lambda f: f["100,000 spans of 3 events, http/protobuf"], 0.5),
            Goal(
                ">= 40 times less than opentelemetry-python",
                lambda f: f["opentelemetry-python, CPU"] / f["100,000 spans of 3 events, grpc"],
                at_least=40,
            ),
        ],
    ),
    Row(
        "Import and `activate()`, in a process that has `logging`",
        "{python} benches/rows/start.py",
        goals=[
            Goal("<= 5 ms", lambda f: f["both"], 5.0),
            Goal("memory of its own: <= 4 MB", lambda f: f["memory of its own"], 4.0),
            Goal(
                "and shared pages of the library: <= 4 MB",
                lambda f: f["memory, pages of the library that others share included"],
                4.0,
                because="the kernel maps 64 kB around each page of the library that is touched",
            ),
            Goal("modules but `contextvars`: none", lambda f: f["modules imported"], 2),
        ],
    ),
    Row(
        "A compile of 40 ms: our share",
        "{python} benches/rows/compile_share.py",
        environment={"PYTHONPATH": "{root}/build/triton/3.6.0"},
        goals=[Goal("launching thread: <= 0.5 %", lambda f: f["the launching thread, ours"] / 400, 0.5)],
    ),
    Row(
        "Search for the local root: how long other threads wait",
        "{python} benches/rows/local_root.py",
        goals=[Goal("<= 20 ms, whatever the heap", lambda f: max(f[name] for name in f if "objects" in name), 20.0)],
    ),
    Row(
        "1,000,000 events with the collector absent",
        CARGO + " memory",
        goals=[
            Goal(
                "flat once the queue is full: grows by <= 1 MB",
                lambda f: f["over idle after 1,000,000 events"] - f["over idle when the queue is full"],
                1.0,
            )
        ],
    ),
    Row(
        "`jitspan view`, 1,000,000 spans",
        CARGO + " view",
        goals=[
            Goal(">= 50,000 spans/s", lambda f: f["spans taken in"], at_least=50_000),
            Goal("memory at most: <= 256 MB", lambda f: f["memory at most"], 256.0),
        ],
    ),
    Row(
        "Processes of one host",
        "{python} benches/rows/processes.py",
        plot="processes",
        axes=("processes", "MB each"),
    ),
    Row("What a replay spares, on a GPU", "{python} benches/rows/replay.py"),
]
