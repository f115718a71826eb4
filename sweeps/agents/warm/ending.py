"""The end of a warm trial: Python takes down what is the trial's, and leaves what the server had imported as it is.

To take a module down, Python writes into nearly every object of it. In a fork that means to copy the memory of all that
was imported first, which takes longer than a short trial. So the modules of the server that the trial has not changed
are hidden from Python's own end, which is otherwise as ever: threads, handlers at exit, streams, the trial's own
modules and their garbage. Should anything of the trial be alive after that which has last words to say (a file that is
not flushed, a ``__del__``), as somebody hung it into a library, then the hidden modules are taken down as well. Where
a library itself has such a thing from its import on, nothing is hidden.

This rests on how CPython lays out a dictionary, which it is asked for beforehand: where that is not as known here, a
trial ends in the slow way.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from gc import collect, get_objects  # by name: what is in modules goes, their functions stay
from gc import freeze as gc_freeze
from types import ModuleType
from typing import Any

_HEAD = object.__basicsize__
_SIZE = dict.__basicsize__ - _HEAD
_TAG = _HEAD + 8  # of a dictionary, behind the number of its entries: a number that every change of it makes another
_STAYS = ("sys", "builtins", "__main__", "_sweepkit")
# Whose objects have no last words but to warn, and to close what the end of a process closes anyway.
_SILENT = frozenset(("_asyncio", "asyncio", "joblib", "multiprocessing", "socket", "subprocess", "torch", "wandb"))
_track, _untrack = ctypes.pythonapi.PyObject_GC_Track, ctypes.pythonapi.PyObject_GC_UnTrack
_track.argtypes = _untrack.argtypes = (ctypes.py_object,)
_track.restype = _untrack.restype = None
_keep = ctypes.pythonapi.Py_IncRef
_keep.argtypes = (ctypes.py_object,)
_next = ctypes.PYFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 4)(("PyDict_Next", ctypes.pythonapi))


class Hook:
    """Stands in the place of ``sys.__interactivehook__``, which Python's end forgets before it turns to the modules."""

    def __init__(self, hook: Any, ending: Ending) -> None:
        self._hook = hook
        self._ending = ending

    def __call__(self) -> Any:
        return self._hook() if self._hook else None

    def __del__(self) -> None:
        self._ending.hide()


class Last:
    """Stands in ``sys`` until that is cleared, its private names first, when all other modules have gone."""

    def __init__(self, ending: Ending) -> None:
        self._ending = ending

    def __del__(self) -> None:
        self._ending.close()


class Ending:
    """The modules of the server, to be made when all is imported."""

    def __init__(self) -> None:
        self._modules = sys.modules
        self._others: dict[str, Any] = {}
        self._tags: list[tuple[int, int, int]] = []  # a module, its dictionary, both by address, and that one's tag
        # Each has to live until Python's end empties it, as what is frozen is no garbage by itself.
        self._imported = [
            module
            for name, module in self._modules.items()
            if isinstance(module, ModuleType) and name.partition(".")[0] not in _STAYS
        ]
        _keep(self)
        _leave_operators()
        if _as_known() and not any(map(_matters, _finalized())):
            self._tags = [(id(each), id(vars(each)), _tag(id(vars(each)))) for each in self._imported]

    def arm(self) -> None:
        """In the trial: its end will be a short one."""
        if self._tags and not sys.flags.verbose:
            sys.__interactivehook__ = Hook(getattr(sys, "__interactivehook__", None), self)

    def hide(self) -> None:
        """Leave to Python's end the trial's modules only, and those that it has changed."""
        imported = {module: _tag(names) == before for module, names, before in self._tags}
        for name, module in _entries(self._modules):
            if not imported.get(module):
                key = ctypes.cast(name, ctypes.py_object).value
                self._others[key] = self._modules.pop(key)
        _swap(self._modules, self._others)
        sys._sweepkit = Last(self)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Take the hidden modules down too, as Python does it, where something of the trial has last words."""
        collect()  # what hung in one of the changed modules
        if any(map(_matters, _finalized())):
            for module in reversed(self._imported):
                _clear(vars(module))
            collect()


def freeze() -> None:
    """Keep what is there out of the sight of the garbage collector, which would write into all of it.

    But not the names of ``__main__``: what refers to frozen objects in a circle is no garbage to it, and the trial's
    functions and its global names do so.
    """
    collect()
    for each in _of_main():
        _untrack(each)
    gc_freeze()


def thaw() -> None:
    """In the trial: ``__main__`` is its own."""
    for each in _of_main():
        _track(each)


def _of_main() -> tuple[object, ...]:
    main = sys.modules["__main__"]
    return main, vars(main)


def _leave_operators() -> None:
    """Each library of operators in torch has a handler at exit, which takes them out of this process's own table."""
    function = getattr(sys.modules.get("torch.library"), "_del_library", None)
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        if function is not None and (alive := finalizer.peek()) and alive[1] is function:
            finalizer.atexit = False


