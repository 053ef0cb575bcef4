"""What a person sees in Jaeger's own UI, in a real browser, with ui-config.json."""

from __future__ import annotations

import json
import re
import time

import pytest
from backends import CONFIG, UI_ASSETS, wait_until
from conftest import Running
from jaeger import search_link
from traffic import Request

REQUEST = Request(seconds=1.0, stall=0.9, instance="rank-7")

needs_ui = pytest.mark.skipif(not (UI_ASSETS / "index.html").exists(), reason="needs Jaeger's UI: make backends")
pytest.importorskip("playwright", reason="needs playwright: requirements/backends.txt")


@needs_ui
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


@needs_ui
def test_each_link_of_the_instructions_shows_the_traces_that_it_says(running: Running) -> None:
    from playwright.sync_api import expect
    from screenshots import browser

    slow = Request(seconds=2, stall=1.5)
    failed = Request(seconds=0.5, stall=0.3, failed=True, kernel="gemm_bf16")
    healthy = Request()
    jaeger = running.jaeger()
    running.sender(jaeger).send([slow, failed, healthy])
    wait_until(lambda: len(jaeger.search(service="vllm")) == 3, 10, "all traces are in Jaeger")
    instructions = (CONFIG / "jaeger" / "README.md").read_text()
    links = dict(re.findall(r"^\| (.+?) \| `(/(?:search|trace)[^`]*)` \|$", instructions, re.MULTILINE))
    shown = {
        "requests that waited for a compile and took a second or longer": [slow],
        "requests that waited for one kernel": [slow],
        "the same, with one step of the engine only": [slow],
        "compiles of one cause": [slow, failed],
        "requests that failed in error mode": [failed],
        "one trace, what jitspan put on it marked": [slow],
        "a stalled trace beside a healthy one": [slow, healthy],
        "two traces in the list of results": [slow, failed],
    }
    assert links.keys() == shown.keys()
    traces = {"<trace id>": slow, "<stalled>": slow, "<healthy>": healthy, "<one>": slow, "<other>": failed}

    with browser() as page:
        for title, link in links.items():
            for placeholder, request in traces.items():
                link = link.replace(placeholder, request.hex)
            page.goto(jaeger.url + link)
            # The pages call a trace by the first 7 digits of its id.
            for request in (slow, failed, healthy):
                found = page.get_by_text(request.hex[:7], exact=True)
                if any(request is one for one in shown[title]):
                    expect(found.first, title).to_be_visible()
                else:
                    expect(found, title).to_have_count(0)


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
