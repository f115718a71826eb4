"""Where a sweep stands: its state, its runs by state, the best so far, its agents, the time left."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import Unreachable
from ..moments import moment
from ..output import aligned
from .best import counts, winner
from .course import Course, age
from .early_stopping import bands_in, explained
from .front import judged, on_front
from .metric import metric_in, metrics_in
from .scores import Scores
from .time_left import Left, time_left, told

if TYPE_CHECKING:
    from .board import Board, Row
    from .wandb_api import Run, Sweep, SweepRef, WandbApi

OVER = ("FINISHED", "CANCELED", "CRASHED")
AT_WORK = ("running", "pending", "preempting")
POLL = 2.0  # seconds between two looks
PATIENCE = 300.0  # seconds for which a backend that went away is asked again
LISTED = 20  # agents; JSON has all

#: field -> heading, for people
COLUMNS = {
    "path": "sweep",
    "name": "name",
    "state": "state",
    "progress": "runs",
    "ahead": "time left",
    "leader": "best so far",
    "leaders": "front so far",
    "agent": "agents",
    "reason": "failed",
    "url": "open",
}


class Standing:
    """A sweep that is looked at once, or again and again."""

    def __init__(self, api: WandbApi, ref: SweepRef) -> None:
        self.api, self.ref = api, ref
        sweep = api.sweep(ref)
        self.metric = metric_in(sweep.config)
        self.sweep: Sweep = sweep
        self.course = Course(sweep.config, sweep.expected)
        self.agents: list[dict[str, Any]] = []
        self._bands = bands_in(sweep.config)
        self._scores = Scores(api, self.metric, bands=self._bands.bands if self._bands else ())
        self._first = True

    def look(self) -> dict[str, Any]:
        """The documented keys of a sweep's status. The best so far may be a run that is still running."""
        if not self._first:
            self.sweep = self.api.sweep(self.ref)
        self._first = False
        runs = self.api.runs(self.ref)
        self.agents = [_agent(node) for node in self.api.agents(self.ref)]
        scores = self._scores.of(runs)
        self.course.runs = {}  # a run may have been deleted
        for score in scores:
            self.course.exact(score.run.id, score.value)
        self.course.look(runs)
        leader = winner(scores, self.metric) if self.metric else None
        left = self.left()
        return {
            "id": self.ref.id,
            "path": self.ref.path,
            "name": self.sweep.name,
            "state": self.sweep.state,
            "method": self.sweep.method,
            "metric": self.metric.name if self.metric else None,
            "goal": self.metric.goal if self.metric else None,
            "runs": counts(runs),
            "run_count": len(runs),
            "expected": self.sweep.expected,
            "left": vars(left) if left else None,
            "best": leader.record(self.metric, leader.run.url(self.api.backend)) if leader and self.metric else None,
            **self._front(runs),
            "agents": self.agents,
            "early_stopping": self._early(runs),
            "reasons": {run.id: run.notes for run in runs if run.state in ("failed", "crashed") and run.notes},
            "url": self.ref.url(self.api.backend),
        }

    def _early(self, runs: Sequence[Run]) -> dict[str, Any] | None:
        if self._bands is None or self.metric is None:
            return None
        return explained(self._bands, self.metric, runs, self._scores.at_bands(runs))

    def _front(self, runs: Sequence[Run]) -> dict[str, Any]:
        """The key of a sweep with several metrics: its finished runs that no other beats, by the first metric."""
        metrics = metrics_in(self.sweep.config)
        if len(metrics) < 2:
            return {}
        return {"front": [each.run.id for each in on_front(judged(runs, metrics), metrics)]}

    def left(self) -> Left | None:
        """How long the sweep will still take, if anything tells."""
        runs = list(self.course.runs.values())
        at_work = [state for state in AT_WORK if state != "pending" or self.sweep.state not in OVER]
        working = [self.course.running(run, self._lasts(run) or 0.0) for run in runs if run.state in at_work]
        waiting = None if self.sweep.expected is None else max(0, self.sweep.expected - len(runs))
        alive = sum(agent["state"] == "RUNNING" for agent in self.agents)
        if self.sweep.state in OVER:
            waiting = 0
        elif self.sweep.state == "PAUSED":
            return None
        return time_left(self.course.seconds(), working, waiting, alive)

    def board(self) -> Board:
        """The same for a terminal: a line an agent."""
        from .board import Board

        runs = list(self.course.runs.values())
        done = sum(run.state not in AT_WORK for run in runs)
        return Board(
            rows=self._rows(),
            done=done,
            total=self.sweep.expected,
            metric=self.course.metric or "",
            sign=self.course.sign,
            counts=self.course.counts(),
            left=self.left(),
            state=self.sweep.state,
            curve=self.course.curve,
            best=self.course.best_text(),
            title=f"{self.ref.path} · {self.sweep.name} · {self.sweep.state}",
        )

    def _rows(self) -> list[Row]:
        shown = [agent for agent in self.agents if agent["state"] == "RUNNING" or agent["run"]]
        hosts = {agent["host"] for agent in shown}
        rows = []
        for agent in sorted(shown, key=_place):
            slot = agent["slot"] if len(hosts) == 1 and agent["slot"] else f"{agent['host']} {agent['slot'] or ''}"
            rows.append(self._row(slot.strip(), self.course.runs.get(agent["run"] or ""), agent["state"] != "RUNNING"))
        taken = {agent["run"] for agent in shown}
        free = [run for run in self.course.runs.values() if run.state in AT_WORK and run.id not in taken]
        return rows + [self._row("no agent", run, False) for run in free]

    def _row(self, place: str, run: Run | None, lost: bool) -> Row:
        from .board import Row

        if run is None:
            return Row(place)
        trial = self.course.tried(run.config) or run.name
        return Row(
            place,
            f"lost: {trial}" if lost else trial,
            busy=True,
            lost=lost,
            reached=self.course.reached(run),
            value=self.course.value(run),
            rate=self.course.rate(run),
            seconds=age(run) if lost else self._lasts(run),
        )

    def _lasts(self, run: Run) -> float | None:
        """How long a run has been at work. A client is heard of every few seconds only; some agent always just now."""
        beats = [moment(agent["heartbeat_at"]) for agent in self.agents] + [moment(run.heartbeat_at)]
        return age(run, max((beat for beat in beats if beat), default=None))


