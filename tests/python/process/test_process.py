"""The net: each compiler process is told once, on the request that waited for it; a program that asks one something, or
that starts others, does what it did.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from runtimes.truth import Place, Truth, check

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux") or not shutil.which("gcc"), reason="needs gcc")


def run(folder: Path, *arguments: str) -> Truth:
    folder.mkdir(exist_ok=True)
    return Place(Path(sys.executable), folder).run(HERE / "process_truth.py", *arguments)


def test_all_that_compiled_is_reported_and_nothing_else(tmp_path: Path) -> None:
    truth = run(tmp_path / "with")
    check(truth, run(tmp_path / "without", "without"))
    assert truth.status["process"] == ["hooked", []]
    attributes = truth.attributes["one_that_fails"][0]
    assert attributes["process.exit.code"] == 1
    assert attributes["code.file.path"] == "wrong.c"
    assert attributes["exception.message"] == "gcc ended with exit status 1"
    assert truth.attributes["one_that_is_killed"][0]["process.exit.code"] == -9
    assert truth.attributes["below_a_shell"][0].get("process.exit.code", 0) == 0


def test_what_kept_nobody_waiting_says_so(tmp_path: Path) -> None:
    steps = ("a_compiler", "in_a_thread_that_serves_nobody", "that_is_over_before_anybody_waits", "by_posix_spawn")
    for mode in ((), ("error",)):
        truth = run(tmp_path / "-".join(["mode", *mode]), *mode, *steps)
        assert [found.get("jit.background") for found in truth.attributes["jit.compile"]] == [True] * 3
        assert truth.spans["jit.compile"]["attributes"]["jit.stalled"] is False
        assert "jit.background" not in truth.attributes["a_compiler"][0]
        assert truth.stats["requests.stalled"] == 1


def test_a_request_is_told_what_it_waited_for_and_no_more(tmp_path: Path) -> None:
    truth = run(tmp_path, "started_for_one_and_awaited_by_another", "a_time_out_first")
    # It came in the middle.
    assert truth.attributes["who_waits_for_it"][0]["jit.duration"] < 5
    for name in ("who_waits_for_it", "a_time_out_first"):
        span = truth.spans[name]
        assert span["started"] <= span["events"][0]["time"] <= span["ended"]


def test_error_mode_raises_after_the_end_and_never_in_the_place_of_the_hosts_own_error(tmp_path: Path) -> None:
    truth = run(
        tmp_path, "error", "a_compiler", "by_system", "one_that_fails", "one_that_fails_and_raises", "questions"
    )
    for name in ("a_compiler", "by_system"):
        assert truth.outcomes[name].startswith("UnexpectedCompileError: Compiler process kernel JIT compilation"), name
        assert "Error" in truth.spans[name]["status"]
    assert (tmp_path / "slow.o").exists()
    assert truth.outcomes["one_that_fails"] == "1"
    assert truth.outcomes["one_that_fails_and_raises"].startswith("CalledProcessError: ")
    assert "Error" not in truth.outcomes["questions"]
    assert truth.faults() == {}
