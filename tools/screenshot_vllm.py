"""`make screenshot-vllm`: a picture of the real Jaeger with a request of the real vLLM, for docs/vllm.png.

vLLM runs as in tests/engines: whole, without a GPU. Look at the picture before it is committed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from backends import CONFIG, ROOT, Jaeger, ProgramFailed, ends_by_signal, wait_until
from screenshots import SETTLE, SIZE, browser

ENGINES = ROOT / "build" / "engines"
TESTS = ROOT / "tests" / "engines"
PICTURE = ROOT / "docs" / "vllm.png"


def serve_one_request(jaeger: Jaeger, folder: Path) -> None:
    """vLLM with nothing but the endpoint set, and a request that came without a traceparent."""
    # The picture shows the kernel's file, and must not show where this checkout is.
    venv = folder / "venv"
    venv.symlink_to(ENGINES / "venv")
    model = folder / "model"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, [TESTS, ROOT / "examples"])),
        "INTERPRETED_GPU": "1",
        "MODEL": str(model),
        "TRITON_CACHE_DIR": str(folder / "triton"),
        "VLLM_CACHE_ROOT": str(ENGINES / "vllm-cache"),
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "OTEL_SERVICE_NAME": "vllm",
    }
    python = str(venv / "bin" / "python")
    subprocess.run([python, TESTS / "tiny_model.py", model], env=environment, check=True)
    order = {
        "case": "for_a_picture",
        "arguments": {"tracing": f"http://{jaeger.otlp_grpc}"},
        "env": {},
        "log": str(folder / "vllm.log"),
        "answer": str(folder / "answer.json"),
        "seconds": 600,
    }
    subprocess.run(
        [python, TESTS / "offline.py"], env=environment, input=json.dumps(order) + "\n", text=True, check=True
    )
    if not Path(order["answer"]).exists():
        raise ProgramFailed(Path(order["log"]).read_text(errors="replace")[-4000:])


def main() -> None:
    try:
        with ends_by_signal(), ExitStack() as cleanup:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="demo-")))
            jaeger = cleanup.enter_context(Jaeger(CONFIG / "jaeger" / "memory.yaml", folder))
            serve_one_request(jaeger, folder)
            stalled = {"jit.stalled": "true"}
            search = {"service": "vllm", "operation": "llm_request", "tags": stalled}
            (trace,) = wait_until(lambda: jaeger.search(**search), 30, "the request is found by its own span")
            page = cleanup.enter_context(browser())
            page.set_viewport_size(SIZE | {"height": 765})
            page.goto(f"{jaeger.url}/trace/{trace['traceID']}")
            page.locator(".span-name").filter(has=page.get_by_text("llm_request", exact=True)).click()
            page.mouse.move(0, 0)
            page.wait_for_timeout(SETTLE)
            page.screenshot(path=PICTURE)
            print(f"screenshot: {PICTURE}", flush=True)
    except ProgramFailed as failure:
        sys.exit(f"screenshot FAILED: {failure}")


if __name__ == "__main__":
    main()
