"""What runs in a process of `offline.py`: an engine in this very process, so that it can be looked into."""

from __future__ import annotations

import os
import sys
from typing import Any

import jitspan


def engine(**options: Any) -> Any:
    from vllm import LLM

    sizes = {"max_model_len": 256, "max_num_seqs": 16, "max_num_batched_tokens": 128, "kv_cache_memory_bytes": 64 << 20}
    return LLM(os.environ["MODEL"], seed=0, **sizes, **options)


def ask(llm: Any, *traceparents: str | None, tokens: int = 2, **options: Any) -> list[list[int]]:
    """One request for each traceparent, all in one batch; returns the tokens of each."""
    from vllm import SamplingParams

    parameters = SamplingParams(**({"temperature": 0, "max_tokens": tokens, "ignore_eos": True} | options))
    for number, traceparent in enumerate(traceparents):
        headers = {"traceparent": traceparent} if traceparent else None
        prompt = {"prompt_token_ids": [5, 6, 7, 8]}
        llm.llm_engine.add_request(f"request-{number}", prompt, parameters, trace_headers=headers)
    finished: dict[str, list[int]] = {}
    while llm.llm_engine.has_unfinished_requests():
        for output in llm.llm_engine.step():
            if output.finished:
                finished[output.request_id] = list(output.outputs[0].token_ids)
    return [finished[request] for request in sorted(finished)]


def plain(traceparent: str) -> dict[str, Any]:
    tokens = ask(engine(), traceparent)
    return {"tokens": tokens, "stats": dict(jitspan.stats()), "modules": sorted(sys.modules)}
