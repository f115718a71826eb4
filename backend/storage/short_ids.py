"""Ids as W&B gives them to sweeps, agents and runs: eight lower-case letters and digits."""

from __future__ import annotations

import secrets
import string

_ALPHABET = string.ascii_lowercase + string.digits


def make() -> str:
    """A new id; the caller sees to it that it is not taken."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(8))
