"""The names on the wire are the same in src/semconv.rs, in otel-config/semconv, and in what people read."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "otel-config" / "semconv" / "generate.py"
TYPES = {"Bool": "bool", "Int": "int", "Double, s": "double, s", "String": "string"}


def generator():
    """otel-config/semconv/generate.py, which is no package."""
    specification = importlib.util.spec_from_file_location("semconv_generate", GENERATOR)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


NAMES = generator().names()
ATTRIBUTES = [
    name
    for name in NAMES
    if name.module in ("span", "engine", "attribute")
    and name.kind != "Span"
    # Stands in OpenTelemetry's own event of an exception alone, which the README need not explain.
    and name.name != "exception.type"
]


def test_the_registry_is_what_the_code_says() -> None:
    done = subprocess.run([sys.executable, str(GENERATOR), "--check"], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_has_every_attribute_and_no_other() -> None:
    assert sorted(readme_attributes()) == sorted(name.name.removesuffix(".") for name in ATTRIBUTES)


def test_the_readme_gives_every_attribute_its_type() -> None:
    told = readme_attributes()
    types = {name.name.removesuffix("."): readme_type(name.kind) for name in ATTRIBUTES}

    wrong = {name: (said, types[name]) for name, said in told.items() if types[name] and said != types[name]}
    assert wrong == {}


def test_the_readme_names_every_event_and_every_span() -> None:
    names = {name.name for name in NAMES if (name.module == "event" and name.is_ours) or name.kind == "Span"}

    assert names <= set(re.findall(r"`([^`\s]+)`", (ROOT / "README.md").read_text()))


def test_the_documentation_has_every_metric_with_its_kind_and_unit() -> None:
    told = {}
    for line in (ROOT / "docs" / "exporting.md").read_text().splitlines():
        if line.startswith(("| `jit", "| `otel.sdk.")):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            told |= {name: cells[1] for name in re.findall(r"`([^`]+)`", cells[0])}

    kinds = {name.name: name.kind.removeprefix("OpenTelemetry, ") for name in NAMES if name.module == "metric"}
    sent = {name: kind for name, kind in kinds.items() if re.match("histogram|counter|up-down", kind, re.IGNORECASE)}
    assert told == {name: kind.lower().replace("{", "`{").replace("}", "}`") for name, kind in sent.items()}


def readme_type(kind: str) -> str:
    """What the README's second column says; nothing for a name of OpenTelemetry's, whose type it need not say."""
    return "double, s" if kind.startswith("Prefix of doubles") else TYPES.get(kind, "")


def readme_attributes() -> dict[str, str]:
    """The names in the first column of README's tables of attributes, with the type in the second."""
    section = (ROOT / "README.md").read_text().split("## What you search for")[1].split("\n## ")[0]
    told = {}
    for cells in (line.split("|") for line in section.splitlines() if line.startswith("| `")):
        names = [one for name in re.findall(r"`([^`]+)`", cells[1]) for one in expanded(name.replace(".<stage>", ""))]
        types = [kind.strip() for kind in cells[2].split(";")]
        types = types if len(types) == len(names) else types * len(names)
        told |= dict(zip(names, types, strict=True))
    return told


def expanded(name: str) -> list[str]:
    """`a.{b,c}` is `a.b` and `a.c`."""
    head, brace, tail = name.partition("{")
    return [head + each for each in tail.rstrip("}").split(",")] if brace else [name]
