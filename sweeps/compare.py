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
from .best import MAXIMIZE, Best, at, best_in, finite, in_summary, metric_of
from .front import has_front
from .front import judged as judge
from .metric import Metric, metrics_in

if TYPE_CHECKING:
    from .wandb_api import Run, Sweep, SweepRef, WandbApi

CURVES = 20  # lines that an eye still tells apart
CURVED_METRICS = 6
FRONT_METRICS = 4  # whose pairs are pictured


@dataclass(frozen=True)
class Row:
    """One run. ``rank`` and ``value`` are None for a run that did not finish or has no finite metric.

    In a sweep with several metrics the rank is the number of the run's front, and the values are in ``values``.
    """

    rank: int | None
    run: Run
    value: float | None
    step: int | None
    parameters: dict[str, Any]
    seconds: float | None
    values: dict[str, float | None] | None = None

    def record(self, url: str) -> dict[str, Any]:
        """The documented keys of a row; ``values`` where the sweep has several metrics."""
        several = {} if self.values is None else {"values": self.values}
        return {
            "rank": self.rank,
            "id": self.run.id,
            "path": self.run.path,
            "name": self.run.name,
            "state": self.run.state,
            "value": self.value,
            "step": self.step,
            **several,
            "parameters": self.parameters,
            "runtime": self.seconds,
            "url": url,
        }


