"""How long an agent waits for its next configuration in a bayes sweep, and whether others' heartbeats wait with it.

    python bench/asks.py [--trials 10,100,500,2000] [--asks N] [--every S] [--json FILE]

Eight trials are always pending. One ends (its last lines, then its exit), its agent asks for the next one at once, and
so on, a quarter of a second later: as with trials of two seconds, or back to back (``--every 0``). Meanwhile
a ninth agent, whose trial runs, beats ten times a second. All over HTTP, against one backend in a process of its own.
W&B's own engine is asked the same with as many runs known, in its process, without HTTP; it fits at most 100 of them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import agents
import servers
from agents import Asking
from options import positive, positives
from report import Figure, Report
from searching import wandb_engine
from servers import Server

PENDING = 8
BEAT_EVERY = 0.1  # s
GOAL_AT, GOAL = 500, "150 ms at the 95th percentile"
PARAMETERS: dict[str, dict[str, Any]] = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0},
    "dropout": {"distribution": "uniform", "min": 0.0, "max": 0.7},
    "width": {"values": [16, 32, 64, 128, 256, 512]},
    "optimizer": {"values": ["adam", "rmsprop", "sgd"]},
}
CONFIG: dict[str, Any] = {"method": "bayes", "metric": {"name": "loss", "goal": "minimize"}, "parameters": PARAMETERS}


def main() -> int:
    options, report = _options(), Report()
    with tempfile.TemporaryDirectory() as folder, servers.sweepkit(Path(folder) / "home") as server:
        sweep = Sweep(server)
        for trials in options.trials:
            sweep.bring_to(trials)
            theirs = wandb_asks(sweep.known, min(options.asks, 20))
            asks, beats = sweep.measure(options.asks, options.every)
            for name, of in (("median", 0.5), ("95th percentile", 0.95)):
                goal = GOAL if trials == GOAL_AT and of == 0.95 else ""
                what = f"an ask at {trials:,} trials, {name}"
                report.add(Figure(what, "ms", quantile(asks, of), "wandb", quantile(theirs, of), goal, False))
            report.add(Figure(f"another's heartbeat at {trials:,}, longest", "ms", max(beats) * 1000))
    if options.json:
        report.save(options.json, asks=options.asks, every=options.every, pending=PENDING)
    return 0


class Sweep:
    """A bayes sweep whose trials this process plays."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ask = Asking(server)
        self._name = agents.make_sweep(self._ask, config=json.dumps(CONFIG))
        self.known: list[tuple[dict[str, Any], float]] = []
        self._running: deque[tuple[str, str, dict[str, Any]]] = deque()

    def bring_to(self, trials: int) -> None:
        """Have so many trials ended, and PENDING running."""
        while len(self._running) < PENDING:
            agent = agents.make_agent(self._ask, self._name)
            self._running.append((agent, *self._next(agent)))
        while len(self.known) < trials:
            self._turn()

    def measure(self, count: int, every: float) -> tuple[list[float], list[float]]:
        """Seconds of so many asks, and of the heartbeats of another agent meanwhile."""
        with self._beating() as beats:
            return [self._turn(every) for _ in range(count)], beats

    def _turn(self, after: float = 0.0) -> float:
        time.sleep(after)
        agent, run, config = self._running.popleft()
        value = _loss(config)
        lines = {"wandb-history.jsonl": {"offset": 0, "content": [json.dumps({"_step": 0, "loss": value})]}}
        self._stream(run, {"files": lines})
        self._end(run)
        began = time.perf_counter()
        following = self._next(agent)
        took = time.perf_counter() - began
        self.known.append((config, value))
        self._running.append((agent, *following))
        return took

    def _end(self, run: str) -> None:
        self._stream(run, {"complete": True, "exitcode": 0})

    def _stream(self, run: str, body: dict[str, Any]) -> None:
        self._ask.post(f"/files/{self._server.entity}/beats/{run}/file_stream", body)

    def _next(self, agent: str) -> tuple[str, dict[str, Any]]:
        (command,) = agents.beat(self._ask, agent, [])
        return command["run_id"], {name: entry["value"] for name, entry in command["args"].items()}

    @contextmanager
    def _beating(self) -> Iterator[list[float]]:
        ask, over, beats = Asking(self._server), threading.Event(), list[float]()
        agent, run = agents.begin_trial(ask, self._name)

        def work() -> None:
            while not over.wait(BEAT_EVERY):
                began = time.perf_counter()
                agents.beat(ask, agent, [run])
                beats.append(time.perf_counter() - began)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield beats
        finally:
            over.set()
            thread.join()
            self._end(run)


def wandb_asks(known: Sequence[tuple[dict[str, Any], float]], count: int) -> list[float]:
    """Seconds of so many asks of W&B's own engine."""
    engine = wandb_engine.WandbEngine()
    runs: list[dict[str, Any]] = []
    for n, (config, value) in enumerate(known):
        wrapped = {name: {"value": one} for name, one in config.items()}
        metrics = {"history": [{"loss": value}], "summary_metrics": {"loss": value}}
        runs.append({"name": str(n), "state": "finished", "config": wrapped, **metrics})
    for n in range(PENDING):
        runs.append({"name": f"p{n}", "state": "running", "config": runs[n]["config"]})
    took = []
    for n in range(count):
        began = time.perf_counter()
        engine.next_run(CONFIG, runs, n)
        took.append(time.perf_counter() - began)
    return took


def quantile(seconds: Sequence[float], of: float) -> float:
    """In milliseconds."""
    return statistics.quantiles(seconds, n=100, method="inclusive")[round(of * 100) - 1] * 1000


def _loss(config: dict[str, Any]) -> float:
    off = (math.log10(config["lr"]) + 3) ** 2 * 0.1 + (math.log2(config["width"]) - 7) ** 2 * 0.02
    return 0.1 + off + (config["dropout"] - 0.2) ** 2 + 0.02 * len(config["optimizer"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How long an ask of a bayes sweep takes over HTTP.")
    parser.add_argument("--trials", type=positives, default=[10, 100, 500, 2000], help="ended trials (10,100,500,2000)")
    parser.add_argument("--asks", type=positive, default=60, help="asks at each (60)")
    parser.add_argument("--every", type=float, default=0.25, metavar="S", help="s between a trial and the next (0.25)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
