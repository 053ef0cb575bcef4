"""Only the main interpreter may have us, and is none the worse for it if another has tried.

With `JITSPAN_TEST_PYTHONS="python3.12:python3.13"` these run the installed wheel, which is one for all of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jitspan
import pytest

pytestmark = pytest.mark.hostile

PYTHONS = os.environ.get("JITSPAN_TEST_PYTHONS", sys.executable).split(":")

PRELUDE = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
sys.path[:0] = {folders!r}

def within(source, kind):
    source = f"import sys; sys.path[:0] = {{sys.path!r}}\\n" + source
    if sys.version_info < (3, 13):
        interpreter = interpreters.create(isolated=kind == "isolated")
        interpreters.run_string(interpreter, source)
    else:
        interpreter = interpreters.create(kind)
        failed = interpreters.exec(interpreter, source)
        assert failed is None, failed.errdisplay
    interpreters.destroy(interpreter)

REFUSED = '''
try:
    import jitspan
except ImportError as error:
    print("refused:", error, flush=True)
else:
    print("imported", flush=True)
'''
"""

ACTIVE = """
from support import fake_triton
fake_triton.install()
import jitspan
jitspan.activate()
fake_triton.JITFunction("softmax").launch("1")
"""

ENDS = """
import jitspan
jitspan.activate()
before = jitspan.stats()["events.compile"]
fake_triton.JITFunction("softmax").launch("2")
print(jitspan.stats()["events.compile"] - before, "counted")
"""

SENTENCE = "refused: jitspan works in the main interpreter only, not in a subinterpreter"


def run(python: str, source: str) -> list[str]:
    folders = [str(Path(jitspan.__file__).parents[1]), str(Path(__file__).parent)]
    environment = {"OTEL_TRACES_EXPORTER": "none", "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    finished = subprocess.run(
        [python, "-c", PRELUDE.format(folders=folders) + source],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, (finished.returncode, finished.stderr)
    return finished.stdout.splitlines()


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("first", [ACTIVE, "from support import fake_triton; fake_triton.install()"])
def test_a_subinterpreter_is_refused_in_one_sentence_and_the_main_one_goes_on(python, first):
    lines = run(python, first + "\nfor _ in range(10): within(REFUSED, 'legacy')\n" + ENDS)
    assert lines == [SENTENCE] * 10 + ["1 counted"]


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("first", [ACTIVE, "from support import fake_triton; fake_triton.install()"])
def test_an_interpreter_with_a_lock_of_its_own_is_refused(python, first):
    lines = run(python, first + "\nfor _ in range(10): within(REFUSED, 'isolated')\n" + ENDS)
    assert len(lines) == 11
    assert lines[-1] == "1 counted"
    # CPython itself refuses it from 3.13 on, before we are asked.
    own = "refused: module jitspan.jitspan does not support loading in subinterpreters"
    assert set(lines[:-1]) <= {SENTENCE, own}
