"""What a person sees in Jaeger's own UI, in a real browser, with ui-config.json."""

from __future__ import annotations

import json
import time

import pytest
from backends import CONFIG, UI_ASSETS, wait_until
from conftest import Running
from jaeger import search_link
from traffic import Request

REQUEST = Request(seconds=1.0, stall=0.9, instance="rank-7")

pytest.importorskip("playwright", reason="needs playwright: requirements/backends.txt")


@pytest.mark.skipif(not (UI_ASSETS / "index.html").exists(), reason="needs Jaeger's UI: make backends")
def test_the_search_link_shows_stalled_requests_and_their_event_links_to_the_dashboard(running: Running) -> None:
    from playwright.sync_api import expect
    from screenshots import browser, open_search, open_trace

    jaeger = running.jaeger()
    running.sender(jaeger).send([REQUEST, *(Request() for _ in range(5))])
    wait_until(lambda: len(jaeger.search(service="vllm")) == 6, 10, "all traces are in Jaeger")

    with browser() as page:
        open_search(page, search_link(jaeger.url, "vllm", {"jit.stalled": "true"}, minDuration="500ms"))
        expect(page.get_by_text("1 Trace", exact=True)).to_be_visible()

        open_search(page, dashboard_link(jaeger.url))
        expect(page.get_by_text("1 Trace", exact=True)).to_be_visible()

        open_trace(page, f"{jaeger.url}/trace/{REQUEST.hex}", "vllm.execute_model")
        links = [link.get_attribute("href") for link in page.locator(".detail-row a[href*='/d/jitspan']").all()]

    assert links == [
        "http://localhost:3000/d/jitspan?var-instance=rank-7&from=now-6h&to=now",
        "http://localhost:3000/d/jitspan?var-runtime=triton&from=now-6h&to=now",
    ]


def dashboard_link(jaeger: str) -> str:
    """What Grafana makes of the link on the dashboard's graphs."""
    panels = json.loads((CONFIG / "grafana" / "compiles-and-slo.json").read_text())["panels"]
    links = [panel.get("fieldConfig", {}).get("defaults", {}).get("links") for panel in panels]
    url = next(link for link in links if link)[0]["url"]
    now = int(time.time() * 1000)
    values = {
        "${traces}": jaeger,
        "${__field.labels.job}": "vllm",
        "${__from}": str(now - 3_600_000),
        "${__to}": str(now + 1_000),
    }
    for variable, value in values.items():
        url = url.replace(variable, value)
    assert "$" not in url
    return url
