"""The process of W&B's engine; `wandb_engine.py` starts it with the interpreter that has the package `sweeps`."""

from __future__ import annotations

import json
import random
import sys
from typing import Any

import numpy
from sweeps.params import HyperParameter

import sweeps


def next_run(config: dict[str, Any], runs: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    numpy.random.seed(seed)
    random.seed(seed)
    return _plain(sweeps.next_run(config, [sweeps.SweepRun(**run) for run in runs]).config)


def draw(parameter: dict[str, Any], count: int, seed: int) -> list[Any]:
    random.seed(seed)
    drawn = HyperParameter("p", parameter)
    return [drawn.sample() for _ in range(count)]


def read(parameter: dict[str, Any]) -> str:
    """The distribution, by the name that the engine's sources have for it."""
    return str(HyperParameter("p", parameter).type)


def quantiles(parameter: dict[str, Any], shares: list[float]) -> list[Any]:
    read = HyperParameter("p", parameter)
    return [read.ppf(share) for share in shares]


def grid(parameters: dict[str, Any], runs: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    known = [sweeps.SweepRun(**run) for run in runs]
    found = sweeps.next_runs({"method": "grid", "parameters": parameters}, known, n=most)
    return [_plain(run.config) for run in found if run is not None]


def stop(config: dict[str, Any], runs: list[dict[str, Any]]) -> list[str]:
    return [run.name for run in sweeps.stop_runs(config, [sweeps.SweepRun(**run) for run in runs])]


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {name: entry["value"] for name, entry in config.items()}


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, numpy.generic) else value.tolist()


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # the engine prints
    do = {"next": next_run, "draw": draw, "read": read, "quantiles": quantiles, "grid": grid, "stop": stop}
    for line in sys.stdin:
        question = json.loads(line)
        try:
            said = {"answer": do[question.pop("do")](**question)}
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(said, default=_number), file=answers, flush=True)


main()
