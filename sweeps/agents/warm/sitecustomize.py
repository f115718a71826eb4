"""The way into a fresh interpreter before it runs its program: Python imports a module of this name at its start.

So the server is the very interpreter that every trial would have started: same flags, same command line. A fork of it
returns from here, and Python itself goes on to run the program as ``__main__``, with its own tracebacks, exit codes
and signals. A ``sitecustomize`` of the user's own is imported first, as it would have been.
"""

import os
import sys

ENTRY = "SWEEPKIT_WARM"  # "probe", or the file descriptor of the agent's socket and the PYTHONPATH of the trials
entry = os.environ.pop(ENTRY, "")
here = os.path.dirname(os.path.abspath(__file__))


def users_own() -> bool:
    """Import the ``sitecustomize`` that this one hides; whether there is one."""
    mine = sys.modules.pop("sitecustomize")
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        sys.modules.setdefault("sitecustomize", mine)
        if error.name != "sitecustomize":
            raise
        return False
    return True


def enter(fd: int) -> None:
    """Serve; this returns in a trial only."""
    from importlib import import_module
    from types import ModuleType

    root = ModuleType("_sweepkit")  # our modules, beside those of an installed sweepkit, and gone again in a trial
    root.__path__ = [os.path.dirname(here)]
    sys.modules["_sweepkit"] = root
    try:
        own = import_module("_sweepkit.warm.server").serve(fd)
    except BaseException:  # whatever is wrong in a server or a guard: neither may go on to run the program
        import traceback

        traceback.print_exc()
        os._exit(70)
    for name in own:
        del sys.modules[name]


if entry == "probe":
    os.write(1, b"in")
    os._exit(0)
if entry:
    descriptor, _, pythonpath = entry.partition(":")
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != here]
    sys.path_importer_cache.pop(here, None)
    os.environ.pop("PYTHONPATH", None)
    if pythonpath:
        os.environ["PYTHONPATH"] = pythonpath
    there_is_one = users_own()
    enter(int(descriptor))
    if not there_is_one:  # as if this had never been imported
        raise ImportError("no sitecustomize", name="sitecustomize")
