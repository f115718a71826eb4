"""What makes a fork of the server a process like any that was started for its trial alone."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..leftovers import LENGTH, MARK
from . import ending

if TYPE_CHECKING:
    from .standby import Imported

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
VARIABLES = {"openblas": "OPENBLAS_NUM_THREADS", "mkl": "MKL_NUM_THREADS"}
_OF_TORCH = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.getenv.restype = ctypes.c_void_p
_mark = _libc.getenv(MARK.encode())  # in the block that /proc/PID/environ shows, for as long as nobody sets it
_server = dict(os.environ)


def set_environment(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def become(order: Mapping[str, Any], imported: Imported) -> None:
    """Be the trial of ``order``: its environment, arguments, signals, random numbers and threads.

    Its process group, streams and directory are there already. Sources of randomness start anew, but for Python's own
    generator, which does so by itself in every fork.
    """
    environment: dict[str, str] = order["environment"]
    set_environment(environment)
    for name, value in imported.environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    mark = environment.get(MARK, "").encode()
    if _mark and len(mark) == len(_server.get(MARK, "")) == LENGTH:
        ctypes.memmove(_mark, mark, len(mark))
    sys.argv[1:] = order["arguments"]
    sys.orig_argv[:] = order["argv"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as Python sets them at its start
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if imported.output:
        os.write(1, imported.output)
    if numbers := sys.modules.get("numpy.random"):
        numbers.seed()
    if torch := sys.modules.get("torch"):
        torch.default_generator.seed()  # that of the CPU; CUDA's start with the same number in every process
    if process := sys.modules.get("multiprocessing.process"):
        process.current_process().authkey = os.urandom(32)
    imported.pools.resize(environment)
    ending.thaw()
    if "LD_PRELOAD" not in environment:  # a profiler, say, which writes at the end
        leave_at_once()
        imported.ending.arm()


class Pools:
    """The pools of threads in loaded libraries, whose sizes these took from their environment when they were loaded."""

    def __init__(self) -> None:
        self._before = {name: os.environ.get(name) for name in THREADS}
        self._found: list[Any] = []
        try:
            from threadpoolctl import ThreadpoolController
        except ImportError:
            return
        self._found = list(ThreadpoolController().lib_controllers)

    def resize(self, environment: Mapping[str, str]) -> None:
        """Make them as large as ``environment`` would have made them."""
        cores = len(os.sched_getaffinity(0))
        sizes = {name: _size(environment, name, cores) for name in THREADS}
        for pool in self._found:
            name = VARIABLES.get(pool.internal_api, "OMP_NUM_THREADS")
            if environment.get(name) != self._before[name]:
                pool.set_num_threads(sizes[name] or sizes["OMP_NUM_THREADS"] or cores)
        torch = sys.modules.get("torch")
        wanted = sizes["OMP_NUM_THREADS"] or sizes["MKL_NUM_THREADS"]
        if torch and wanted and any(environment.get(name) != self._before[name] for name in _OF_TORCH):
            torch.set_num_threads(wanted)


def _size(environment: Mapping[str, str], name: str, cores: int) -> int | None:
    first = environment.get(name, "").partition(",")[0]
    return min(int(first), cores) if first.isdigit() and int(first) else None


def leave_at_once() -> None:
    """Let the process end without the C++ destructors of the libraries that the server had loaded: in a fork, to take
    them down means to copy their memory first, which takes longer than a short trial. Python's own end, handlers at
    exit that the trial registers, and the flushing of C's streams come first, as ever.
    """
    _libc.on_exit(ctypes.cast(_libc._exit, ctypes.c_void_p), None)
    _libc.__cxa_atexit(ctypes.cast(_libc.fflush, ctypes.c_void_p), None, None)
