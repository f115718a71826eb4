"""A sweep that is changed after it was made: what is different, what becomes of its runs, and the change itself.

It goes through W&B's own UpsertSweep with the sweep's id, as ``wandb sweep --update`` does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .. import space
from ..errors import SweepkitError, Unreachable, UsageError
from ..output import aligned
from ..space import Space, SpaceError, canonical
from . import document
from .document import Fault

if TYPE_CHECKING:
    from .spec import Spec
    from .wandb_api import Run, Sweep, SweepRef, WandbApi

_GROUPS = ("metric", "controller", "early_terminate")  # keys whose own keys are compared one by one
_SEARCH = (
    "parameters.",
    "metric.",
    "metrics",
    "run_cap",
    "controller.",
)  # a change of these may give a sweep more runs
_STARTING = ("program", "command")
_ABSENT = object()
_WIDTH = 50  # characters of a value; JSON has all


@dataclass(frozen=True)
class Change:
    """A key that changes, dotted (``metric.target``, ``parameters.optimizer.lr``). A side without it is None."""

    key: str
    before: Any
    after: Any
    kind: str = "changed"  # added, removed or changed


@dataclass(frozen=True)
class Edit:
    """What an edit would do. ``outside`` are ids of runs whose parameters the new space does not have.

    ``left`` is how many runs are still to come, None where there is no end; ``state`` is the sweep's state afterwards.
    """

    ref: SweepRef
    spec: Spec
    before: Sweep
    changes: tuple[Change, ...]
    inside: int
    outside: tuple[str, ...]
    left: int | None
    state: str
    notes: tuple[str, ...]

    def record(self, applied: bool) -> dict[str, Any]:
        """The documented keys of an edit."""
        return {
            "id": self.ref.id,
            "path": self.ref.path,
            "changes": [vars(change) for change in self.changes],
            "runs": {"inside": self.inside, "outside": list(self.outside)},
            "left": self.left,
            "state": self.state if applied else self.before.state,
            "applied": applied,
        }

    def lines(self) -> list[str]:
        """The same for people."""
        if not self.changes:
            return [f"{self.spec.path} is what sweep {self.ref.path} has already"]
        rows = [[change.key, _told(change)] for change in self.changes]
        ahead = "no end" if self.left is None else str(self.left)
        goes = f"; it is {self.before.state} and goes on" if self.state != self.before.state else ""
        kept = f"; {len(self.outside)} outside: kept, and left out of the search" if self.outside else ""
        facts = [["runs", f"{self.inside} inside the new space{kept}"], ["to come", f"{ahead}{goes}"]]
        return [*aligned([["key", "change"], *rows]), "", *aligned(facts), *(f"note: {note}" for note in self.notes)]


def look(api: WandbApi, ref: SweepRef, spec: Spec) -> Edit:
    """What it means for a sweep to become ``spec``. Changes nothing.

    Raises UsageError where that would be another sweep: another method, another project, a search elsewhere.
    """
    before = api.sweep(ref)
    known = _stored(api, ref)
    _refuse(ref, known, spec)
    changes = tuple(_changes(known, _parsed(ref, known), spec))
    runs = api.runs(ref)
    outside = tuple(run.id for run in runs if not spec.space.holds(spec.space.flat(run.config)))
    left = _left(spec, runs)
    moves = any(change.key.startswith(_SEARCH) for change in changes)
    goes_on = before.state == "FINISHED" and moves and left != 0
    state = "RUNNING" if goes_on else before.state
    notes = tuple(_notes(before, changes))
    return Edit(ref, spec, before, changes, len(runs) - len(outside), outside, left, state, notes)


def apply(api: WandbApi, edit: Edit) -> list[str]:
    """Change the sweep; returns the backend's warnings. Raises SweepkitError where the backend refuses it."""
    config = edit.spec.config
    by_key = {change.key for change in edit.changes}
    name = edit.spec.name if "name" in by_key else None
    description = config.get("description", "") if "description" in by_key else None
    state = edit.state if edit.state != edit.before.state else None
    try:
        return api.edit_sweep(edit.ref, config, name, description, state)
    except (Unreachable, UsageError):
        raise
    except SweepkitError as error:
        hint = (
            f"make a new sweep that learns from this one: `sweepkit create {edit.spec.path} --prior {_as_prior(edit)}`"
        )
        raise SweepkitError(f"sweep {edit.ref.path} stays as it is: {error.message}", hint) from error


def _as_prior(edit: Edit) -> str:
    return f"{edit.ref.entity}/{edit.ref.project}/sweeps/{edit.ref.id}"


