"""Lays out what MkDocs builds the site from: each page, where it lies in the tree, and each file that a page links to.

    python tools/docs.py build/site-source

So one link serves whoever reads the source and whoever reads the site. A folder is listed there and not here: a link to
one goes to its README, or is the text alone. Knows nothing outside Python's library.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/*.md", "benches/*.md", "otel-config/**/*.md")
# `[text](target)`, `[text](target#anchor)`, and pictures.
LINK = re.compile(r"(?P<text>\[[^]]*\])\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)
    for page in (page for pattern in PAGES for page in sorted(ROOT.glob(pattern))):
        destination = folder / page.relative_to(ROOT)
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_text(LINK.sub(lambda link, page=page: followed(link, page, folder), page.read_text()))


def followed(link: re.Match[str], page: Path, folder: Path) -> str:
    """The link as the site has it; what it leads to is there too. One to nothing is left, for MkDocs to refuse."""
    linked = (page.parent / link["target"]).resolve()
    if "://" in link["target"] or not linked.is_relative_to(ROOT):
        return link[0]
    if linked.is_dir():
        readme = link["target"].rstrip("/") + "/README.md"
        return f"{link['text']}({readme})" if (linked / "README.md").exists() else link["text"].strip("[]")
    if linked.is_file() and linked.suffix != ".md":
        copy(linked, folder)
    return link[0]


def copy(file: Path, folder: Path) -> None:
    destination = folder / file.relative_to(ROOT)
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, destination)


if __name__ == "__main__":
    main()
