"""A warm trial against a cold one: what it can see of itself, how it ends, and what is left when it is killed."""

from __future__ import annotations

import json
import mmap
import os
import re
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from sweepkit.sweeps.agents import leftovers
from sweepkit.sweeps.agents import trial as trials
from sweepkit.sweeps.agents.devices import Slot
from sweepkit.sweeps.agents.launching import FRESH
from sweepkit.sweeps.agents.warm import pages
from sweepkit.sweeps.agents.warm.launcher import Forked, Server, Warm
from sweepkit.sweeps.agents.warm.plan import parse
from sweepkit.sweeps.backends import Backend
from sweepkit.sweeps.wandb_api import SweepRef

BACKEND = Backend("embedded", "http://127.0.0.1:9", "k" * 40, "me")
REF = SweepRef("me", "demo", "s1")


def until(condition: Callable[[], object], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class Bench:
    """A folder with a program, and both ways to start it."""

    folder: Path
    said: list[str] = field(default_factory=list)
    servers: list[Server] = field(default_factory=list)
    launchers: list[Warm] = field(default_factory=list)
    trials: list[trials.Trial] = field(default_factory=list)
    slot: Slot = Slot("cpu:0", {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})

    def warm(self, text: str, argv: list[str] | None = None, preload: tuple[str, ...] = ()) -> Warm:
        """A launcher for the program ``text``, whose server has decided."""
        (self.folder / "program.py").write_text(textwrap.dedent(text).strip() + "\n")
        parsed = parse(argv or [sys.executable, "program.py"], os.environ)
        assert not isinstance(parsed, str), parsed
        environment = {**os.environ, **BACKEND.environment(), **self.slot.environment, "PYTHONUNBUFFERED": "1"}
        self.servers.append(Server(parsed[0], environment, preload, self.said.append))
        self.launchers.append(Warm(self.servers[-1], environment))
        self.launchers[-1].prepare(lambda: False)
        return self.launchers[-1]

    def start(self, launcher: Any, command: list[str] | None = None, name: str = "run1") -> trials.Trial:
        config = {"program": "program.py"} | ({"command": command} if command else {})
        asked = {"type": "run", "run_id": name, "args": {"lr": {"value": 0.5}}}
        self.trials.append(trials.start(config, asked, REF, self.slot, BACKEND, launcher))
        return self.trials[-1]

    def outcome(self, launcher: Any, command: list[str] | None = None, name: str = "run1") -> tuple[int | None, str]:
        """How the trial ends, and what it wrote."""
        trial = self.start(launcher, command, name)
        assert trial.wait(40)
        text = trial.log.read_text()
        trial.log.unlink()
        return trial.poll(), text


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("SWEEPKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.chdir(tmp_path)
    it = Bench(tmp_path)
    yield it
    for trial in it.trials:
        trial.kill()
        assert trial.wait(10)
        assert leftovers.family(trial.mark) == []
    for each in (*it.launchers, *it.servers):
        each.close()
    until(lambda: in_folder(tmp_path) == [])


def in_folder(folder: Path) -> list[str]:
    """The processes that work in ``folder``, the test itself left out."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.pid != os.getpid() and each.status() != psutil.STATUS_ZOMBIE and each.cwd() == str(folder):
                found.append(f"{each.pid} {each.cmdline()}")
        except psutil.Error:
            continue
    return found


LOOK = """
    import atexit, inspect, json, multiprocessing, os, random, signal, sys, threading, traceback
    if __name__ == "__main__":  # the spawned need not
        import numpy
        import torch

    def work(x):
        return x * x, __name__

    def handlers():
        names = [name for name in dir(signal) if name.startswith("SIG") and "_" not in name]
        return {name: str(signal.getsignal(getattr(signal, name))) for name in names}

    def stat(pid="self"):
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()

    def seen():
        main = sys.modules["__main__"]
        return {
            "name": __name__, "file": __file__, "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path,
            "main": {n: str(v) for n, v in vars(main).items() if n[:2] == "__" and n not in ("__doc__",)},
            "main is this": main.seen is seen, "cached": __cached__, "spec": str(__spec__),
            "depth": len(inspect.stack()),
            "environ": dict(os.environ), "cwd": os.getcwd(), "group": os.getpgid(0) == os.getpid(),
            "session": os.getsid(0) == os.getpid(), "flags": str(sys.flags), "warnings": sys.warnoptions,
            "threads": (threading.active_count(), threading.main_thread() is threading.current_thread()),
            "handlers": handlers(), "mask": str(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "fds": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in "012"},
            "stdin": sys.stdin.read(),
            "out": (sys.stdout.encoding, sys.stdout.line_buffering, sys.stdout.errors, sys.stdout.seekable()),
            "hooks": (sys.excepthook is sys.__excepthook__, str(sys.exit)), "umask": os.umask(0o22),
            "torch": (torch.get_num_threads(), torch.cuda.is_initialized()),
            "children": open(f"/proc/self/task/{os.getpid()}/children").read(), "nice": os.nice(0),
            "parents": multiprocessing.parent_process() is None, "current": multiprocessing.current_process().name,
            "ours": sorted(name for name in sys.modules if "sweepkit" in name or name == "sitecustomize"),
            "oom": open("/proc/self/oom_score_adj").read(), "deadly": stat()[0:1],
        }

    if __name__ == "__main__":
        atexit.register(print, "last")
        atexit.register(print, "first")
        found = seen()
        for method in ("spawn", "fork", "forkserver"):
            with multiprocessing.get_context(method).Pool(1) as pool:
                found[method] = pool.map(work, [3])
        loader = torch.utils.data.DataLoader(list(range(4)), batch_size=2, num_workers=1)
        found["loader"] = [batch.tolist() for batch in loader]
        print(json.dumps(found))
        print(json.dumps([random.random(), float(numpy.random.rand()), len(os.listdir("/proc/self/fd")),
                          multiprocessing.current_process().authkey.hex(), os.getpid(),
                          torch.initial_seed(), torch.rand(1).item()]))
        sys.exit(7)
"""
OWN = re.compile(r"[0-9a-f]{32}|0x[0-9a-f]+|pipe:\[\d+\]")  # a mark, an address, its output


def test_a_trial_cannot_tell_warm_from_cold(bench: Bench) -> None:
    warm = bench.warm(LOOK)
    assert bench.said == [
        "isolation: warm; trials are forks of a process that has imported numpy, torch for program.py"
    ]
    looks: dict[str, dict[str, Any]] = {}
    random = []
    for name, launcher in (("cold", FRESH), ("warm", warm), ("warmer", warm)):
        code, text = bench.outcome(launcher)
        assert code == 7, text
        seen, own, *rest = OWN.sub("MARK", text).splitlines()
        assert rest == ["first", "last"]
        looks[name] = json.loads(seen)
        random.append(json.loads(text.splitlines()[1]))
    for name in ("warm", "warmer"):
        mine, cold = looks[name], looks["cold"]
        differences = {key: (cold[key], mine.get(key)) for key in cold if mine.get(key) != cold[key]}
        assert differences == {}
    assert isinstance(bench.trials[1].process, Forked) and isinstance(bench.trials[2].process, Forked)
    for place in (0, 1, 3, 4, 5, 6):
        assert len({each[place] for each in random}) == 3  # everybody draws other numbers
    assert len({each[2] for each in random}) == 1  # and has as many files open


def test_a_module_is_run_as_python_runs_it(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("print('package')\n")
    (tmp_path / "package" / "part.py").write_text("import json\n")
    (tmp_path / "package" / "__main__.py").write_text(textwrap.dedent("""
        import sys
        from . import part
        print(__name__, __package__, __spec__.name, __file__, sys.argv, sys.orig_argv, sys.path[0])
    """))  # fmt: skip
    command = ["${interpreter}", "-X", "dev", "-u", "-m", "package", "${args}"]
    warm = bench.warm("", [sys.executable, "-X", "dev", "-u", "-m", "package"])
    assert bench.said[0].endswith("has imported nothing for -m package")
    cold = bench.outcome(FRESH, command)
    assert "package\n__main__ package package.__main__" in cold[1]
    assert bench.outcome(warm, command) == cold and cold[0] == 0
    assert isinstance(bench.trials[-1].process, Forked)


ENDS = {
    "an exception": "def deep():\n    raise ValueError('no')\ndeep()",
    "text at exit": "import sys\nsys.exit('that is wrong')",
    "no code": "import sys\nsys.exit()",
    "a hard exit": "import os\nos._exit(9)",
    "a signal": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "an interrupt": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time\ntime.sleep(9)",
    "a crash": "import ctypes\nctypes.string_at(0)",
    "a syntax error": "print('begun'\n",
    "an open file": "file = open('kept.txt', 'w')\nfile.write('all of it')",
    "an open file beside a function": "def f(): pass\nfile = open('kept.txt', 'w')\nfile.write('all of it')",
    "C's streams": "import ctypes\nctypes.CDLL(None).puts(b'from C')",
    "a thread": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('done'))).start()",
    "a missing module": "import nowhere_to_be_found",
    "a file in a library": "import json\njson.kept = open('kept.txt', 'w')\njson.kept.write('all of it')",
    "a file deep in a library": """import encodings
encodings._cache["no such"] = [open('kept.txt', 'w')]
encodings._cache["no such"][0].write('all of it')""",
    "last words": """import atexit, gc, json, weakref
class Last:
    def __init__(self, name): self.name = name
    def __del__(self): print(self.name, json.loads("3"), flush=True)
def waits():
    try:
        yield
    finally:
        print("the finally", flush=True)
def hurry():
    print("at exit")
    late.me = late
here, late, cycle, json.decoder.hung, encoder = Last("here"), Last("late"), Last("cycle"), Last("hung"), json.encoder
cycle.me = cycle
del cycle
json.decoder.deep = {"deep": [generator := waits()]}
next(generator)
del generator
weakref.finalize(here, print, "finalized")
watched = weakref.ref(here, lambda _: print("watched"))
atexit.register(hurry)""",
    "an import in the last words": """import json
class Last:
    def __del__(self):
        import decimal
        print(decimal.Decimal(1))
json.hung = last = Last()""",
    "all handlers forgotten": "import atexit\natexit.register(print, 'no')\natexit._clear()\nprint('yes')",
    "a broken pipe": "import os\nr, w = os.pipe()\nos.close(r)\nos.write(w, b'x')",
}


@pytest.mark.parametrize("program", ENDS.values(), ids=ENDS)
def test_it_ends_as_a_cold_one(bench: Bench, program: str) -> None:
    warm = bench.warm(program)
    outcomes = []
    for launcher in (FRESH, warm):
        code, text = bench.outcome(launcher)
        lines = sorted(OWN.sub("MARK", text).splitlines())  # in which order modules go is nowhere promised
        outcomes.append((code, lines, (bench.folder / "kept.txt").exists()))
        if outcomes[-1][2]:
            assert (bench.folder / "kept.txt").read_text() == "all of it"
            (bench.folder / "kept.txt").unlink()
    assert outcomes[0] == outcomes[1]
    assert isinstance(bench.trials[-1].process, Forked), bench.said


SHORT = """
    import json
    import sys
    class Last:
        def __init__(self, sys): self.sys = sys
        def __del__(self): print(hasattr(self.sys, "_sweepkit"), flush=True)
    import builtins
    builtins.last = Last(sys)  # which Python takes down last of all
    %s
"""


@pytest.mark.parametrize(("library", "short"), [("", True), ("def __del__(self): print('gone')", False)])
def test_an_end_is_short_where_nothing_is_lost(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, short: bool
) -> None:
    install(tmp_path, monkeypatch, spoken=f"class Spoken:\n    x = 1\n    {library}\nkept = Spoken()")
    warm = bench.warm(SHORT % "import spoken")
    cold = bench.outcome(FRESH)
    assert cold[0] == 0 and ("gone" in cold[1]) == (not short)
    code, text = bench.outcome(warm)
    assert (code, sorted(text.split())) == (0, sorted(cold[1].replace("False", str(short)).split()))
    assert isinstance(bench.trials[-1].process, Forked)


def test_the_servers_memory_is_in_huge_pages_where_linux_makes_them(bench: Bench) -> None:
    with mmap.mmap(-1, 2 * pages.HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(b"x" * 2 * pages.HUGE)
        try:
            memory.madvise(pages.MADV_COLLAPSE)
        except (OSError, ValueError):
            pytest.skip("this kernel makes none on request")
    warm = bench.warm("import numpy\nprint('done')")
    rollup = Path(f"/proc/{bench.servers[0].pid}/smaps_rollup")
    until(lambda: int(re.findall(r"AnonHugePages: +(\d+) kB", rollup.read_text())[0]) >= pages.HUGE // 1024)
    assert bench.outcome(warm) == (0, "done\n")


def test_a_crash_hurts_nobody(bench: Bench) -> None:
    program = """
        import ctypes, os, sys
        if "crash" in os.environ["WANDB_RUN_ID"]:
            ctypes.string_at(0)
        print("well")
    """
    warm = bench.warm(program)
    assert bench.outcome(warm, name="crash1") == (-signal.SIGSEGV, "")
    assert bench.outcome(warm, name="run2") == (0, "well\n")
    assert isinstance(bench.trials[-1].process, Forked)
    assert len(bench.said) == 1


FAMILY = """
    import os, signal, subprocess, sys, time
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(99)"
    forever = [sys.executable, "-c", deaf]
    subprocess.Popen(forever, start_new_session=True)                  # one that left the group
    if os.fork() == 0:                                                 # one that was never executed
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.setsid()
        time.sleep(99)
    middle = f"import subprocess; subprocess.Popen({forever!r}, start_new_session=True)"
    subprocess.run([sys.executable, "-c", middle])                     # one whose parent is gone, too
    open("ready", "w").close()
    time.sleep(99)
"""


def test_a_trial_outlives_its_server_which_is_started_again(bench: Bench) -> None:
    warm = bench.warm("import time\nopen('ready', 'w').close()\ntime.sleep(4)\nprint('done')")
    trial = bench.start(warm)
    until(Path("ready").exists)
    os.kill(bench.servers[0].pid, signal.SIGKILL)
    until(lambda: "the warm server died (signal 9); it is started again, and running trials go on" in bench.said)
    until(lambda: bench.servers[0].serves)
    assert trial.poll() is None
    code, text = bench.outcome(warm, name="run2")
    assert (code, text) == (0, "done\n")
    assert isinstance(bench.trials[-1].process, Forked)
    assert trial.wait(10) and trial.poll() == 0 and trial.log.read_text() == "done\n"


def test_a_server_that_dies_again_and_again_is_given_up(bench: Bench) -> None:
    warm = bench.warm("print('done')")
    server = bench.servers[0]
    for death in range(1, 4):
        until(lambda: server.serves)
        os.kill(server.pid, signal.SIGKILL)
        until(lambda death=death: sum("died" in each for each in bench.said) >= death)
    until(lambda: bench.said[-1] == "isolation: process; the server that holds the imports died 3 times")
    assert bench.outcome(warm) == (0, "done\n")
    assert not isinstance(bench.trials[-1].process, Forked)


@pytest.mark.parametrize("end", ["kill", "terminate", "guard"])
def test_nothing_of_a_trial_is_left(bench: Bench, end: str) -> None:
    trial = bench.start(bench.warm(FAMILY))
    until(Path("ready").exists)
    assert len(leftovers.family(trial.mark)) >= 4
    if end == "guard":
        os.kill(trial.process.pid, signal.SIGKILL)
    else:
        getattr(trial, end)()
    assert trial.wait(15)
    assert trial.poll() == (-signal.SIGTERM if end == "terminate" else -signal.SIGKILL)
    until(lambda: leftovers.family(trial.mark) == [], 10)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(9,)).start()",
            "starts a thread",
        ),
        ("import subprocess\nkept = subprocess.Popen(['sleep', '9'])", "starts a process"),
        ("import socket\nkept = socket.socket()", "opens socket"),
        ("raise RuntimeError('out of tune')", "importing odd (program.py:1) failed: RuntimeError: out of tune"),
        ("import os\nos._exit(3)", "the imports ended the server"),
        ("import wandb\nrun = wandb.init(mode='offline', settings=wandb.Settings(silent=True))", "opens a run"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "the imports ended the server"),
    ],
)
def test_what_is_unsafe_to_fork_is_not_forked(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, reason: str
) -> None:
    install(tmp_path, monkeypatch, odd=module)
    warm = bench.warm("import odd\nprint('never imported in a fork')")
    assert len(bench.said) == 1 and bench.said[0].startswith("isolation: process; ") and reason in bench.said[0]
    bench.outcome(warm)
    assert not isinstance(bench.trials[-1].process, Forked)


def test_what_is_imported_beforehand(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = "import os\nprint({name!r}, os.path.isfile('trial'))"
    names = ("sure", "guarded", "deep", "late", "typed", "mine", "asked", "more")
    install(tmp_path, monkeypatch, **{name: note.format(name=name) for name in names})
    (tmp_path / "helper.py").write_text("print('helper', __name__)\nimport mine\n")
    program = """
        import os
        from typing import TYPE_CHECKING
        print("begins")
        import sure, helper
        if TYPE_CHECKING:
            import typed
        try:
            import nowhere
        except ImportError:
            import guarded
        def lazy():
            import deep
        os.environ["LATE"] = "1"
        import late
        lazy()
        print("ends")
    """
    warm = bench.warm(program, preload=("asked",))
    assert bench.said == [
        "isolation: warm; trials are forks of a process that has imported sure, mine, guarded, asked for program.py"
    ]
    (tmp_path / "trial").touch()
    code, text = bench.outcome(warm)
    assert code == 0
    assert text.splitlines() == [
        "asked False", "sure False", "mine False", "guarded False", "begins", "helper helper", "late True",
        "deep True", "ends",
    ]  # fmt: skip


def test_a_preload_that_fails_is_told(bench: Bench) -> None:
    bench.warm("print()", preload=("nowhere",))
    assert bench.said == [
        "isolation: process; --preload nowhere failed: ModuleNotFoundError: No module named 'nowhere'"
    ]


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> None:
    """Make modules that count as installed: in the user's own site-packages."""
    import sysconfig

    monkeypatch.setenv("PYTHONUSERBASE", str(folder / "user"))
    place = Path(sysconfig.get_path("purelib", "posix_user", {"userbase": str(folder / "user")}))
    place.mkdir(parents=True)
    for name, text in modules.items():
        (place / f"{name}.py").write_text(text + "\n")
    path = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{path}{os.pathsep}{place}" if path else str(place))


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["/bin/sh", "-c", "true"], "the command runs sh, not this Python"),
        (["/usr/bin/env", "A=1", sys.executable, "p.py"], "the command changes its own environment"),
        ([sys.executable, "-I", "p.py"], "the command runs Python with -I"),
        ([sys.executable, "-c", "pass"], "the command runs no Python program"),
        ([sys.executable], "the command runs no Python program"),
        ([], "the command runs nothing"),
    ],
)
def test_a_command_that_cannot_be_warm(argv: list[str], reason: str) -> None:
    answer = parse(argv, os.environ)
    assert isinstance(answer, str) and answer.startswith(reason)


def test_threads_are_those_of_the_slot(bench: Bench) -> None:
    warm = bench.warm("""
        import os, numpy, torch, threadpoolctl
        numpy.ones((300, 300)) @ numpy.ones((300, 300))
        found = {pool["internal_api"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
        print(torch.get_num_threads(), found["openblas"], os.environ.get("OPENBLAS_NUM_THREADS"))
    """)
    for threads in ("1", "2"):
        bench.slot = Slot("cpu:0", {"OMP_NUM_THREADS": threads, "CUDA_VISIBLE_DEVICES": ""})
        cold = bench.outcome(FRESH)
        assert bench.outcome(warm) == cold and cold[1] == f"{threads} {threads} None\n"
        assert isinstance(bench.trials[-1].process, Forked)
