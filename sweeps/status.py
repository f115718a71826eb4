"""Where a sweep stands: its state, its runs by state, the best so far, its agents."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .best import counts, metric_of, values, winner

if TYPE_CHECKING:
    from .metric import Metric
    from .wandb_api import Run, SweepRef, WandbApi

OVER = ("FINISHED", "CANCELED", "CRASHED")

#: field -> heading, for people
COLUMNS = {
    "path": "sweep",
    "name": "name",
    "state": "state",
    "progress": "runs",
    "leader": "best so far",
    "agent": "agents",
    "url": "open",
}


def status(api: WandbApi, ref: SweepRef) -> dict[str, Any]:
    """The documented keys of a sweep's status. The best so far may be a run that is still running."""
    sweep = api.sweep(ref)
    runs = api.runs(ref)
    metric = metric_of(sweep) if sweep.config.get("metric") else None
    agents = api.agents(ref)
    return {
        "id": ref.id,
        "path": ref.path,
        "name": sweep.name,
        "state": sweep.state,
        "method": sweep.method,
        "metric": metric.name if metric else None,
        "goal": metric.goal if metric else None,
        "runs": counts(runs),
        "run_count": len(runs),
        "expected": sweep.expected,
        "best": _leader(api, runs, metric),
        "agents": [_agent(agent) for agent in agents],
        "url": ref.url(api.backend),
    }


def watch(api: WandbApi, ref: SweepRef, seconds: float = 2.0) -> Iterator[dict[str, Any]]:
    """The status again and again, until the sweep is over and nothing runs any more."""
    while True:
        now = status(api, ref)
        yield now
        if over(now):
            return
        time.sleep(seconds)


def over(now: dict[str, Any]) -> bool:
    """Whether nothing more will come: the sweep has ended, and no run of it is running."""
    active = sum(now["runs"].get(state, 0) for state in ("running", "pending"))
    return now["state"] in OVER and not active


def show(now: dict[str, Any]) -> dict[str, Any]:
    """``now`` in the words of ``COLUMNS``."""
    leader = now["best"]
    alive = [agent for agent in now["agents"] if str(agent["state"]).upper() == "RUNNING"]
    return {
        **now,
        "progress": _progress(now),
        "leader": leader and f"{now['metric']} {leader['value']:.6g} ({leader['name']}, {leader['state']})",
        "agent": f"{len(alive)} running, {len(now['agents'])} in all",
    }


def one_line(now: dict[str, Any]) -> str:
    """``now`` in one line, for where no terminal is."""
    words = show(now)
    leader = f"; best {words['leader']}" if words["leader"] else ""
    return f"{now['id']} {now['state']}: {words['progress']}{leader}"


def lines(moments: Iterator[dict[str, Any]], say: Callable[[str], None]) -> dict[str, Any]:
    """Say each change in a line; returns the last status."""
    last, said = {}, ""
    for last in moments:
        if (text := one_line(last)) != said:
            say(text)
            said = text
    return last


def _progress(now: dict[str, Any]) -> str:
    by_state = ", ".join(f"{count} {state}" for state, count in now["runs"].items()) or "none yet"
    of = f" of {now['expected']}" if now["expected"] else ""
    return f"{now['run_count']}{of} ({by_state})"


def _leader(api: WandbApi, runs: list[Run], metric: Metric | None) -> dict[str, Any] | None:
    if metric is None:
        return None
    candidates = [run for run in runs if run.state in ("finished", "running")]
    leader = winner(values(api, candidates, metric), metric)
    return leader.record(metric, leader.run.url(api.backend)) if leader else None


def _agent(node: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": node.get("id"),
        "name": node.get("name"),
        "host": node.get("host"),
        "state": node.get("state"),
        "runs": node.get("totalRuns"),
        "heartbeat_at": node.get("heartbeatAt"),
    }
