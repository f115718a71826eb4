"""What a person may ask of the agents of one command; the command line's options, and what they are by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .policy import DEFAULT_RETRIES, DEFAULT_RETRY_ON

AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True)
class AgentOptions:
    """Where trials run, and what is tried again.

    ``gpus`` is "all" (or None) or indices such as "0,1"; ``per_gpu`` trials share each of them, or each trial has
    ``gpus_per_trial`` of them; ``cpu_slots`` asks for that many slots on the CPU, GPUs or not. "auto" trials on a GPU,
    or on the CPU, begin with one and become more while that pays.

    A trial whose ending is in ``retry_on`` (labels as in ``outcomes.Ending``) is tried up to ``retries`` times more.
    ``trial_timeout`` is how many seconds one try may take.

    ``isolation`` is "warm" (trials are forks of a process that has done the program's imports, where that is possible)
    or "process" (each starts from nothing); ``preload`` names modules to import beside those of the program's lines.

    ``search`` is whether this command may search for a sweep that has a ``scheduler:``.
    """

    gpus: str | None = None
    per_gpu: int | Literal["auto"] = 1
    gpus_per_trial: int = 1
    cpu_slots: int | Literal["auto"] | None = None
    retries: int = DEFAULT_RETRIES
    retry_on: tuple[str, ...] = DEFAULT_RETRY_ON
    trial_timeout: float | None = None
    isolation: str = "warm"
    preload: tuple[str, ...] = ()
    search: bool = True


DEFAULTS = AgentOptions()
