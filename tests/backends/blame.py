"""Which line of a configuration a program complains about, so that a failed test names file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

# What is quoted in a complaint, the names after "invalid keys:", and the words of a path (service::pipelines::traces).
NAMED = re.compile(r'"((?:[^"\\]|\\.)+)"|\'([^\']+)\'|invalid keys: ([\w, ]+)|((?:\w[\w/]*::)+[\w/]+)')


def blame(complaint: str, files: list[Path]) -> str:
    """`file:line` of the last thing named in `complaint` that stands in one of `files`, or the files' names."""
    for path in files:
        text = path.read_text()
        try:
            root = yaml.compose(text)
        except yaml.YAMLError as error:
            return f"{path}:{error.problem_mark.line + 1}"
        lines = [(line, scalar) for line, scalar in scalars(root)]
        for name in reversed(list(names(complaint))):
            for line, scalar in lines:
                if name == scalar or (len(name) > 12 and name in scalar):
                    return f"{path}:{line}"
    return ", ".join(map(str, files))


def names(complaint: str) -> Iterator[str]:
    # The list of what would have been right is not what is wrong.
    complaint = re.sub(r"\(valid values: [^)]*\)", "", complaint)
    for groups in NAMED.findall(complaint):
        double, single, keys, path = groups
        if double:
            yield double.replace('\\"', '"')
        yield from filter(None, [single, *re.split(r", ?", keys.strip()), *path.split("::")])


def scalars(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    match node:
        case yaml.ScalarNode():
            yield node.start_mark.line + 1, node.value
        case yaml.SequenceNode():
            for item in node.value:
                yield from scalars(item)
        case yaml.MappingNode():
            for key, value in node.value:
                yield from scalars(key)
                yield from scalars(value)
