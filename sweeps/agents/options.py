"""What a person may ask of the agents of one command; the command line's options, and what they are by default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AgentOptions:
    """Where trials run.

    ``gpus`` is "all" (or None) or indices such as "0,1"; ``per_gpu`` trials share each of them; ``cpu_slots`` asks for
    that many slots on the CPU, GPUs or not.
    """

    gpus: str | None = None
    per_gpu: int = 1
    cpu_slots: int | None = None


DEFAULTS = AgentOptions()
