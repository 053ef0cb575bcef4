"""Fixtures: the real programs, each with a file of otel-config, and gone when the test ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tools"), str(ROOT / "examples"), str(ROOT / "tests" / "python")]

from backends import CONFIG, Collector, Jaeger, Program, ProgramFailed  # noqa: E402
from blame import blame  # noqa: E402
from support.receiver import Receiver  # noqa: E402
from traffic import Sender  # noqa: E402

P = TypeVar("P", bound=Program)


class Running:
    """What a test has started; `running(program)` starts one more."""

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        self.folder = folder
        self._cleanup = cleanup

    def __call__(self, program: P, configs: list[Path] | None = None) -> P:
        try:
            self._cleanup.enter_context(program)
        except ProgramFailed as failure:
            if configs:
                raise ProgramFailed(f"{blame(str(failure), configs)}: {failure}") from None
            raise
        return program

    def jaeger(self, config: str = "memory", **environment: str) -> Jaeger:
        file = CONFIG / "jaeger" / f"{config}.yaml"
        return self(Jaeger(file, self.folder, environment), [file])

    def collector(self, *configs: str, program: str = "otelcol", name: str = "", **environment: str) -> Collector:
        """Samples and flushes fast, unless told otherwise: a test cannot wait as long as a cluster can."""
        files = [CONFIG / "collector" / f"{config}.yaml" for config in configs]
        fast = {"DECISION_WAIT": "4s", "METRICS_FLUSH_INTERVAL": "2s"}
        return self(
            Collector(*files, folder=self.folder, environment=fast | environment, program=program, name=name), files
        )

    def sender(self, program: Collector | Jaeger) -> Sender:
        return self._cleanup.enter_context(Sender(program.otlp_grpc))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with ExitStack() as cleanup:
        yield Running(tmp_path, cleanup)


@pytest.fixture(scope="module")
def running_for_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """For tests that only ask, and share what they ask."""
    with ExitStack() as cleanup:
        yield Running(tmp_path_factory.mktemp("programs"), cleanup)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A store for logs, as far as the Collector can tell."""
    with Receiver() as started:
        yield started
