"""Forks `sys.argv[1]` children, each with nonsense in its variables, and prints those that did not end as they should.

Needs the module `jitspan` and Python's library.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import warnings

from support import fake_triton

warnings.simplefilter("ignore")
fake_triton.install()
import jitspan  # noqa: E402

NAMES = [
    *(
        f"OTEL_EXPORTER_OTLP_{name}"
        for name in ["ENDPOINT", "PROTOCOL", "HEADERS", "TIMEOUT", "COMPRESSION", "INSECURE"]
    ),
    *(f"OTEL_EXPORTER_OTLP_{name}" for name in ["CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"]),
    *(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT" for signal in ["TRACES", "METRICS", "LOGS"]),
    *(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL" for signal in ["TRACES", "METRICS", "LOGS"]),
    *(f"OTEL_{signal}_EXPORTER" for signal in ["TRACES", "METRICS", "LOGS"]),
    *(f"OTEL_BSP_{name}" for name in ["SCHEDULE_DELAY", "EXPORT_TIMEOUT", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"]),
    *["OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT", "OTEL_SDK_DISABLED", "OTEL_PROPAGATORS"],
    *["OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"],
    *["OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"],
    *(f"JITSPAN_{name}" for name in ["MODE", "VERBOSE", "ARM", "EVENTS", "ERROR_ON", "FLUSH_TIMEOUT"]),
    *["JITSPAN_COMPILE_SPANS", "JITSPAN_MAX_REQUESTS", "JITSPAN"],
]
PLAIN = """
0 1 -1 true FALSE none otlp console otlp,console nan inf 1e308 1e18 18446744073709551616 -9223372036854775809 0x10 a=b
a=b,c =,=,= % %zz %00 a=%0d%0a http:// http://[::1]:4317 http://127.0.0.1:1 https://127.0.0.1:1/a?b=c#d grpc
http/protobuf http/json unix:///tmp/x :// /dev/zero /dev/null / /nowhere warn error gzip zstd after=1e10 now span both
always_on traceidratio tracecontext,b3,xray
"""
VALUES = [
    *PLAIN.encode().split(),
    *[b"", b" ", b"\n", b"\x1b[31m", b"\xff\xfe", b"\xed\xa0\x80", "\u202e\u00e9".encode(), b"x" * 100_000],
]


def child(seed, switched_off):
    chosen = random.Random(seed)
    for name in chosen.sample(NAMES, chosen.randint(1, 6)):
        os.environb[name.encode()] = chosen.choice(VALUES)
    if switched_off:
        os.environb[b"JITSPAN"] = b"0"
    # The console's lines are not what is tested, and neither is how long an unreachable collector is waited for.
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    try:
        jitspan.activate()
    except ValueError as error:
        named = any(name in str(error) for name in NAMES)
        os._exit(11 if named and len(str(error)) < 2000 else 2)
    for _ in range(3):
        fake_triton.JITFunction("k").launch("a")
    jitspan.flush(0.05)
    jitspan.stats(), jitspan.status(), jitspan.deactivate()
    os._exit(10)


codes, strange = {}, []
for seed in range(int(sys.argv[1])):
    switched_off = seed % 4 == 0
    pid = os.fork()
    if pid == 0:
        try:
            child(seed, switched_off)
        except BaseException as error:
            sys.stderr.write(f"{seed}: {error!r}\n")
            os._exit(3)
    until = time.monotonic() + 20
    while (found := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
        time.sleep(0.002)
    if found == (0, 0):
        os.kill(pid, 9)
        found = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(found[1])
    codes[code] = codes.get(code, 0) + 1
    if code not in ((10,) if switched_off else (10, 11)):
        strange.append([seed, switched_off, code])
print(json.dumps([codes, strange]), flush=True)
os._exit(0)
