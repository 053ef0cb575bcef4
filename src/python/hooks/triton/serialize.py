"""Compiled by jitspan. Triton serialises a kernel's constants for a hook that is set; see `serialize.rs`."""

import functools
import sys


def guard(original, forgive):
    @functools.wraps(original)
    def serialize_specialization_data(*arguments, **keywords):
        try:
            return original(*arguments, **keywords)
        except Exception:
            instead = forgive(sys._getframe(1))
            if instead is None:
                raise
            return instead

    return serialize_specialization_data
