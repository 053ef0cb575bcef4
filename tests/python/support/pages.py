"""What the pages that people read tell them to type."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced block. `why_not` says why its commands are not run here: `<!-- not run: ... -->`, in the line before."""

    page: Path
    language: str
    text: str
    why_not: str | None


def blocks(page: Path) -> list[Block]:
    fenced = r"(?:^<!-- not run: (?P<why>.+?) -->\n)?^```(?P<language>\S*)\n(?P<text>.*?)^```$"
    found = re.finditer(fenced, page.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(page, block["language"], block["text"], block["why"]) for block in found]


def script(page: Path) -> str:
    """The page's commands, in their order, less those that cannot be run here."""
    return "\n".join(block.text for block in blocks(page) if block.language == "sh" and block.why_not is None)