def _stored(api: WandbApi, ref: SweepRef) -> dict[str, Any]:
    try:
        return dict(json.loads(json.dumps(document.read(api.sweep_text(ref)).value, default=str)))
    except (Fault, TypeError, ValueError) as error:
        raise SweepkitError(f"the configuration of sweep {ref.path} cannot be read: {error}") from error


def _parsed(ref: SweepRef, config: Mapping[str, Any]) -> Space:
    try:
        return space.parse(config.get("parameters"))  # type: ignore[arg-type]
    except SpaceError as error:
        raise SweepkitError(f"the parameters of sweep {ref.path} cannot be read: {error.message}") from error


def _refuse(ref: SweepRef, known: Mapping[str, Any], spec: Spec) -> None:
    prior = f"make a new sweep that learns from this one: --prior {ref.entity}/{ref.project}/sweeps/{ref.id}"
    if _is_elsewhere(known) or _is_elsewhere(spec.config):
        what = "a sweep whose search is elsewhere (a scheduler or a local controller) is not changed by a backend"
        raise UsageError(f"{spec.path}: {what}", "end that search, and start it again with the new YAML on a new sweep")
    if known.get("method") != spec.method:
        what = f"sweep {ref.path} has method {known.get('method')}; {spec.method} would be another search"
        raise UsageError(f"{spec.path}: {what}", prior)
    for key, own, given in (("project", ref.project, spec.project), ("entity", ref.entity, spec.entity)):
        if given not in (None, own):
            raise UsageError(f"{spec.path}: sweep {ref.path} stays in its {key}, which is not {given!r}", prior)


def _is_elsewhere(config: Mapping[str, Any]) -> bool:
    controller = config.get("controller")
    return "scheduler" in config or (isinstance(controller, Mapping) and controller.get("type") == "local")


def _changes(known: Mapping[str, Any], old: Space, spec: Spec) -> Iterator[Change]:
    """By key, the parameters last: two that mean the same are no change, however they are written."""
    before, after = dict(_flat(known)), dict(_flat(spec.config))
    for key in sorted({*before, *after}, key=lambda key: (key.startswith("parameters."), key)):
        if canonical(_comparable(key, before, old)) != canonical(_comparable(key, after, spec.space)):
            kind = "added" if key not in before else "removed" if key not in after else "changed"
            yield Change(key, before.get(key), after.get(key), kind)


def _flat(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if key == "parameters":
            yield from _parameters(value, "parameters.")
        elif key in _GROUPS and isinstance(value, Mapping):
            yield from ((f"{key}.{inner}", part) for inner, part in value.items())
        elif key not in ("project", "entity"):
            yield key, value


def _parameters(given: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, entry in given.items():
        if "parameters" in entry:
            yield from _parameters(entry["parameters"], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", entry


_DEFAULTS = {
    "metric.goal": "minimize",
    "controller.type": "cloud",
    "controller.shuffle": False,
    "controller.repeats": 1,
}


def _comparable(key: str, config: Mapping[str, Any], of: Space) -> Any:
    """What is compared of a key: of a parameter what it means, of others the value or what W&B takes for it."""
    if key.startswith("parameters."):
        found = next((each for each in of.parameters if f"parameters.{each.name}" == key), None)
        return None if found is None else asdict(found)
    return config.get(key, _DEFAULTS.get(key))


def _left(spec: Spec, runs: Sequence[Run]) -> int | None:
    """How many runs are still to come by the cap and by what is untried; None where there is no end."""
    size = spec.space.size()
    capped = None if spec.run_cap is None else max(0, spec.run_cap - len(runs))
    if size is None:
        return capped
    repeats = spec.order.get("repeats", 1)
    flats = [flat for run in runs if spec.space.holds(flat := spec.space.flat(run.config))]
    tried = Counter(canonical(flat) for flat in flats)
    untried = max(0, size * repeats - sum(min(count, repeats) for count in tried.values()))
    return untried if capped is None else min(untried, capped)


def _notes(before: Sweep, changes: Sequence[Change]) -> Iterator[str]:
    if before.state in ("PAUSED", "CANCELED"):
        yield f"the sweep stays {before.state}; `sweepkit resume {before.ref.id}` lets it go on"
    if any(change.key in _STARTING for change in changes):
        yield "agents that run start trials as before; those that are started later take the change up"
    if any(change.key in ("metric.name", "metric.goal") for change in changes):
        yield "all runs are judged by the new metric, those from before too"


def _told(change: Change) -> str:
    if change.kind == "added":
        return f"added: {_brief(change.after)}"
    return "removed" if change.kind == "removed" else f"{_brief(change.before)} -> {_brief(change.after)}"


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        text = ", ".join(f"{key} {json.dumps(part, ensure_ascii=False)}" for key, part in value.items())
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
