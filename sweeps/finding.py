"""A run by whatever people call it: its id, its path, its address, or the name that is shown for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError
from ..output import printable

if TYPE_CHECKING:
    from .wandb_api import Run, WandbApi

NEAR = 3  # suggestions


def find_run(api: WandbApi, text: str) -> Run:
    """The run that ``text`` names: as ``WandbApi.run`` takes it, or by its display name where that is one run's only.

    Raises UsageError, with the runs that may have been meant.
    """
    from .wandb_api import NotFound

    try:
        return api.run(text)
    except NotFound as error:
        missing = error
    found = api.some_runs(text, named=True)
    if len(found) == 1:
        return api.run(found[0].path)
    if found:
        paths = ", ".join(run.path for run in found[:NEAR]) + (", ..." if len(found) > NEAR else "")
        raise UsageError(f"{len(found)} runs are called {text!r}", f"give the id of one of them: {paths}")
    if near := _near(text.rpartition("/")[2], api.some_runs(text)):
        raise UsageError(missing.message, f"did you mean {' or '.join(_told(run) for run in near)}?")
    raise missing


def _near(name: str, runs: list[Run]) -> list[Run]:
    """The runs whose id or name is most like ``name``, the most alike first."""
    from difflib import SequenceMatcher

    def likeness(run: Run) -> float:
        """1: equal but for the case; a part of the name is as good as a misspelling."""
        wanted, called = name.lower(), (run.id.lower(), run.name.lower())
        part = 0.9 if len(wanted) > 2 and any(wanted in each for each in called) else 0.0
        return max(part, *(SequenceMatcher(None, wanted, each).ratio() for each in called))

    scored = [(likeness(run), run) for run in runs]
    scored.sort(key=lambda pair: -pair[0])
    return [run for score, run in scored[:NEAR] if score >= 0.6]


def _told(run: Run) -> str:
    return run.id if run.name == run.id else f"{run.id} ({printable(run.name)})"
