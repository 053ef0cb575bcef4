"""A package `cutlass` that has the classes of CuTeDSL's that are watched, and does nothing in them."""

from __future__ import annotations

from pathlib import Path

COMPILE = """
    def compile(self, module, pipeline, *, arch="sm_90a"):
        "Runs the passes."
        return module
"""

DSL = """
from .compiler import Compiler

class BaseDSL:
    def __init__(self):
        self.compiler = Compiler()
        self.memory = {}

    def generate_mlir(self, funcBody, function_name, args, kwonlyargs, sig):
        try:
            if function_name not in self.memory:
                self.memory[function_name] = self.compile_and_cache(function_name)
        finally:
            self.post_compilation_cleanup()
        return self.memory[function_name]

    def compile_and_cache(self, function_name):
        return self.compiler.compile(function_name, "passes")

    def post_compilation_cleanup(self):
        pass
"""


def write(folder: Path, compile: str = COMPILE) -> Path:
    """Writes the package; `compile` is the source of `Compiler.compile`. Returns the folder for sys.path."""
    files = {
        "cutlass/__init__.py": '__version__ = "0.0"\nfrom .cutlass_dsl import cutlass as dsl\n',
        "cutlass/base_dsl/__init__.py": "",
        "cutlass/base_dsl/compiler.py": f"import functools\n\nclass Compiler:\n{compile}",
        "cutlass/base_dsl/dsl.py": DSL,
        "cutlass/cutlass_dsl/__init__.py": "",
        "cutlass/cutlass_dsl/cutlass.py": "from ..base_dsl.dsl import BaseDSL\n\nclass CuTeDSL(BaseDSL):\n    pass\n",
    }
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder
