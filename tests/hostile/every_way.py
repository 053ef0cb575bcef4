"""Sends to a collector that misbehaves in each way in turn, and prints after which something was not as it should be.

Needs the module `jitspan` and Python's library.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import time

from misbehaving import WAYS, Misbehaving
from support import fake_triton

server = Misbehaving()
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = server.address
fake_triton.install()
import jitspan  # noqa: E402

logging.getLogger("jitspan").setLevel("CRITICAL")
kernel = fake_triton.JITFunction("k")
jitspan.activate()


def dropped(stats: dict[str, int]) -> int:
    return sum(count for name, count in stats.items() if name.startswith("spans.dropped."))


wrong, sent = [], 0
jitspan.flush(5)
for way in WAYS[os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"]]:
    server.way = way
    before = jitspan.stats()
    for _ in range(2):
        kernel.launch(f"{way} {sent}")
        sent += 1
    jitspan.flush(0.25)
    server.way = None
    kernel.launch(f"{way} {sent}")
    sent += 1
    began = time.monotonic()
    flushed = jitspan.flush(20)
    after = jitspan.stats()
    balanced = after["spans.recorded"] == sent == after["spans.exported"] + dropped(after) + after["spans.queued"]
    panics = after.get("faults.export.panic", 0) + after.get("faults.metrics.panic", 0)
    # What came when it was well again must have arrived.
    arrived = after["spans.exported"] > before["spans.exported"] or way == "status_404"
    if not (flushed and balanced and arrived and not panics):
        wrong.append([way, flushed, balanced, arrived, panics, time.monotonic() - began, after["export.last_error"]])
    if way == "status_404" or after["spans.exported"] == before["spans.exported"]:
        # A collector without a pipeline is left alone for five minutes.
        jitspan.deactivate()
        os.environ["OTEL_SERVICE_NAME"] = f"after {way}"
        jitspan.activate()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([wrong, sent, peak, len(os.listdir("/proc/self/fd")), server.taken]))
