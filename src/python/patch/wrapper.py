# What callables are patched with. Compiled by `wrapper.rs`, which gives `perform`.
#
# No comment at the top of a class or function: it would be the `__doc__` of what is wrapped.

import sys
from types import MethodType


def _nothing(*_args, **_kwargs):
    return None


class Wrapper:
    __slots__ = ("__weakref__", "_jitspan_binding", "_jitspan_call", "_jitspan_hook")

    # `_jitspan_call` is what a call needs, in one: to read an attribute of a class with `__getattr__` is dear.

    def __init__(self, hook, binding):
        original = hook.original
        own = object.__setattr__
        own(self, "_jitspan_hook", hook)
        own(self, "_jitspan_call", (_nothing if original is None else original, hook.before))
        own(self, "_jitspan_binding", binding)

    def __call__(self, /, *args, **kwargs):
        call, before = self._jitspan_call
        watched = before(args, kwargs)
        if watched is None:
            return call(*args, **kwargs)
        try:
            perform()
            value = call(*args, **kwargs)
        except BaseException as error:
            watched.failed(error)
            perform()
            raise
        instead = watched.returned(value)
        perform()
        if instead is not None:
            try:
                raise instead
            finally:
                del instead
        return value

    def __get__(self, instance, owner=None):
        binding = self._jitspan_binding
        if binding == 1 and instance is not None:
            return MethodType(self, instance)
        if binding == 2:
            original = self._jitspan_hook.original
            bound = type(original).__get__(original, instance, owner)
            if bound is not original:
                return BoundWrapper(self._jitspan_hook, bound, instance)
        return self

    def __getattr__(self, name):
        return getattr(_original(self, name), name)

    def __setattr__(self, name, value):
        setattr(_original(self, name), name, value)

    def __delattr__(self, name):
        delattr(_original(self, name), name)

    def __repr__(self):
        original = self._jitspan_hook.original
        return f"<jitspan hook {self._jitspan_hook.hook_point}>" if original is None else repr(original)

    def __reduce__(self):
        # By name where it can be found by name, as a function is; else as a call of what it wraps.
        original = _original(self, "__reduce__")
        name = getattr(original, "__qualname__", None)
        if name is not None and _by_name(original, name) is self:
            return name
        from functools import partial

        return partial, (original,)

    # `isinstance(_, FunctionType)`, and with it `inspect.iscoroutinefunction`, must answer as before. These are found
    # on our class before `__getattr__` is asked.
    @property
    def __class__(self):
        original = self._jitspan_hook.original
        return Wrapper if original is None else original.__class__

    @property
    def __wrapped__(self):
        return _original(self, "__wrapped__")

    @property
    def __doc__(self):
        return _type_attribute(self, "__doc__")

    @property
    def __module__(self):
        return _type_attribute(self, "__module__")


# What a wrapper gives for an instance whose method binds in a way of its own.
class BoundWrapper:
    __slots__ = ("__weakref__", "_jitspan_call", "_jitspan_hook", "_jitspan_instance")

    def __init__(self, hook, bound, instance):
        self._jitspan_hook = hook
        self._jitspan_call = bound
        self._jitspan_instance = instance

    def __call__(self, /, *args, **kwargs):
        call, instance = self._jitspan_call, self._jitspan_instance
        watched = self._jitspan_hook.before(args if instance is None else (instance, *args), kwargs)
        if watched is None:
            return call(*args, **kwargs)
        try:
            perform()
            value = call(*args, **kwargs)
        except BaseException as error:
            watched.failed(error)
            perform()
            raise
        instead = watched.returned(value)
        perform()
        if instead is not None:
            try:
                raise instead
            finally:
                del instead
        return value

    def __getattr__(self, name):
        return getattr(self._jitspan_call, name)

    def __repr__(self):
        return repr(self._jitspan_call)

    @property
    def __class__(self):
        return self._jitspan_call.__class__

    @property
    def __doc__(self):
        return self._jitspan_call.__doc__

    @property
    def __module__(self):
        return self._jitspan_call.__module__


def around_given(hook, name):
    def around(original, /, *args, **kwargs):
        watched = hook.before(args, kwargs)
        if watched is None:
            return original(*args, **kwargs)
        try:
            perform()
            value = original(*args, **kwargs)
        except BaseException as error:
            watched.failed(error)
            perform()
            raise
        instead = watched.returned(value)
        perform()
        if instead is not None:
            try:
                raise instead
            finally:
                del instead
        return value

    around.__name__ = around.__qualname__ = name
    return around


def _original(wrapper, name):
    original = wrapper._jitspan_hook.original
    if original is None:
        raise AttributeError(name)
    return original


def _type_attribute(wrapper, name):
    original = wrapper._jitspan_hook.original
    return None if original is None else getattr(original, name, None)


def _by_name(original, name):
    try:
        found = sys.modules[original.__module__]
        for part in name.split("."):
            found = getattr(found, part)
    except Exception:
        return None
    return found
