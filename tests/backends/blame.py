"""Which line of a configuration a program complains about, so that a failed test names file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

# What is quoted in a complaint, the names after "invalid keys:", the words of a path (service::pipelines::traces), and
# a last word ("unsupported routing_key: traceid").
NAMED = re.compile(r'"((?:[^"\\]|\\.)+)"|\'([^\']+)\'|invalid keys: ([\w, ]+)|((?:\w[\w/]*::)+[\w/]+)|: (\w+)\s*\Z')
# An item of a list: policies[2].
ITEM = re.compile(r"(\w+)\[(\d+)\]")


def blame(complaint: str, files: list[Path]) -> str:
    """`file:line` of the rarest thing named in `complaint` that stands in one of `files`, or the files' names.

    Of things that are equally rare it is the last.
    """
    places: dict[str, list[str]] = {name: [] for name in reversed(list(names(complaint)))}
    for path in files:
        try:
            root = yaml.compose(path.read_text())
        except yaml.YAMLError as error:
            # Where the mapping that was left open begins, if that is what is wrong.
            return f"{path}:{(error.context_mark or error.problem_mark).line + 1}"
        for key, number in ITEM.findall(complaint) if "invalid keys" not in complaint else ():
            for items in lists(root, key):
                if int(number) < len(items):
                    return f"{path}:{items[int(number)].start_mark.line + 1}"
        for line, scalar in scalars(root):
            for name, found in places.items():
                # A statement is quoted in parts.
                if name == scalar or (len(name) > 12 and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", scalar)):
                    found.append(f"{path}:{line}")
    found = [found for found in places.values() if found]
    return min(found, key=len)[0] if found else ", ".join(map(str, files))


def names(complaint: str) -> Iterator[str]:
    # The list of what would have been right is not what is wrong.
    complaint = re.sub(r"\(valid values: [^)]*\)", "", complaint)
    for groups in NAMED.findall(complaint):
        double, single, keys, path, last = groups
        if double:
            yield double.replace('\\"', '"')
        yield from filter(None, [single, *re.split(r", ?", keys.strip()), *path.split("::"), last])


def lists(node: yaml.Node | None, name: str) -> Iterator[list[yaml.Node]]:
    """The lists that stand under the key `name`, anywhere below `node`."""
    match node:
        case yaml.MappingNode():
            for key, value in node.value:
                if key.value == name and isinstance(value, yaml.SequenceNode):
                    yield value.value
                yield from lists(value, name)
        case yaml.SequenceNode():
            for item in node.value:
                yield from lists(item, name)


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
