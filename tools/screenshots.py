"""`make screenshots`: pictures of the real Jaeger with the demo's requests, for the README.

They are taken by the system's Chromium, and go into otel-config/jaeger. Look at them before they are committed.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backends import CONFIG, ROOT, Jaeger, ProgramFailed, ends_by_signal, find
from jaeger import links, run_demo
from playwright.sync_api import Page, expect, sync_playwright

PICTURES = CONFIG / "jaeger"
SIZE = {"width": 1180, "height": 760}
HEIGHT_OF_TRACE = 1005
TIMEOUT = 20_000  # milliseconds
SETTLE = 1_500  # milliseconds; the pages are animated


def main() -> None:
    try:
        with ends_by_signal(), ExitStack() as cleanup:
            folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="demo-")))
            jaeger = cleanup.enter_context(Jaeger(CONFIG / "jaeger" / "memory.yaml", folder))
            # The pictures show the kernel's file, and must not show where this checkout is.
            examples = Path(shutil.copytree(ROOT / "examples", folder / "examples"))
            _, requests = run_demo(jaeger, folder, cleanup, examples)
            search, _, trace, _ = links(jaeger.url, requests).values()
            page = cleanup.enter_context(browser())
            open_search(page, search)
            picture(page, "search")
            open_trace(page, trace.split("?")[0], "generate")
            picture(page, "trace")
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
    expect(page.get_by_text("Compare traces by selecting result items")).to_be_visible()
    page.wait_for_timeout(SETTLE)


def open_trace(page: Page, link: str, operation: str) -> None:
    """The trace with the span of `operation` opened, and its event too."""
    page.goto(link)
    page.locator(".span-name").filter(has=page.get_by_text(operation, exact=True)).click()
    page.locator(".AccordianLogs .AccordianKeyValues--header").first.click()
    # Tall enough for the event and the compile's own span below it.
    page.set_viewport_size(SIZE | {"height": HEIGHT_OF_TRACE})
    page.mouse.move(0, 0)
    page.wait_for_timeout(SETTLE)


def picture(page: Page, name: str) -> None:
    page.screenshot(path=PICTURES / f"{name}.png")
    print(f"screenshots: {PICTURES / name}.png", flush=True)


if __name__ == "__main__":
    main()
