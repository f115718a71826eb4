"""The searches that are compared, each behind ``ask`` and ``tell``, for an objective and a seed."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweepkit.backend import search
from sweepkit.backend.search import RunWithMetrics
from sweepkit.backend.search import settings as sweep_settings

from . import wandb_engine
from .objectives import Objective

_PACKAGE = Path(search.__file__).resolve().parents[2]
METRIC = {"name": "loss", "goal": "minimize"}


class Searcher(ABC):
    """One search. Trials that were asked for and not told yet are running."""

    def __init__(self, objective: Objective, seed: int) -> None:
        self.objective, self.seed = objective, seed

    @abstractmethod
    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        """A trial's key and its configuration."""

    @abstractmethod
    def tell(self, key: Any, value: float) -> None:
        """The trial has finished."""


class Sweepkit(Searcher):
    """sweepkit's own engine of a method, as its scheduler drives it."""

    method = "bayes"

    def __init__(self, objective: Objective, seed: int) -> None:
        super().__init__(objective, seed)
        config = {"method": self.method, "metric": METRIC, "parameters": objective.parameters}
        self._engine = search.make(sweep_settings.read(config), f"bench-{seed}")

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        (asked,) = self._engine.ask_n_runs(1) or ()
        self._engine.tell_run(asked.run_id, RunWithMetrics(asked.config, "running", asked.run_id))
        return asked.run_id, asked.config

    def tell(self, key: Any, value: float) -> None:
        self._engine.tell_run(key, RunWithMetrics({}, "finished", key, (value,), value))


class Random(Sweepkit):
    """sweepkit's random search."""

    method = "random"


class Wandb(Searcher):
    """W&B's own engine, asked as W&B's servers ask it: with all runs, those that are running included."""

    def __init__(self, objective: Objective, seed: int) -> None:
        super().__init__(objective, seed)
        self._config = {"method": "bayes", "metric": METRIC, "parameters": objective.parameters}
        self._runs: list[dict[str, Any]] = []

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        asked = len(self._runs)
        config = _process().next_run(self._config, self._runs, self.seed * 1000 + asked)
        wrapped = {name: {"value": value} for name, value in config.items()}
        self._runs.append({"name": str(asked), "state": "running", "config": wrapped})
        return asked, config

    def tell(self, key: Any, value: float) -> None:
        metrics = {"history": [{"loss": value}], "summary_metrics": {"loss": value}}
        self._runs[key] = {**self._runs[key], "state": "finished", **metrics}


@functools.cache
def _process() -> wandb_engine.WandbEngine:
    """One for all searches of this process; it ends when its standard input is closed."""
    return wandb_engine.WandbEngine()


class Tpe(Searcher):
    """Optuna's default sampler, on the distributions that its users would write."""

    def __init__(self, objective: Objective, seed: int) -> None:
        import optuna

        super().__init__(objective, seed)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions = {name: _natural(entry) for name, entry in objective.parameters.items()}
        self._study = optuna.create_study(sampler=self._sampler())

    def _sampler(self) -> Any:
        import optuna

        return optuna.samplers.TPESampler(seed=self.seed)

    def ask(self) -> tuple[Any, Mapping[str, Any]]:
        trial = self._study.ask(self._distributions)
        return trial, trial.params

    def tell(self, key: Any, value: float) -> None:
        self._study.tell(key, value)


class Gp(Tpe):
    """Optuna's GPSampler as it comes."""

    def _sampler(self) -> Any:
        import optuna

        return optuna.samplers.GPSampler(seed=self.seed)


def _natural(entry: Mapping[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if "values" in entry:
        return CategoricalDistribution(entry["values"])
    return FloatDistribution(entry["min"], entry["max"], log=entry["distribution"] == "log_uniform_values")


ENGINES: dict[str, type[Searcher]] = {"wandb": Wandb, "tpe": Tpe, "gp": Gp, "random": Random, "bayes": Sweepkit}
TITLES = {
    "wandb": "W&B's engine", "tpe": "Optuna's TPESampler", "gp": "Optuna's GPSampler",
    "random": "random", "bayes": "sweepkit's bayes",
}  # fmt: skip


@functools.cache
def version(engine: str) -> str:
    """What an engine's curves depend on; curves of another version are measured anew."""
    if engine == "wandb":
        return f"sweeps {wandb_engine.VERSION}"
    optuna = f"optuna {importlib.metadata.version('optuna')}"
    if engine in ("tpe", "gp"):
        return optuna
    files = [_PACKAGE / "space.py", _PACKAGE / "distributions.py"]
    files += [_PACKAGE / "backend" / "search" / "random.py"] if engine == "random" else _sources()
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    return f"sources {digest}" if engine == "random" else f"sources {digest}, {optuna}"


def _sources() -> list[Path]:
    return sorted((_PACKAGE / "backend" / "search").glob("*.py"))
