"""The words at the end of ``run``: the winner, what it has, how the others did, where to look, what to type next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..output import cell, console, printable, table

if TYPE_CHECKING:
    from .best import Best
    from .compare import Comparison
    from .metric import Metric
    from .promote import Promotion
    from .run import Result
    from .wandb_api import WandbApi

LEADERBOARD = 10  # rows; the page has all


def tell(result: Result, api: WandbApi, open_url: Callable[[str], str]) -> None:
    """Print ``result`` to stdout. ``open_url`` turns the path of a page into an address that opens it."""
    screen = console()
    for heading, body in _sections(result, api, open_url):
        screen.print()
        screen.print(heading, style="bold")
        for part in body:
            screen.print(part, soft_wrap=isinstance(part, str))


def _sections(result: Result, api: WandbApi, open_url: Callable[[str], str]) -> Iterator[tuple[str, list[Any]]]:
    if result.best and result.metric:
        yield "Winner", _winner(result.best, result.metric, result.searched)
    if result.front:
        yield "Front", [f"  {printable(each['name'])} ({each['id']})  {_values(each)}" for each in result.front]
    if result.promotion:
        yield "Artifacts and case tables", _promotion(result.promotion)
    if result.comparison:
        yield "Comparison", _comparison(result.comparison, api)
    yield "Open in the browser", _addresses(result, api, open_url)
    yield "Next", [f"  {command}" for command in next_commands(result)]


def next_commands(result: Result) -> list[str]:
    """What the user will most likely want to type now."""
    if not result.over and (result.interrupted or not result.comparison):
        return [f"sweepkit agents {result.ref.id}     # go on with the sweep", f"sweepkit status {result.ref.id}"]
    if not result.comparison:
        return [f"sweepkit status {result.ref.id}", f"sweepkit export {result.ref.id} DIR"]
    if result.front:
        chosen = result.front[0]["id"]
        return [f"sweepkit promote {chosen}     # or another run of the front", f"sweepkit best {result.ref.id}"]
    if not result.best:
        return [f"sweepkit status {result.ref.id}", f"sweepkit compare {result.ref.id}"]
    if not result.promotion:
        return [f"sweepkit promote {result.ref.id}", f"sweepkit compare {result.ref.id}"]
    return [f"sweepkit compare {result.ref.id} --html comparison.html", "sweepkit list"]


def _winner(best: Best, metric: Metric, searched: tuple[str, ...]) -> list[Any]:
    from .best import at

    when = "" if best.step is None else f" at step {best.step}"
    lines = [
        f"  {printable(best.run.name)} ({best.run.id})",
        f"  {printable(metric.name)} {best.value:.6g}{when}",
    ]
    return lines + [f"    {name} = {cell(at(best.run.config, name))}" for name in searched]


def _values(judged: dict[str, Any]) -> str:
    return "  ".join(f"{printable(name)} {value:.6g}" for name, value in judged["values"].items())


def _promotion(promotion: Promotion) -> list[Any]:
    rows = [
        {
            "type": artifact.get("type"),
            "name": f"{artifact.get('name')}:{artifact.get('version')}",
            "aliases": ", ".join(artifact.get("aliases") or []),
            "note": "unchanged" if artifact.get("unchanged") else "",
        }
        for artifact in promotion.artifacts
    ]
    columns = {"type": "type", "name": "artifact", "aliases": "aliases", "note": ""}
    tables = [f"  table {printable(name)}: {count} rows" for name, count in promotion.tables.items()]
    missing = [f"  left out: {printable(text)}" for text in promotion.left_out]
    return [table(rows, columns), *tables, *missing]


def _comparison(comparison: Comparison, api: WandbApi) -> list[Any]:
    rows = comparison.shown(api)
    more = len(rows) - LEADERBOARD
    return [table(rows[:LEADERBOARD], comparison.columns()), *([f"  and {more} more"] if more > 0 else [])]


def _addresses(result: Result, api: WandbApi, open_url: Callable[[str], str]) -> list[Any]:
    found = {"sweep": open_url(_path(result.ref.url(api.backend), api))}
    if result.best:
        found["winner"] = open_url(_path(result.best.run.url(api.backend), api))
    if result.page:
        found["comparison"] = result.page.as_uri() if isinstance(result.page, Path) else str(result.page)
    return [f"  {name:<11} {address}" for name, address in found.items()]


def _path(url: str, api: WandbApi) -> str:
    """The path of a page, below the backend's address."""
    return url.removeprefix(api.backend.web())


def tell_promotion(promotion: Promotion) -> None:
    """Print what a promotion logged."""
    screen = console()
    screen.print(f"run {printable(promotion.run)}")
    for part in _promotion(promotion):
        screen.print(part, soft_wrap=isinstance(part, str))
