"""A deployment of Ray Serve whose requests say which kernel they waited for.

    pip install "ray[serve]" jitspan
    OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 python examples/ray_serve.py

Sends itself three requests and ends; with `--stay` it serves until it is stopped. The model is that of `serve.py`.
"""

from __future__ import annotations

import argparse
import os
import signal
import urllib.request
from pathlib import Path

import jitspan
from ray import serve
from starlette.requests import Request

HERE = Path(__file__).parent
# A worker of a cluster that runs already has none of this program's variables.
VARIABLES = {name: value for name, value in os.environ.items() if name.startswith(("OTEL_", "JITSPAN", "TRITON_"))}
VARIABLES["PYTHONPATH"] = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])


@serve.deployment(
    graceful_shutdown_timeout_s=5, ray_actor_options={"runtime_env": {"env_vars": VARIABLES}, "num_cpus": 0.1}
)
class Model:
    def __init__(self) -> None:
        import serve as model  # this folder's: it imports Triton, which is for the replica alone

        self.step = model.model_step
        for length in model.WARM_UP_LENGTHS:
            self.step(length)
        jitspan.activate()

    def __call__(self, request: Request) -> str:
        length = int(request.query_params["prompt_tokens"])
        with jitspan.request(request.headers, name="generate"):
            self.step(length)
        return f"{length}\n"

    def __del__(self) -> None:
        # Ray ends a replica's process without running what is registered with `atexit`.
        jitspan.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--stay", action="store_true", help="serve until it is stopped")
    arguments = parser.parse_args()
    serve.start(http_options={"host": "127.0.0.1", "port": arguments.port})
    serve.run(Model.bind())  # type: ignore[attr-defined]
    if arguments.stay:
        signal.pause()
    for length in (128, 1000, 20_000):
        # A client that traces sends its own.
        headers = {"traceparent": f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"}
        url = f"http://127.0.0.1:{arguments.port}/?prompt_tokens={length}"
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=120) as answer:
            print(answer.read().decode(), end="", flush=True)
    serve.shutdown()


if __name__ == "__main__":
    main()
