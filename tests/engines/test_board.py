"""The board of a real vLLM: who is on it, and what the next start says of a worker that was killed in a compile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from conftest import BIN, Receiver, Serve, named

HEAD = 32
PAGE = 8192


def top(board: Path) -> list[dict[str, Any]]:
    shown = subprocess.run(
        [BIN / "jitspan", "top", "--json", "--board", board], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in shown.stdout.splitlines()]


def kill_in_compile(board: Path, killed: list[dict[str, Any]]) -> None:
    """The first process that compiles something for a request. Read by hand: starting a program takes too long."""
    deadline = time.monotonic() + 120
    while not killed and time.monotonic() < deadline:
        for file in board.glob("*.board"):
            content = file.read_bytes()
            for page in (content[:PAGE], content[PAGE:]):
                length = int.from_bytes(page[12:16], "little")
                try:
                    record = json.loads(page[HEAD : HEAD + length])
                except ValueError:
                    continue
                if any(now["armed"] and now["requests"] for now in record["now"]):
                    os.kill(record["process"]["pid"], signal.SIGKILL)
                    killed.append(record)
                    return


def test_all_of_vllm_is_on_the_board_and_a_worker_killed_in_a_compile_is_told_of_by_the_next_start(
    serve: Serve, receiver: Receiver, tmp_path: Path
) -> None:
    board, cold = tmp_path / "board", tmp_path / "cold"
    env = {"JITSPAN_BOARD": str(board)}
    with serve(triton_cache=cold, env=env) as server:
        rows = top(board)
        (worker,) = [row for row in rows if row["armed_since_s"]]
        assert (worker["engine"], worker["rank"], worker["data_parallel_rank"]) == ("vllm", 0, 0)
        assert {row["service"] for row in rows} == {"vllm"}
        assert {row["state"] for row in rows} == {"alive"}
        assert {row["server"] for row in rows if row["engine"]} == {worker["server"]}
        assert [row["why_not_armed"] for row in rows if "front end" in str(row["why_not_armed"])]
        busy = [BIN / "jitspan", "busy", "--board", board, "--pid", str(server.process.pid)]
        assert subprocess.run(busy, check=False).returncode == 1

        killed: list[dict[str, Any]] = []
        killer = threading.Thread(target=kill_in_compile, args=(board, killed))
        killer.start()
        answer = server.ask(logprobs=3, temperature=0.8, top_p=0.9)
        killer.join()
        assert killed, server.text()[-4000:]
        assert answer.status != 200

    (record,) = killed
    pid, (now, *_) = record["process"]["pid"], record["now"]
    with serve(triton_cache=cold, env=env):
        spans = receiver.wait_for(answer.trace_id, lambda spans: bool(failed(spans)))
    (step,) = [span for span in failed(spans) if span["name"] == "vllm.execute_model"]
    assert step["parent_span_id"] == answer.span_id
    assert step["attributes"]["jit.ended_process"] == pid
    assert step["attributes"]["jit.kernels"] == now["kernel"]
    assert step["attributes"]["jit.worker.rank"] == 0
    assert named(failed(spans), "jit.compile")
    assert [file.name.split("-")[0] for file in board.glob("*.ended")] == [str(pid)]


def failed(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [span for span in spans if span["attributes"].get("error.type") == "process_ended"]
