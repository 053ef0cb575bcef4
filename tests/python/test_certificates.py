"""A certificate that is no file of some length: nothing waits for it, and nothing is read without end."""

from __future__ import annotations

import os

import pytest


@pytest.mark.parametrize("kind", ["fifo", "zero"])
def test_what_is_no_regular_file_holds_up_nothing_and_is_named(scripts, tmp_path, kind):
    path = tmp_path / "certificate.pem"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    error, resident = scripts.run(
        """
        import json, re
        from support import fake_triton
        fake_triton.install()
        import jitspan
        try:
            jitspan.activate()
        except ValueError as error:
            print(json.dumps([str(error), 0]))
            raise SystemExit
        fake_triton.JITFunction("rms_norm").launch("a")
        jitspan.flush(timeout=1)
        # Of this program alone: what `getrusage` says a process has of the one that started it.
        most = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
        print(json.dumps([jitspan.stats()["export.last_error"], int(most[1])]))
        """,
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:1",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(path),
            "OTEL_METRICS_EXPORTER": "none",
        },
        timeout=20,
    ).json()
    assert str(path) in error
    # kB.
    assert resident < 300_000
