"""What people read of the runtimes that are watched is what their rows in src/python/hooks say."""

from __future__ import annotations

import re
from pathlib import Path

import jitspan
import pytest

ROOT = Path(__file__).parents[2]

# Where people call it otherwise than the wire does.
WRITTEN = {"sglang_jit": "SGLang's load_jit", "process": "compiler that"}


def letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


@pytest.mark.parametrize("page", ["README.md", "docs/limits.md"])
@pytest.mark.parametrize("row", jitspan.status(), ids=lambda row: row.package)
def test_a_page_has_each_runtime_and_the_versions_that_it_is_tested_with(page: str, row: jitspan.RuntimeStatus) -> None:
    section = (ROOT / page).read_text().split("## What is watched")[1].split("\n## ")[0]
    cells = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("|")]
    name = letters(WRITTEN.get(row.runtime, row.runtime))
    tested = [tested for runtime, tested in cells if name in letters(runtime)]

    assert tested, f"{page} has no row for {row.runtime}"
    versions = re.findall(r"\d+(?:\.\d+)+", tested[0])
    oldest, newest = row.tested
    assert f"{oldest}.".startswith(f"{versions[0]}."), tested
    assert f"{newest}.".startswith(f"{versions[-1]}."), tested
