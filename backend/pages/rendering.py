"""Templates, how values are written, and the headers of every page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from ... import figures, output
from ...moments import moment
from .links import link, nested_link
from .media import Picture

STATIC = Path(__file__).with_name("static")
# No inline script, nothing from elsewhere. Styles may be inline because plotly.js adds a <style> of its own and sets
# style attributes on what it draws; without scripts or requests to other hosts, a style can do no harm here.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """The template as an answer."""
    text = TEMPLATES.get_template(template).render(**values)
    return HTMLResponse(text.encode("utf-8", "replace"), status, HEADERS)  # a history may hold lone surrogates


def missing(what: str, back: str = "/") -> HTMLResponse:
    """The page for a name that nobody has."""
    return page("missing.html", 404, what=what, back=back)


def value(item: Any) -> str:
    """A value in a cell: numbers with 4 significant digits, media by their kind, long texts cut."""
    if item is None or item == "":
        return "–"
    if isinstance(item, Mapping) and "_type" in item:
        return str(item["_type"])
    if isinstance(item, int) and not isinstance(item, bool):
        return str(item)
    text = figures.text_of(item)
    return text if len(text) <= 300 else f"{text[:299]}…"


def number_class(item: Any) -> str:
    """The class of a cell: numbers stand right."""
    return "number" if isinstance(item, (int, float)) and not isinstance(item, bool) else ""


def duration(seconds: float | None) -> str:
    """A span of time in its two largest units."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next((i for i, (amount, _) in enumerate(parts) if amount), 3)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount or first == 3)


def ago(text: str | None) -> Markup:
    """How long ago, with the exact time under the pointer."""
    when = moment(text)
    if when is None:
        return Markup("–")
    seconds = (datetime.now(timezone.utc) - when).total_seconds()
    said = "just now" if seconds < 5 else f"{_largest(duration(seconds))} ago"
    exact = when.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(when.isoformat(), exact, said)


def chart(figure: Mapping[str, Any]) -> Markup:
    """A figure as data that pages.js draws: the policy allows no inline script."""
    height = figure["layout"].get("height", 320)
    box = Markup('<div class="chart" style="min-height:{}px"><script type="application/json">{}</script></div>')
    return box.format(height, Markup(figures.render(figure)))


def _largest(text: str) -> str:
    return " ".join(text.split(" ")[:2])


def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(
        value=value, number_class=number_class, duration=duration, ago=ago, chart=chart, size=output.size
    )
    made.tests["picture"] = lambda cell: isinstance(cell, Picture)
    made.globals.update(link=link, nested_link=nested_link)
    return made


TEMPLATES = _environment()

Crumbs = Sequence[tuple[str, str]]


def crumbs(entity: str, project: str | None = None, *more: tuple[str, str]) -> Crumbs:
    """Text and address of each step from the entity to this page."""
    steps = [(entity, link(entity))]
    if project is not None:
        steps.append((project, link(entity, project)))
    return [*steps, *more]
