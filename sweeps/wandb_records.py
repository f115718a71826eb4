"""Sweeps, runs and artifacts as W&B's API gives them, with plain values in them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .backends import Backend


@dataclass(frozen=True)
class SweepRef:
    """A sweep's place on a backend."""

    entity: str
    project: str
    id: str

    @property
    def path(self) -> str:
        return f"{self.entity}/{self.project}/{self.id}"

    def url(self, backend: Backend) -> str:
        """The address of the sweep's page."""
        return f"{backend.web()}/{quote(self.entity)}/{quote(self.project)}/sweeps/{quote(self.id)}"


@dataclass(frozen=True)
class Sweep:
    """A sweep as the backend knows it; ``expected`` is None where the search has no end of its own."""

    ref: SweepRef
    name: str
    state: str
    method: str
    config: dict[str, Any]
    run_count: int
    expected: int | None
    created_at: str

    @property
    def is_over(self) -> bool:
        """Whether agents get no more trials, whatever still runs."""
        return self.state in ("FINISHED", "CANCELED")


@dataclass(frozen=True)
class Run:
    """A run with its configuration as plain values. NaN and infinities in ``summary`` are floats."""

    entity: str
    project: str
    id: str
    name: str
    state: str
    config: dict[str, Any]
    summary: dict[str, Any]
    created_at: str
    heartbeat_at: str | None
    sweep: str | None
    tags: tuple[str, ...] = ()
    notes: str = ""
    stopped: bool = False  # somebody asked it to stop: early termination, or a person

    @property
    def path(self) -> str:
        return f"{self.entity}/{self.project}/{self.id}"

    def url(self, backend: Backend) -> str:
        """The address of the run's page."""
        return f"{backend.web()}/{quote(self.entity)}/{quote(self.project)}/runs/{quote(self.id)}"


@dataclass(frozen=True)
class Artifact:
    """A version of an artifact that a run logged; ``name`` is that of its collection, ``version`` is v0, v1, ..."""

    name: str
    type: str
    version: str
    aliases: tuple[str, ...]
    digest: str = ""
    size: int = 0


@dataclass(frozen=True)
class File:
    """A file of a run or of an artifact: ``md5`` in base64 (empty: not known), ``url`` where its content is got."""

    name: str
    size: int
    md5: str
    url: str


def file_of(node: Mapping[str, Any]) -> File:
    md5 = str(node.get("md5") or "")
    return File(str(node["name"]), int(node.get("sizeBytes") or 0), "" if md5 == "0" else md5, str(node["directUrl"]))


def at(value: Any, *path: str) -> Any:
    """The value at ``path``, or None where anything on the way is missing or null."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _json(text: Any) -> dict[str, Any]:
    return dict(json.loads(text or "{}", strict=False)) if isinstance(text, str) else dict(text or {})


def run_of(node: Mapping[str, Any], entity: str, project: str) -> Run:
    return Run(
        entity, project, node["name"], node.get("displayName") or node["name"], str(node["state"]).lower(),
        plain_config(_json(node.get("config"))), floats(_json(node.get("summaryMetrics"))),
        str(node.get("createdAt") or ""), node.get("heartbeatAt"), node.get("sweepName"), tuple(node.get("tags") or ()),
        str(node.get("notes") or ""), bool(node.get("stopped")),
    )  # fmt: skip


def artifact_of(node: Mapping[str, Any]) -> Artifact:
    name = at(node, "artifactSequence", "name")
    own = [each for each in node.get("aliases") or [] if at(each, "artifactCollection", "name") in (name, None)]
    aliases = tuple(each["alias"] for each in own)
    return Artifact(
        str(name),
        str(at(node, "artifactType", "name")),
        f"v{node['versionIndex']}",
        aliases,
        node.get("digest") or "",
        int(node.get("size") or 0),
    )


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """W&B's ``{"lr": {"value": 0.1, "desc": null}, "_wandb": ...}`` as ``{"lr": 0.1}``."""
    kept = {name: entry for name, entry in config.items() if name not in ("_wandb", "wandb_version")}
    return {n: floats(e["value"]) if isinstance(e, Mapping) and "value" in e else floats(e) for n, e in kept.items()}


_SPELLED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def floats(value: Any) -> Any:
    """``value`` with W&B's spellings of what JSON cannot write turned into floats, at every depth."""
    if isinstance(value, str):
        return _SPELLED.get(value, value)
    if isinstance(value, Mapping):
        return {name: floats(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [floats(inner) for inner in value]
    return value


def only(row: Mapping[str, Any], keys: list[str]) -> dict[str, Any] | None:
    """``row`` reduced to ``keys`` and its step; None when it does not hold all of them."""
    found = {key: row[key] if key in row else at(row, *key.split(".")) for key in keys}
    if any(value is None for value in found.values()):
        return None
    return {"_step": row.get("_step"), **found}


def to_yaml(config: Mapping[str, Any]) -> str:
    """``config`` as YAML that every version of YAML reads alike: a text that might be a number ("008") is quoted."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "'" if value.startswith(tuple("0123456789+-.")) else None
        style = style if value.isprintable() else '"'  # PyYAML leaves some line breaks bare otherwise
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(json.loads(json.dumps(config)), Dumper=Dumper, sort_keys=False, allow_unicode=True)
