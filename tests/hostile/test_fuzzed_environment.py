"""Nonsense in the variables: `activate()` works or raises one ValueError that names it, and the switch works."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.hostile


def test_nonsense_in_the_environment_is_one_error_or_none(run):
    _, strange = run("fuzzed_environment.py", "600")
    assert strange == []
