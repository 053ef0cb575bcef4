"""What type checkers are told is what the module has."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib.metadata import distribution as distribution_of
from pathlib import Path

import jitspan

PUBLIC = {
    "BoundFunction",
    "Instrumentor",
    "Middleware",
    "RuntimeStatus",
    "Scope",
    "UnexpectedCompileError",
    "__version__",
    "activate",
    "batch",
    "bind",
    "deactivate",
    "flush",
    "is_active",
    "main",
    "preload",
    "request",
    "stats",
    "status",
}


def test_the_public_list_is_the_public_list():
    assert sorted(jitspan.__all__) == sorted(PUBLIC)


def test_entry_points_are_found_by_name_and_star_gives_none_of_them():
    given = {}
    exec("from jitspan import *", given)
    assert {name for name in given if name != "__builtins__"} == PUBLIC
    points = distribution_of("jitspan").entry_points
    assert len(points) == 4
    for entry_point in points:
        assert callable(entry_point.load()), entry_point


def test_the_stub_says_what_the_module_says():
    stub = ast.parse((Path(__file__).parents[2] / "jitspan.pyi").read_text())
    documented = {"": (stub, jitspan)}
    for node in stub.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            documented[node.name] = (node, getattr(jitspan, node.name))
            inner = (item for item in node.body if isinstance(item, ast.FunctionDef))
            documented |= {
                f"{node.name}.{item.name}": (item, getattr(getattr(jitspan, node.name), item.name)) for item in inner
            }
    different = [
        name
        for name, (node, found) in documented.items()
        if (said := ast.get_docstring(node)) is not None and said != inspect.cleandoc(found.__doc__)
    ]
    assert different == []
    # A leading quote once went missing.
    assert '"triton", "cutedsl"' in jitspan.RuntimeStatus.runtime.__doc__


def test_a_scope_swallows_nothing_and_says_so():
    scope = jitspan.request()
    scope.__enter__()
    assert scope.__exit__(ValueError, ValueError("theirs"), None) is None
    stub = ast.parse((Path(__file__).parents[2] / "jitspan.pyi").read_text())
    (given,) = [node for node in ast.walk(stub) if isinstance(node, ast.FunctionDef) and node.name == "__exit__"]
    assert ast.unparse(given.returns) == "None"


def test_every_public_name_is_documented():
    undocumented = [name for name in PUBLIC - {"__version__"} if not getattr(jitspan, name).__doc__]
    assert undocumented == []


def test_the_stub_matches_the_module():
    # The native module inside the package has no stub of its own: the package hands all of it on.
    command = [sys.executable, "-m", "mypy.stubtest", "--ignore-missing-stub", "jitspan"]
    check = subprocess.run(command, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
