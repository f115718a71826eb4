"""How a client process takes part: it gets ready, waits for the start that all share, works, and tells how it went."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def take(prepare: Callable[..., Callable[[], int]]) -> None:
    """``prepare(**options)`` returns the work, which returns how many rows it logged. Only the work is timed."""
    talk = os.dup(1)  # the libraries under test print what they like
    os.dup2(2, 1)
    options: dict[str, Any] = json.loads(sys.argv[1])
    work = prepare(**options)
    os.write(talk, b"ready\n")
    sys.stdin.readline()
    began = time.time()
    rows = work()
    os.write(talk, json.dumps({"rows": rows, "began": began, "ended": time.time()}).encode() + b"\n")


def metrics(n: int) -> dict[str, float]:
    """One row: five metrics, as a training script logs them."""
    return {
        "loss": 1 / (n + 1),
        "accuracy": 1 - 1 / (n + 2),
        "lr": 0.001 * n,
        "grad_norm": n % 97 / 7,
        "epoch": n // 100,
    }
