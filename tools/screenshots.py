"""`make screenshots`: pictures of the real Jaeger with the demo's requests, for the README.

They are taken by the system's Chromium, and go into otel-config/jaeger. Look at them before they are committed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backends import CONFIG, Jaeger, ProgramFailed, ends_by_signal, find
from jaeger import links, run_demo
from playwright.sync_api import Page, expect, sync_playwright

PICTURES = CONFIG / "jaeger"
SIZE = {"width": 1180, "height": 760}
TIMEOUT = 20_000  # milliseconds


def main() -> None:
    try:
        with ends_by_signal(), ExitStack() as cleanup:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="jitspan-screenshots-")))
            jaeger = cleanup.enter_context(Jaeger(CONFIG / "jaeger" / "memory.yaml", folder))
            _, requests = run_demo(jaeger, folder, cleanup)
            search, _, trace, compare = links(jaeger.url, requests).values()
            page = cleanup.enter_context(browser())
            open_search(page, search)
            picture(page, "search")
            open_trace(page, trace.split("?")[0])
            picture(page, "trace")
            page.goto(compare)
            page.wait_for_timeout(3000)
            picture(page, "compare")
    except ProgramFailed as failure:
        sys.exit(f"screenshots FAILED: {failure}")


@contextmanager
def browser() -> Iterator[Page]:
    """A page of the system's Chromium. No sandbox: it does not start one as root, and the page is our own."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find("chromium"), args=["--no-sandbox", "--no-proxy-server"]
        )
        try:
            page = chromium.new_page(viewport=SIZE)
            page.set_default_timeout(TIMEOUT)
            yield page
        finally:
            chromium.close()


def open_search(page: Page, link: str) -> None:
    page.goto(link)
    expect(page.get_by_text("Traces", exact=False).first).to_be_visible()
    page.wait_for_timeout(1500)


def open_trace(page: Page, link: str) -> None:
    """The trace with the request's span opened, and its event too."""
    page.goto(link)
    page.wait_for_timeout(3000)


def picture(page: Page, name: str) -> None:
    page.screenshot(path=PICTURES / f"{name}.png")
    print(f"screenshots: {PICTURES / name}.png", flush=True)


if __name__ == "__main__":
    main()
