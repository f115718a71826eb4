"""How fast the embedded backend is, against MLflow's and trackio's servers, measured side by side in one run.

    python bench/backend.py [--quick] [--only NAME ...] [--json FILE] [--peers FOLDER]
    python bench/backend.py --soak 2h

The peers are installed from PyPI into an environment of their own, the first time. Everything runs on loopback, in
temporary folders. See docs/benchmarks.md for what is measured how, and what may be doubted about it.
"""

from __future__ import annotations

import argparse
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import agents
import crowd
import psutil
import seeds
import servers
import soak
from report import Figure, Report, machine, middle
from servers import Highest, Peers, Server


@dataclass(frozen=True)
class Bench:
    """What all parts share."""

    folder: Path
    peers: Peers
    report: Report
    quick: bool


def client_of(server: Server, folder: Path) -> dict[str, str]:
    """What points a wandb client at the backend."""
    return {
        "WANDB_BASE_URL": server.url,
        "WANDB_API_KEY": server.key,
        "WANDB_ENTITY": server.entity,
        "WANDB_DIR": str(folder),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
    }


def protocol(server: Server, project: str, clients: int, rows: int, chunk: int) -> crowd.Result:
    """Rows over the protocol; each of them must be in the store afterwards."""
    share = rows // clients
    given = {"url": server.url, "key": server.key, "entity": server.entity, "project": project}
    options = [{**given, "run": f"c{n}", "rows": share, "chunk": chunk} for n in range(clients)]
    done = crowd.run(sys.executable, "protocol.py", options)
    check(stored(server, project), done.rows, "sweepkit")
    return done


def stored(server: Server, project: str) -> int:
    """History rows of a project, counted in the store itself."""
    query = """SELECT count(*) FROM history JOIN runs ON runs.id = history.run_id
        JOIN projects ON projects.id = runs.project_id WHERE projects.name = ?"""
    with closing(sqlite3.connect(server.folder / "store.sqlite3")) as conn:
        return int(conn.execute(query, (project,)).fetchone()[0])


def cpu_seconds(server: Server) -> float:
    """What a server and all its processes have worked so far."""
    main = psutil.Process(server.process.pid)
    times = [process.cpu_times() for process in (main, *main.children(recursive=True))]
    return float(sum(time.user + time.system for time in times))


def check(found: int, sent: int, who: str) -> None:
    if found != sent:
        raise SystemExit(f"{who} acknowledged {sent} rows and has {found}")


