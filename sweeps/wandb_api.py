"""The one place that talks to a backend: W&B's GraphQL API, which W&B's servers and the embedded backend both speak.

How is in ``wandb_requests.py``, what is read of runs in ``wandb_runs.py``. The documents are in ``wandb_queries.py``;
what they bring becomes the records of ``wandb_records.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UsageError
from . import wandb_queries as queries
from .wandb_records import Artifact, Run, Sweep, SweepRef, at, to_yaml
from .wandb_requests import NotFound, places
from .wandb_runs import RunReading

__all__ = ["Artifact", "NotFound", "Run", "Sweep", "SweepRef", "WandbApi"]

STATES = ("RUNNING", "PAUSED", "FINISHED", "CANCELED")


class WandbApi(RunReading):
    """W&B's API on ``backend``: sweeps, their agents and their runs. What it raises is told at ``Requests``."""

    # Sweeps

    def create_sweep(
        self, config: Mapping[str, Any], project: str, entity: str | None = None, priors: Sequence[str] = ()
    ) -> SweepRef:
        """A new sweep from ``config``, which is sent as YAML text as W&B's own client does; it learns from ``priors``.

        These are ids of runs of its project; the embedded backend takes ``entity/project/id`` too.
        """
        place: dict[str, Any] = {"entity": entity or self.entity, "project": project}
        given = {"config": to_yaml(config), "description": config.get("description")}
        filters = json.dumps({"$or": [{"name": name} for name in priors]}) if priors else None
        answer = self._ask(queries.UPSERT_SWEEP, once=True, priors=filters, **given, **place)
        sweep = answer["upsertSweep"]["sweep"]
        home = sweep.get("project") or {}
        return SweepRef(at(home, "entity", "name") or place["entity"], home.get("name") or project, sweep["name"])

    def find_sweep(self, text: str) -> SweepRef:
        """The sweep that ``text`` names: an id, project/id, entity/project/id, or its address in the browser.

        A bare id is looked for in WANDB_PROJECT first and then in every project of the entity. Raises NotFound.
        """
        entity, project, name = self._parts(text, "sweeps")
        looked = []
        for candidate in self._candidates(entity, project):
            looked.append(candidate)
            if self._sweep_node(SweepRef(entity, candidate, name)):
                return SweepRef(entity, candidate, name)
        raise NotFound(
            f"there is no sweep {text!r} on {self._where}",
            f"looked in {places(entity, looked)}; name it as entity/project/id, or choose another --backend",
        )

    def sweep(self, ref: SweepRef) -> Sweep:
        """The sweep's state, configuration and counts. Raises NotFound."""
        import yaml

        node = self._sweep_node(ref)
        if node is None:
            raise NotFound(f"there is no sweep {ref.path} on {self._where}")
        config = yaml.safe_load(node.get("config") or "") or {}
        name = node.get("displayName") or config.get("name") or ref.id
        expected = node.get("runCountExpected")
        return Sweep(
            ref, name, str(node["state"]).upper(), str(config.get("method", "")), config,
            run_count=int(node.get("runCount") or 0), expected=None if expected is None else int(expected),
            created_at=str(node.get("createdAt") or ""),
        )  # fmt: skip

    def prior_runs(self, ref: SweepRef) -> set[str]:
        """The ids of the runs from before the sweep that it learns from."""
        answer = self._ask(queries.PRIOR_RUNS, entity=ref.entity, project=ref.project, name=ref.id)
        return {str(edge["node"]["name"]) for edge in at(answer, "project", "sweep", "priorRuns", "edges") or []}

    def sweep_text(self, ref: SweepRef) -> str:
        """The sweep's configuration, as the YAML text that it was created with. Raises NotFound."""
        node = self._sweep_node(ref)
        if node is None:
            raise NotFound(f"there is no sweep {ref.path} on {self._where}")
        return str(node.get("config") or "")

    def edit_sweep(
        self,
        ref: SweepRef,
        config: Mapping[str, Any],
        name: str | None = None,
        description: str | None = None,
        state: str | None = None,
    ) -> list[str]:
        """Give a sweep another configuration, and a name, a description and a state where these are given.

        Returns the backend's warnings. Raises NotFound.
        """
        node = self._sweep_node(ref)
        if node is None:
            raise NotFound(f"there is no sweep {ref.path} on {self._where}")
        given: dict[str, Any] = {
            "config": to_yaml(config),
            "displayName": name,
            "description": description,
            "state": state,
        }
        place = {"id": node["id"], "entity": ref.entity, "project": ref.project}
        answer = self._ask(queries.UPSERT_SWEEP, **place, **given)
        return [str(warning) for warning in at(answer, "upsertSweep", "configValidationWarnings") or []]

    def set_state(self, ref: SweepRef, state: str) -> None:
        """RUNNING, PAUSED, FINISHED (no more trials) or CANCELED (running trials are stopped too)."""
        if state not in STATES:
            raise UsageError(f"{state!r} is no state of a sweep", f"choose one of {', '.join(STATES)}")
        node = self._sweep_node(ref)
        if node is None:
            raise NotFound(f"there is no sweep {ref.path} on {self._where}")
        self._ask(queries.UPSERT_SWEEP, id=node["id"], state=state, entity=ref.entity, project=ref.project)

    def last_search(self, ref: SweepRef) -> str | None:
        """When a scheduler outside the server was heard of last: by its controller run, to which it logs."""
        place = {"entity": ref.entity, "project": ref.project}
        name = at(self._find(queries.CONTROLLER, **place, name=ref.id), "project", "sweep", "controllerRunName")
        answer = self._find(queries.LAST_BEAT, **place, name=name) if name else {}
        beat = at(answer, "project", "run", "heartbeatAt")
        return str(beat) if beat else None

    def agents(self, ref: SweepRef) -> list[dict[str, Any]]:
        """The sweep's agents: id, name, host, state, totalRuns, createdAt, heartbeatAt, and in runs the latest few."""
        answer = self._ask(queries.AGENTS, entity=ref.entity, project=ref.project, name=ref.id)
        return [edge["node"] for edge in at(answer, "project", "sweep", "agents", "edges") or []]

    def create_agent(self, ref: SweepRef, host: str) -> str:
        """Register an agent; its id is what heartbeats are sent with."""
        answer = self._ask(queries.CREATE_AGENT, host=host, entity=ref.entity, project=ref.project, sweep=ref.id)
        return str(answer["createAgent"]["agent"]["id"])

    def heartbeat(self, agent_id: str, run_states: Mapping[str, bool]) -> list[dict[str, Any]]:
        """Say which runs live; the answer is W&B's commands: ``run``, ``resume``, ``stop`` and ``exit``.

        Raises NotFound when the sweep was deleted.
        """
        answer = self._ask(queries.HEARTBEAT, id=agent_id, metrics="{}", runState=json.dumps(dict(run_states)))
        return list(json.loads(at(answer, "agentHeartbeat", "commands") or "[]"))

    # Runs

    def was_stopped(self, ref: SweepRef, run_id: str) -> bool:
        """Whether the backend has asked this run of the sweep to stop (by early termination, or by a person)."""
        answer = self._find(queries.STOPPED, entity=ref.entity, project=ref.project, name=run_id)
        return bool(at(answer, "project", "run", "stopped"))

    def stop_run(self, ref: SweepRef, run_id: str) -> None:
        """Ask a run of the sweep to stop. Raises NotFound; one that has ended stays as it is."""
        found = at(self._ask(queries.RUN_ID, entity=ref.entity, project=ref.project, name=run_id), "project", "run")
        if not found:
            raise NotFound(f"there is no run {ref.entity}/{ref.project}/{run_id} on {self._where}")
        self._ask(queries.STOP_RUN, id=found["id"])

    def _sweep_node(self, ref: SweepRef) -> dict[str, Any] | None:
        answer = self._find(queries.FIND_SWEEP, entity=ref.entity, project=ref.project, name=ref.id)
        return at(answer, "project", "sweep")
