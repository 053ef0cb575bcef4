"""Reads what ThreadSanitizer has reported (`python judge.py FOLDER`), and fails for a race that may be ours.

std is not built with the sanitizer (that needs its source and nightly Rust), so the sanitizer does not see what std
orders: its locks (ours are exchanged for visible ones, `--cfg jitspan_sanitized`), the end of a thread, and the fence
with which the last owner of an `Arc` frees it. What is left out here for that: a report with a drop or a free in it,
which AddressSanitizer looks at as well; and one in which either side is code of a test or of a library alone.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SOURCES = f"{Path(__file__).parents[2] / 'src'}/"
DROPS = re.compile(r"\bfree\b|\bclose\b|dealloc|drop_in_place|as core::ops::drop::Drop>::drop|atomic_sub<usize")


def stacks(report: str) -> list[list[str]]:
    """The two accesses, each from the inside out."""
    accesses = [part for part in report.split("\n\n") if re.search(r"(Read|Write|read|write) of size", part)]
    return [re.findall(r"^ +#\d+ (.*)$", access, re.MULTILINE) for access in accesses]


def is_ours(stack: list[str]) -> bool:
    """Whether the first code that is neither std's nor a library's is ours."""
    own = [frame for frame in stack if "/rustc/" not in frame and "/registry/" not in frame and " /" in frame]
    return bool(own) and SOURCES in own[0] and "::tests::" not in own[0]


def main() -> int:
    files = sorted(Path(sys.argv[1]).glob("report.*"))
    reports = [report for file in files for report in file.read_text().split("WARNING: ThreadSanitizer:")[1:]]
    suspect = []
    for report in reports:
        found = stacks(report)
        dropped = any(DROPS.search(frame) for stack in found for frame in stack[:8])
        if len(found) < 2 or (all(map(is_ours, found)) and not dropped):
            suspect.append(report)
    for report in suspect:
        print("WARNING: ThreadSanitizer:" + report)
    print(f"ThreadSanitizer: {len(reports)} reports, {len(suspect)} that may be ours")
    return 1 if suspect else 0


if __name__ == "__main__":
    sys.exit(main())