def ingest(bench: Bench) -> None:
    """Rows of five metrics a second, from 1, 8 and 32 clients, and the memory that it takes."""
    counts = (1, 8) if bench.quick else (1, 8, 32)
    rows = 80_000 if bench.quick else 400_000
    ours: dict[int, float] = {}
    with servers.sweepkit(bench.folder / "ingest") as server:
        rest = _at_rest(server)
        with Highest(server) as highest:
            before = cpu_seconds(server)
            for clients in counts:
                ours[clients] = protocol(server, f"p{clients}", clients, rows, 1000).rate
            worked = (cpu_seconds(server) - before) / (rows * len(counts)) * 1e6
            for chunk in (100, 10, 1):
                rate = protocol(server, f"chunk{chunk}", 8, rows * chunk // 1000 // 8 * 8, chunk).rate
                bench.report.add(Figure(f"rows over the protocol, 8 clients, {chunk} a request", "rows/s", rate))
        load = highest.memory
    with servers.trackio(bench.folder / "trackio", bench.peers) as server:
        their_rest = _at_rest(server)
        before = cpu_seconds(server)
        with Highest(server) as highest:
            for clients in counts:
                rate = _trackio(bench, server, clients, rows // 5)
                goal = "50,000 rows/s" if clients == 8 else ""
                what = f"rows, {clients} client{'s' if clients > 1 else ''}, 1,000 a request"
                bench.report.add(Figure(what, "rows/s", ours[clients], "trackio", rate, goal))
        theirs = (cpu_seconds(server) - before) / (rows // 5 * len(counts)) * 1e6
    bench.report.add(Figure("the server's work for a row", "us of CPU", worked, "trackio", theirs, "", False))
    bench.report.add(Figure("memory at rest", "MiB", rest, "trackio", their_rest, "120 MiB", False))
    bench.report.add(Figure("memory under that load", "MiB", load, "trackio", highest.memory, "", False))
    with servers.mlflow(bench.folder / "mlflow", bench.peers) as server:
        their_rest = _at_rest(server)
        with Highest(server) as highest:
            for way in ("log_batch", "log_metrics"):
                for clients in counts:
                    rate = _mlflow(bench, server, clients, way)
                    what = f"rows, {clients} client{'s' if clients > 1 else ''}, against {way}"
                    bench.report.add(Figure(what, "rows/s", ours[clients], "mlflow", rate))
    bench.report.add(Figure("memory at rest", "MiB", rest, "mlflow", their_rest, "120 MiB", False))
    bench.report.add(Figure("memory under that load", "MiB", load, "mlflow", highest.memory, "", False))


def _at_rest(server: Server) -> float:
    time.sleep(1)
    return server.memory


def _trackio(bench: Bench, server: Server, clients: int, rows: int) -> float:
    project = f"p{clients}n{time.time_ns()}"
    folder = bench.folder / "trackio-client"  # a client that cannot reach its server would write here
    options = [{"url": server.url, "project": project, "run": f"r{n}", "rows": rows // clients} for n in range(clients)]
    variables = {"TRACKIO_DIR": str(folder), "HF_HUB_OFFLINE": "1"}
    done = crowd.run(str(bench.peers.python), "trackio_run.py", options, **variables)
    with closing(sqlite3.connect(server.folder / f"{project}.db")) as conn:
        check(int(conn.execute("SELECT count(*) FROM metrics").fetchone()[0]), done.rows, "trackio")
    return done.rate


def _mlflow(bench: Bench, server: Server, clients: int, way: str) -> float:
    processes = min(clients, 8)  # 32 processes of MLflow's client need more memory than 2 cores come with
    seconds = 4 if bench.quick else 8
    given = {"url": server.url, "way": way, "seconds": seconds, "threads": clients // processes}
    variables = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    return crowd.run(str(bench.peers.python), "mlflow_run.py", [given] * processes, **variables).rate


def client(bench: Bench) -> None:
    """The same rows through the real wandb client, against trackio's own; and without any server, as the ceiling."""
    rows = 40_000 if bench.quick else 120_000
    for clients in (1, 8):
        processes = f"{clients} process{'es' if clients > 1 else ''}"
        options = [{"project": "real", "run": f"c{n}", "rows": rows // clients} for n in range(clients)]
        with servers.sweepkit(bench.folder / f"client{clients}") as server:
            with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
                variables = client_of(server, Path(folder))
                done = crowd.run(sys.executable, "wandb_run.py", options, **variables)
                alone = crowd.run(sys.executable, "wandb_run.py", options, **variables, WANDB_MODE="offline")
            check(stored(server, "real"), done.rows, "sweepkit")
        with servers.trackio(bench.folder / "trackio-real", bench.peers) as server:
            rate = _trackio(bench, server, clients, rows)
        what = f"rows through the real client, {processes}"
        bench.report.add(Figure(what, "rows/s", done.rate, "trackio", rate, "more than trackio"))
        bench.report.add(Figure(what, "rows/s", done.rate, "wandb offline", alone.rate))


def reading(bench: Bench) -> None:
    """A filtered and ordered page of 10,000 runs; 500 of a million rows."""
    runs, rows = (10_000, 200_000) if bench.quick else (10_000, 1_000_000)
    seeds.fill_sweepkit(bench.folder / "reading", runs, rows)
    with servers.sweepkit(bench.folder / "reading") as server, tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        options = {"path": f"{server.entity}/many", "long": f"{server.entity}/long", "times": 7}
        ours = crowd.ask(sys.executable, "wandb_ask.py", options, **client_of(server, Path(folder)))
    with servers.mlflow(bench.folder / "mlflow-reading", bench.peers) as server:
        seeds.fill_mlflow(server.folder / "mlflow.db", runs, rows)
        theirs = crowd.ask(str(bench.peers.python), "mlflow_ask.py", {"url": server.url, "times": 5})
    for name, what, peer, goal in (
        ("page", f"page of 50 of {runs:,} runs, filtered, ordered", "page", "50 ms"),
        ("sampled", f"500 of {rows:,} rows, a key of all", "sampled", "300 ms"),
        ("sampled_mixed", f"500 of {rows:,} rows, a key of every tenth", "sampled", "300 ms"),
    ):
        bench.report.add(Figure(what, "ms", middle(ours[name]), "mlflow", middle(theirs[peer]), goal, False))


def beating(bench: Bench) -> None:
    """Heartbeats of 200 agents, in a new sweep and in one that has 10,000 runs behind it. No peer has agents."""
    seconds = 4 if bench.quick else 10
    for runs in (0, 10_000):
        seeds.fill_sweep(bench.folder / f"beating{runs}", runs)
        with servers.sweepkit(bench.folder / f"beating{runs}") as server:
            rate = agents.over_http(server, seconds)
        what = f"heartbeats of 200 agents, {runs:,} runs in the sweep"
        bench.report.add(Figure(what, "beats/s", rate, "needed", agents.AGENTS / agents.EVERY))


def starting(bench: Bench) -> None:
    """From the start of the process to its first answer, on a folder that is there already."""
    makers: dict[str, Callable[[Path], object]] = {
        "sweepkit": servers.sweepkit,
        "mlflow": lambda folder: servers.mlflow(folder, bench.peers),
        "trackio": lambda folder: servers.trackio(folder, bench.peers),
    }
    took: dict[str, float] = {}
    for name, make in makers.items():
        found = []
        for _ in range(3 if bench.quick else 4):  # the first makes the folder, and warms the file system's cache
            with make(bench.folder / f"start-{name}") as server:  # type: ignore[attr-defined]
                found.append(server.ready)
        took[name] = sorted(found[1:])[len(found[1:]) // 2]
    for peer in ("mlflow", "trackio"):
        bench.report.add(Figure("start to first answer", "s", took["sweepkit"], peer, took[peer], "1 s", False))


PARTS: dict[str, Callable[[Bench], None]] = {
    "starting": starting,
    "ingest": ingest,
    "client": client,
    "reading": reading,
    "beating": beating,
}


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are ended and the folders go, as after Ctrl-C
    if options.soak:
        return soak.main(options.soak, options.json, options.rate)
    peers = Peers.at(options.peers)
    report = Report()
    print(f"{machine()}\npeers: {peers.versions}", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sweepkit-bench-", dir=options.folder) as folder:
        for name in options.only or PARTS:
            PARTS[name](Bench(Path(folder), peers, report, options.quick))
    report.note(f"took {time.monotonic() - began:.0f} s; load average at the end {machine()['load']}")
    if options.json:
        report.save(options.json, peers=peers.versions, quick=options.quick)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller loads, 32 clients left out")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    cache = Path.home() / ".cache" / "sweepkit-bench"
    parser.add_argument("--peers", type=Path, metavar="FOLDER", default=cache, help="environment of the peers")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where the temporary folder is made")
    parser.add_argument("--rate", type=float, metavar="RUNS", help="with --soak: so many runs a second at most")
    parser.add_argument("--soak", metavar="TIME", help="instead: load for so long (90s, 10m, 2h), and watch the memory")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
