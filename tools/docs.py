"""Lays out what MkDocs builds the site from: each page, where it lies in the tree, and each file that a page links to.

    python tools/docs.py build/site-source

So one link serves whoever reads the source and whoever reads the site. Knows nothing outside Python's library.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/*.md", "benches/*.md", "otel-config/**/*.md")
# `[text](target)` and `![text](target)`, without the anchor.
LINK = re.compile(r"\]\(([^)#\s]+)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    shutil.rmtree(folder, ignore_errors=True)
    pages = [page for pattern in PAGES for page in sorted(ROOT.glob(pattern))]
    for page in pages:
        copy(page, folder)
        for target in LINK.findall(page.read_text()):
            linked = (page.parent / target).resolve()
            if "://" not in target and linked.is_file() and linked.is_relative_to(ROOT):
                copy(linked, folder)


def copy(file: Path, folder: Path) -> None:
    destination = folder / file.relative_to(ROOT)
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, destination)


if __name__ == "__main__":
    main()
