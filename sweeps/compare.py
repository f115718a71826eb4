"""All runs of a sweep side by side: a leaderboard for the terminal, and one page that stands by itself."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SweepkitError, UsageError
from ..output import cell, duration
from .best import MAXIMIZE, Best, at, best_in, finite, metric_of
from .metric import Metric

if TYPE_CHECKING:
    from .wandb_api import Run, Sweep, SweepRef, WandbApi

CURVES = 20  # lines that an eye still tells apart
CURVED_METRICS = 6


@dataclass(frozen=True)
class Row:
    """One run. ``rank`` and ``value`` are None for a run that did not finish or has no finite metric."""

    rank: int | None
    run: Run
    value: float | None
    step: int | None
    parameters: dict[str, Any]
    seconds: float | None

    def record(self, url: str) -> dict[str, Any]:
        """The documented keys of a row."""
        return {
            "rank": self.rank,
            "id": self.run.id,
            "path": self.run.path,
            "name": self.run.name,
            "state": self.run.state,
            "value": self.value,
            "step": self.step,
            "parameters": self.parameters,
            "runtime": self.seconds,
            "url": url,
        }


@dataclass(frozen=True)
class Comparison:
    """The rows of a sweep, best first; ``parameters`` are the searched ones, by dotted name."""

    sweep: Sweep
    metric: Metric
    parameters: tuple[str, ...]
    rows: tuple[Row, ...]

    def records(self, api: WandbApi) -> list[dict[str, Any]]:
        return [row.record(row.run.url(api.backend)) for row in self.rows]

    def columns(self) -> dict[str, str]:
        """What a terminal shows of ``shown``: no names, which mostly repeat the parameters and need the width."""
        parameters = {f"parameters.{name}": name for name in self.parameters}
        ends = {"runtime": "runtime", "state": "state"}
        return {"rank": "#", "id": "run", "value": self.metric.name, **parameters, **ends}

    def shown(self, api: WandbApi) -> list[dict[str, Any]]:
        """The rows, flat, as a person reads them."""
        return [
            {
                **record,
                **{f"parameters.{name}": _short(record["parameters"].get(name)) for name in self.parameters},
                "runtime": None if record["runtime"] is None else duration(record["runtime"]),
            }
            for record in self.records(api)
        ]


def compare(api: WandbApi, ref: SweepRef) -> Comparison:
    """Rank the runs of a sweep: finished ones by their best value, then all others in order of creation.

    Raises:
        UsageError: there is no such sweep, or it has no metric.
        SweepkitError: it has no runs.
    """
    sweep = api.sweep(ref)
    metric = metric_of(sweep)
    runs = api.runs(ref)
    if not runs:
        raise SweepkitError(f"sweep {ref.path} has no runs to compare", f"start them with `sweepkit agents {ref.id}`")
    searched = searched_parameters(sweep, runs)
    with ThreadPoolExecutor(max_workers=8) as threads:
        rows = list(threads.map(lambda run: _row(api, run, metric, searched), runs))
    return Comparison(sweep, metric, tuple(searched), tuple(_ranked(rows, metric)))


def searched_parameters(sweep: Sweep, runs: Sequence[Run]) -> list[str]:
    """The parameters that the sweep searches: those that can have more than one value.

    A sweep whose parameters cannot be read (W&B's server knows more than sweepkit) is judged by its runs.
    """
    from ..space import SpaceError, parse

    try:
        return [each.name for each in parse(sweep.config.get("parameters") or {}).parameters if each.size() != 1]
    except SpaceError:
        names = {name: None for run in runs for name in run.config}
        return [name for name in names if len({repr(run.config.get(name)) for run in runs}) > 1]


def write_page(api: WandbApi, comparison: Comparison, file: Path) -> Path:
    """Write one HTML page that needs nothing else: plotly.js is in it. The old page stays until the new one is whole.

    Raises:
        UsageError: the file cannot be written.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(page(api, comparison), encoding="utf-8")
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UsageError(f"cannot write {file}: {error.strerror}", "name another file with --html") from error
    return file.absolute()


def page(api: WandbApi, comparison: Comparison) -> str:
    """The page's text. Names are escaped by jinja2, figures by ``figures.render``."""
    import jinja2

    from ..figures import plotly_script

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["cell"] = cell
    rows = [_page_row(api, row) for row in comparison.rows]
    importances = _importances(comparison)
    return environment.get_template("compare.html").render(
        sweep=comparison.sweep,
        metric=comparison.metric,
        parameters=comparison.parameters,
        rows=rows,
        winner=next((row for row in rows if row["rank"] == 1), None),
        importances=[{"name": name, **vars(found)} for name, found in importances.items()],
        figures=_figures(api, comparison, importances),
        plotly=plotly_script(),
        url=_web_address(comparison.sweep.ref.url(api.backend)),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def _row(api: WandbApi, run: Run, metric: Metric, searched: Sequence[str]) -> Row:
    history = api.history(run)
    best = best_in(run, history, metric) or Best(run, math.nan, None)
    parameters = {name: at(run.config, name) for name in searched}
    return Row(None, run, finite(best.value), best.step, parameters, _seconds(run, history, metric))


def _ranked(rows: Sequence[Row], metric: Metric) -> list[Row]:
    finished = [row for row in rows if row.value is not None and row.run.state == "finished"]
    sign = -1 if metric.goal == MAXIMIZE else 1
    finished.sort(key=lambda row: sign * (row.value or 0.0))  # a stable sort: a tie stays in order of creation
    others = [row for row in rows if row not in finished]
    return [replace(row, rank=rank) for rank, row in enumerate(finished, start=1)] + others


def _seconds(run: Run, history: Sequence[dict[str, Any]], metric: Metric) -> float | None:
    """How long the run took to its last value of the metric, by its own clock: a promotion later does not count.

    Without such a value, the run's time in all, or the time for which the backend saw it.
    """
    clocks = [finite(row.get("_runtime")) for row in history if at(row, metric.name) is not None]
    own = clocks[-1] if clocks else finite(run.summary.get("_runtime"))
    if own is not None or not run.heartbeat_at:
        return own
    try:
        ends = [datetime.fromisoformat(text.replace("Z", "+00:00")) for text in (run.created_at, run.heartbeat_at)]
        return max(0.0, (ends[1] - ends[0]).total_seconds())
    except (ValueError, TypeError):
        return None


def _short(value: Any) -> Any:
    """A number with 4 significant digits; more would not fit on a terminal beside the others."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _page_row(api: WandbApi, row: Row) -> dict[str, Any]:
    record = row.record(_web_address(row.run.url(api.backend)))
    return {**record, "seconds": row.seconds, "runtime": None if row.seconds is None else duration(row.seconds)}


def _web_address(url: str) -> str:
    """``url`` if it is safe as a link: an address that a backend made up must not run a script."""
    return url if url.startswith(("https://", "http://")) else ""


def _flat(comparison: Comparison) -> list[dict[str, Any]]:
    """The rows as the figures read them: parameters and the metric by name, and the run's own name."""
    metric = comparison.metric.name
    ranked = [row for row in comparison.rows if row.rank is not None]
    return [{**row.parameters, metric: row.value, "name of the run": row.run.name} for row in ranked]


def _importances(comparison: Comparison) -> dict[str, Any]:
    from ..figures import importance

    return importance(_flat(comparison), comparison.parameters, comparison.metric.name)


def _figures(api: WandbApi, comparison: Comparison, importances: dict[str, Any]) -> list[dict[str, str]]:
    from ..figures import importance_figure, parallel, render

    metric = comparison.metric
    rows = _flat(comparison)
    found = {}
    if rows:
        found["parallel"] = parallel(rows, comparison.parameters, metric.name, metric.goal, "name of the run")
    if importances:
        found["importance"] = importance_figure(importances, metric.name)
    found |= {f"curve{n}": figure for n, figure in enumerate(_curves(api, comparison))}
    return [{"id": name, "json": render(figure)} for name, figure in found.items()]


def _curves(api: WandbApi, comparison: Comparison) -> list[dict[str, Any]]:
    """The sweep's metric over the steps, then what else the best run logged, for the best runs."""
    from ..figures import curves, thin

    leaders = [row for row in comparison.rows if row.value is not None][:CURVES]
    with ThreadPoolExecutor(max_workers=8) as threads:
        histories = list(threads.map(lambda row: api.history(row.run), leaders))
    drawn = []
    for metric in _curved(comparison.metric.name, histories):
        series = {}
        for row, history in zip(leaders, histories, strict=True):
            points = [
                (float(line["_step"]), value) for line in history if (value := finite(at(line, metric))) is not None
            ]
            series[_unique(row.run, leaders)] = thin(points)
        drawn.append(curves({name: points for name, points in series.items() if points}, metric))
    return drawn


def _curved(metric: str, histories: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
    """The metrics worth a curve: the sweep's own first; those that change from step to step."""
    seen: dict[str, set[float]] = {metric: set()}
    for history in histories[:1]:
        for line in history:
            for name, value in line.items():
                if not name.startswith("_") and finite(value) is not None:
                    seen.setdefault(name, set()).add(float(value))
    changing = [name for name, values in seen.items() if len(values) > 1 and name not in (metric, "epoch")]
    return [metric, *changing][:CURVED_METRICS]


def _unique(run: Run, rows: Sequence[Row]) -> str:
    """The run's name, with its id where another run has the same name."""
    twins = sum(row.run.name == run.name for row in rows)
    return run.name if twins == 1 else f"{run.name} ({run.id})"