def _finalized() -> list[object]:
    """What has a finalizer; of what was there when the server froze it, nothing."""
    known: dict[int, bool] = {}
    found = []
    for thing in get_objects():
        kind = type(thing)
        if id(kind) not in known:
            known[id(kind)] = any("__del__" in vars(each) for each in kind.__mro__)
        if known[id(kind)]:
            found.append(thing)
    return found


def _matters(thing: Any) -> bool:
    """Whether anybody could notice that the finalizer of ``thing`` was not run, as it does more than to clean up."""
    kind = type(thing)
    if kind.__module__ == "_io":
        try:
            return not thing.closed and thing.writable() and thing.fileno() > 2
        except (OSError, ValueError):  # it is in memory only, or has been detached
            return False
    owner = kind.__module__
    for name in ("gi_frame", "cr_frame", "ag_frame"):
        if hasattr(kind, name):
            frame = getattr(thing, name)
            if frame is None or not getattr(frame.f_code, "co_exceptiontable", b"perhaps"):  # nothing is left to be run
                return False
            owner = frame.f_globals.get("__name__", "")
    return kind is not Last and str(owner).partition(".")[0] not in _SILENT


def _clear(names: dict[str, Any]) -> None:
    """As Python clears a module: what is private first."""
    for name in list(names):
        if name[:1] == "_" and name[:2] != "__":
            names[name] = None
    for name in list(names):
        if name != "__builtins__":
            names[name] = None


def _tag(names: int) -> int:
    return ctypes.c_uint64.from_address(names + _TAG).value


def _entries(names: dict[str, Any]) -> list[tuple[int, int]]:
    """The addresses of keys and values: to look at the objects would count as a use of them, and so write into them."""
    found = []
    position, key, value = ctypes.c_ssize_t(0), ctypes.c_size_t(), ctypes.c_size_t()
    places = [ctypes.addressof(each) for each in (position, key, value)]
    while _next(id(names), *places):
        found.append((key.value, value.value))
    return found


def _swap(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Let them change their contents, without a look at what these are."""
    first, second = (ctypes.string_at(id(each) + _HEAD, _SIZE) for each in (one, other))
    ctypes.memmove(id(one) + _HEAD, second, _SIZE)
    ctypes.memmove(id(other) + _HEAD, first, _SIZE)


def _as_known() -> bool:
    """Whether dictionaries are as they have to be (CPython 3.10 to 3.13)."""
    if sys.implementation.name != "cpython" or not (3, 10) <= sys.version_info < (3, 14) or _SIZE != 32:
        return False
    one, other = {"a": [1]}, {"b": [2], "c": [3]}
    before = _tag(id(one)), _tag(id(other))
    one["a"] = [4]
    if _tag(id(one)) == before[0] or _tag(id(other)) != before[1]:
        return False
    _swap(one, other)
    return one == {"b": [2], "c": [3]} and other == {"a": [4]} and _tag(id(one)) == before[1]