@dataclass(frozen=True)
class Comparison:
    """The rows of a sweep, best first; ``parameters`` are the searched ones, by dotted name.

    With several ``metrics``, front by front, and in each by the first metric.
    """

    sweep: Sweep
    metrics: tuple[Metric, ...]
    parameters: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def metric(self) -> Metric:
        """The metric, or the first of several."""
        return self.metrics[0]

    @property
    def has_front(self) -> bool:
        return len(self.metrics) > 1

    def records(self, api: WandbApi) -> list[dict[str, Any]]:
        return [row.record(row.run.url(api.backend)) for row in self.rows]

    def columns(self) -> dict[str, str]:
        """What a terminal shows of ``shown``: no names, which mostly repeat the parameters and need the width."""
        parameters = {f"parameters.{name}": name for name in self.parameters}
        ends = {"runtime": "runtime", "state": "state"}
        if self.has_front:
            values = {f"values.{metric.name}": metric.name for metric in self.metrics}
            return {"rank": "front", "id": "run", **values, **parameters, **ends}
        return {"rank": "#", "id": "run", "value": self.metric.name, **parameters, **ends}

    def shown(self, api: WandbApi) -> list[dict[str, Any]]:
        """The rows, flat, as a person reads them."""
        return [
            {
                **record,
                **{f"values.{name}": value for name, value in record.get("values", {}).items()},
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
    metrics = metrics_in(sweep.config) if has_front(sweep) else (metric_of(sweep),)
    runs = api.runs(ref)
    if not runs:
        raise SweepkitError(f"sweep {ref.path} has no runs to compare", f"start them with `sweepkit agents {ref.id}`")
    searched = searched_parameters(sweep, runs)
    with ThreadPoolExecutor(max_workers=8) as threads:
        rows = list(threads.map(lambda run: _row(api, run, metrics, searched), runs))
    ranked = _by_front(rows, metrics) if len(metrics) > 1 else _ranked(rows, metrics[0])
    return Comparison(sweep, metrics, tuple(searched), tuple(ranked))


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
        metrics=comparison.metrics,
        parameters=comparison.parameters,
        rows=rows,
        winners=[row for row in rows if row["rank"] == 1],
        importances=[{"name": name, **vars(found)} for name, found in importances.items()],
        figures=_figures(api, comparison, importances),
        plotly=plotly_script(),
        url=_web_address(comparison.sweep.ref.url(api.backend)),
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def _row(api: WandbApi, run: Run, metrics: Sequence[Metric], searched: Sequence[str]) -> Row:
    history = api.history(run)
    parameters = {name: at(run.config, name) for name in searched}
    seconds = _seconds(run, history, metrics[0])
    if len(metrics) > 1:
        values = {metric.name: in_summary(run.summary, metric) for metric in metrics}
        return Row(None, run, None, None, parameters, seconds, values)
    best = best_in(run, history, metrics[0]) or Best(run, math.nan, None)
    return Row(None, run, finite(best.value), best.step, parameters, seconds)


def _ranked(rows: Sequence[Row], metric: Metric) -> list[Row]:
    finished = [row for row in rows if row.value is not None and row.run.state == "finished"]
    sign = -1 if metric.goal == MAXIMIZE else 1
    finished.sort(key=lambda row: sign * (row.value or 0.0))  # a stable sort: a tie stays in order of creation
    others = [row for row in rows if row not in finished]
    return [replace(row, rank=rank) for rank, row in enumerate(finished, start=1)] + others


def _by_front(rows: Sequence[Row], metrics: Sequence[Metric]) -> list[Row]:
    sign = -1 if metrics[0].goal == MAXIMIZE else 1
    found = {each.run.id: each for each in judge([row.run for row in rows], metrics)}
    ranked = [replace(row, rank=found[row.run.id].front) for row in rows if row.run.id in found]
    ranked.sort(key=lambda row: (row.rank, sign * found[row.run.id].values[0]))
    return ranked + [row for row in rows if row.run.id not in found]


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
    """The rows as the figures read them: parameters and the metrics by name, and the run's own name."""
    ranked = [row for row in comparison.rows if row.rank is not None]
    return [
        {**row.parameters, **(row.values or {comparison.metric.name: row.value}), "name of the run": row.run.name}
        for row in ranked
    ]


def _importances(comparison: Comparison) -> dict[str, Any]:
    from ..figures import importance

    return importance(_flat(comparison), comparison.parameters, comparison.metric.name)


def _figures(api: WandbApi, comparison: Comparison, importances: dict[str, Any]) -> list[dict[str, str]]:
    from ..figures import importance_figure, parallel, render

    metric = comparison.metric
    rows = _flat(comparison)
    axes = [*comparison.parameters, *(each.name for each in comparison.metrics[1:])]
    found = _fronts(comparison)
    if rows:
        found["parallel"] = parallel(rows, axes, metric.name, metric.goal, "name of the run")
    if importances:
        found["importance"] = importance_figure(importances, metric.name)
    found |= {f"curve{n}": figure for n, figure in enumerate(_curves(api, comparison))}
    return [{"id": name, "json": render(figure)} for name, figure in found.items()]


def _fronts(comparison: Comparison) -> dict[str, Any]:
    """A picture of each two of the sweep's metrics, if it has several."""
    from ..figures import front_figure

    metrics = comparison.metrics[:FRONT_METRICS]
    rows = [{**(row.values or {}), "front": row.rank, "name": row.run.name} for row in comparison.rows if row.rank]
    pairs = [(x, y) for n, x in enumerate(metrics) for y in metrics[n + 1 :]] if rows else []
    joined = len(comparison.metrics) == 2
    return {f"front{n}": front_figure(rows, x.name, y.name, (x.goal, y.goal), joined) for n, (x, y) in enumerate(pairs)}


def _curves(api: WandbApi, comparison: Comparison) -> list[dict[str, Any]]:
    """The sweep's metric over the steps, then what else the best run logged, for the best runs."""
    from ..figures import curves, thin

    leaders = [row for row in comparison.rows if row.value is not None or row.values and row.rank][:CURVES]
    with ThreadPoolExecutor(max_workers=8) as threads:
        histories = list(threads.map(lambda row: api.history(row.run), leaders))
    drawn = []
    for metric in _curved([each.name for each in comparison.metrics], histories):
        series = {}
        for row, history in zip(leaders, histories, strict=True):
            points = [
                (float(line["_step"]), value) for line in history if (value := finite(at(line, metric))) is not None
            ]
            series[_unique(row.run, leaders)] = thin(points)
        drawn.append(curves({name: points for name, points in series.items() if points}, metric))
    return drawn


def _curved(own: Sequence[str], histories: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
    """The metrics worth a curve: the sweep's own first; those that change from step to step."""
    seen: dict[str, set[float]] = {name: set() for name in own}
    for history in histories[:1]:
        for line in history:
            for name, value in line.items():
                if not name.startswith("_") and finite(value) is not None:
                    seen.setdefault(name, set()).add(float(value))
    changing = [name for name, values in seen.items() if len(values) > 1 and name not in (*own, "epoch")]
    return [*own, *changing][:CURVED_METRICS]


def _unique(run: Run, rows: Sequence[Row]) -> str:
    """The run's name, with its id where another run has the same name."""
    twins = sum(row.run.name == run.name for row in rows)
    return run.name if twins == 1 else f"{run.name} ({run.id})"
