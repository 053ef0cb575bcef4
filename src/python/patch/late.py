# The finder that sees imports of what is waited for. Compiled by `late.rs`, which gives `begins`, `ends`,
# `has_been_imported`, `perform` and `fault`.

import sys
from weakref import ref


class ImportWatch:
    """In `sys.meta_path`, first."""

    def find_spec(self, name, path=None, target=None):
        asks = begins(name)
        perform()
        if not asks:
            return None
        try:
            spec = _ask_others(self, name, path, target)
        finally:
            ends(name)
        if spec is not None:
            try:
                _watch_loader(spec, name)
            except Exception as error:
                fault("late.loader", f"{type(error).__name__}: {error}")
                perform()
        return spec


def _ask_others(finder, name, path, target):
    # What the finders after us answer; an exception of theirs is theirs.
    finders = list(sys.meta_path)
    at = next((at for at, other in enumerate(finders) if other is finder), -1)
    for other in finders[at + 1 :]:
        find = getattr(other, "find_spec", None)
        spec = None if find is None else find(name, path, target)
        if spec is not None:
            return spec
    return None


def _watch_loader(spec, name):
    loader = getattr(spec, "loader", None)
    # `importlib.util.LazyLoader` only prepares the module; the loader inside it runs when it is first used.
    if type(loader).__name__ == "LazyLoader":
        loader = getattr(loader, "loader", loader)
    # A class is the loader of built-in and frozen modules, and cannot be changed.
    if isinstance(loader, type) or getattr(loader, "exec_module", None) is None:
        return
    before = getattr(loader, "__dict__", {}).get("exec_module")
    if type(before) is Execution and before.name == name:
        return
    loader.exec_module = Execution(loader, before, name)


class Execution:
    """`exec_module` of one loader, until it has run."""

    __slots__ = ("__weakref__", "before", "loader", "name")

    def __init__(self, loader, before, name):
        # Weak: the loader has us, and is not always used.
        self.loader = ref(loader)
        # What somebody else had put there.
        self.before = before
        self.name = name

    def __call__(self, module):
        loader = self.loader()
        if loader is None:
            raise ImportError("the loader is gone")
        # zipimport has one loader for all modules of an archive.
        if getattr(module, "__name__", None) != self.name:
            return self._behind(loader)(module)
        if loader.__dict__.get("exec_module") is self:
            if self.before is None:
                del loader.exec_module
            else:
                loader.exec_module = self.before
        result = self._behind(loader)(module)
        has_been_imported(self.name, module)
        perform()
        return result

    def _behind(self, loader):
        # What the loader would have run without us.
        if self.before is not None:
            return self.before
        for owner in type(loader).__mro__:
            own = owner.__dict__.get("exec_module")
            if own is not None:
                get = getattr(type(own), "__get__", None)
                return own if get is None else get(own, loader, type(loader))
        # The class computes it (`__getattr__`).
        return type(loader).__getattr__(loader, "exec_module")
