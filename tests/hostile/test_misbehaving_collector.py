"""Whatever the collector does: when it is well again everything that can arrive arrives, and the books are right."""

from __future__ import annotations

import pytest
from misbehaving import WAYS

pytestmark = pytest.mark.hostile


@pytest.mark.parametrize("protocol", list(WAYS))
def test_every_way_to_misbehave_costs_what_it_must_and_no_more(run, protocol):
    wrong, sent, peak, descriptors, taken = run(
        "every_way.py",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_TIMEOUT="400",
        OTEL_BSP_SCHEDULE_DELAY="10",
        OTEL_METRIC_EXPORT_INTERVAL="100",
    )
    assert wrong == []
    assert sent == 3 * len(WAYS[protocol])
    assert taken > 0
    # kB: jitspan, Python and the server's own bombs.
    assert peak < 400_000
    assert descriptors < 200