def status(api: WandbApi, ref: SweepRef) -> dict[str, Any]:
    """Where the sweep stands now."""
    return Standing(api, ref).look()


def watch(standing: Standing, say: Callable[[str], None], seconds: float = POLL) -> Iterator[dict[str, Any]]:
    """The status again and again, until the sweep is over and nothing runs any more.

    A backend that goes away is told by ``say`` and asked again. Raises Unreachable when it stays away.
    """
    away: float | None = None
    while True:
        began = time.monotonic()
        try:
            now = standing.look()
        except Unreachable as error:
            if away is None:
                say(f"{error.message}; it is asked again and again")
            away = away or began
            if began > away + PATIENCE:
                raise
            time.sleep(seconds)
            continue
        away = None
        yield now
        if over(now):
            return
        time.sleep(max(seconds, 10 * (time.monotonic() - began)))  # a long list of runs must not keep a backend busy


def live(standing: Standing) -> dict[str, Any]:
    """Watch on the terminal at standard error; returns the last status."""
    from .board import draw
    from .screen import Screen

    last = standing.look()
    with Screen(lambda *size: draw(standing.board(), *size)) as screen:
        for now in watch(standing, screen.say):
            last = now
    return last


def changes(moments: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The moments at which something is another than before: time that goes by is not."""
    before: object = None
    for now in moments:
        agents = [{**agent, "heartbeat_at": None} for agent in now["agents"]]
        stays = {**now, "left": None, "agents": agents}
        if stays != before:
            yield now
        before = stays


def over(now: dict[str, Any]) -> bool:
    """Whether nothing more will come: the sweep has ended, and no run of it is running.

    A run that waits for an agent then, as a search outside the server had asked for it, waits in vain.
    """
    taken = any(agent["state"] == "RUNNING" and agent["run"] for agent in now.get("agents", ()))
    active = now["runs"].get("running", 0) or (taken and now["runs"].get("pending", 0))
    return now["state"] in OVER and not active


def show(now: dict[str, Any]) -> dict[str, Any]:
    """``now`` in the words of ``COLUMNS``."""
    leader = now["best"]
    alive = [agent for agent in now["agents"] if agent["state"] == "RUNNING"]
    ahead = told(Left(**now["left"])) if now["left"] and now["left"]["seconds"] else None
    return {
        **now,
        "progress": _progress(now),
        "ahead": ahead and ahead.removesuffix(" left"),
        "leader": leader and f"{now['metric']} {leader['value']:.6g} ({leader['name']}, {leader['state']})",
        "leaders": _leaders(now.get("front")),
        "agent": f"{len(alive)} running, {len(now['agents'])} in all",
        "reason": _reasons(now["reasons"]),
    }


def agent_lines(now: dict[str, Any]) -> list[str]:
    """The agents that work, or are lost with a run that they had, for people."""
    if over(now):
        return []  # who was heard of a moment ago has gone home, or is about to
    shown = [agent for agent in now["agents"] if agent["state"] == "RUNNING" or agent["run"]]
    shown.sort(key=lambda agent: (agent["state"] == "RUNNING", not agent["run"], _place(agent)))
    if not shown:
        return []
    cells = [[agent["host"], agent["slot"], agent["state"].lower(), agent["run"] or "waiting"] for agent in shown]
    lines = aligned([["host", "slot", "state", "run"], *cells[:LISTED]])
    more = len(cells) - LISTED
    return ["", *lines, *([f"… and {more} more; --format json has all"] if more > 0 else [])]


def one_line(now: dict[str, Any]) -> str:
    """``now`` in one line, for where no terminal is."""
    words = show(now)
    leader = f"; best {words['leader']}" if words["leader"] else ""
    ahead = f"; {words['ahead']} left" if words["ahead"] else ""
    return f"{now['id']} {now['state']}: {words['progress']}{leader}{ahead}"


def lines(moments: Iterator[dict[str, Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """Say each change in a line; returns the last status."""
    last: dict[str, Any] = {}
    said = ""
    for last in moments:
        if (text := one_line({**last, "left": None})) != said:
            say(one_line(last))
            said = text
    return last


def _leaders(front: Sequence[str] | None) -> str | None:
    if not front:
        return None
    more = f" and {len(front) - 5} more" if len(front) > 5 else ""
    return f"{len(front)} {'run' if len(front) == 1 else 'runs'}: {', '.join(front[:5])}{more}"


def _reasons(reasons: Mapping[str, str]) -> str | None:
    """Why runs failed, as far as their notes say it: the backend gives up trials whose agents were lost."""
    shown = [f"{run} {notes.splitlines()[0]}" for run, notes in list(reasons.items())[:3] if notes.strip()]
    more = [f"and {len(reasons) - 3} more"] if len(reasons) > 3 else []
    return "; ".join([*shown, *more]) or None


def _place(agent: Mapping[str, Any]) -> list[tuple[int, str]]:
    """What sorts agents by host and slot, with ``gpu:2`` before ``gpu:10``."""
    parts = re.split(r"(\d+)", f"{agent['host']} {agent['slot'] or ''}")
    return [(int(part) if part.isdecimal() else -1, part) for part in parts]


def _progress(now: dict[str, Any]) -> str:
    by_state = ", ".join(f"{count} {state}" for state, count in now["runs"].items()) or "none yet"
    of = f" of {now['expected']}" if now["expected"] else ""
    return f"{now['run_count']}{of} ({by_state})"


def _agent(node: Mapping[str, Any]) -> dict[str, Any]:
    """An agent of sweepkit calls itself by its host and its slot; W&B's by its host."""
    host, _, slot = str(node.get("host") or "").partition(" ")
    latest = [edge["node"] for edge in (node.get("runs") or {}).get("edges") or []]
    run = next((str(each["name"]) for each in latest if str(each.get("state")).lower() in AT_WORK), None)
    return {
        "id": node.get("id"),
        "name": node.get("name"),
        "host": host,
        "slot": slot or None,
        "state": str(node.get("state")).upper(),
        "run": run,
        "runs": node.get("totalRuns"),
        "heartbeat_at": node.get("heartbeatAt"),
    }
