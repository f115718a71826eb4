"""The program of the chaos campaign: a quick trial that goes on from where it was, and has unruly children.

Each row's value follows from the row before, so that a run continued from a wrong place shows it. A checkpoint of each
step is kept, as the rows of a killed trial may not all have arrived: it goes on from the last row that the run has.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

ROWS = 10


def chain(number: int, step: int, before: str) -> str:
    """What step ``step`` of configuration ``number`` computes."""
    return hashlib.sha256(f"{number} {step} {before}".encode()).hexdigest()[:16]


def row(number: int, step: int, state: str) -> dict[str, Any]:
    return {"step": step, "state": state, "loss": int(state[:6], 16) / 2**24 + 1.0 / (step + 1)}


def main() -> None:
    import wandb

    # Rows leave every second, so that many a trial is killed after some of them and before the others.
    settings = wandb.Settings(console="off", x_file_stream_transmit_interval=1)
    run = wandb.init(resume="allow", settings=settings)
    number = int(run.config["number"])
    note = Path(os.environ["CHAOS_NOTES"]) / f"{run.id}.{os.getpid()}"
    note.write_text(str(number))  # whom the campaign may hit
    behave(run, number)
    have_children(number)
    folder = Path(os.environ["SWEEPKIT_CHECKPOINTS"]) / run.id
    folder.mkdir(parents=True, exist_ok=True)
    first = int(run.step)
    state = json.loads((folder / str(first - 1)).read_text()) if first else ""
    for step in range(first, ROWS):
        state = chain(number, step, state)
        keep(folder / str(step), state)
        run.log(row(number, step, state), step=step, commit=True)
        time.sleep(0.06 * (1 + number % 4))
    run.finish()


def keep(file: Path, state: str) -> None:
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.write_text(json.dumps(state))
    draft.replace(file)


def behave(run: Any, number: int) -> None:
    """Three ways to take a SIGTERM: to die of it, to end as a shell says it, and to announce it to W&B before."""

    def leave(*_: Any) -> None:
        sys.exit(143)

    def preempted(*_: Any) -> None:
        run.mark_preempting()
        sys.exit(143)

    if number % 3:
        signal.signal(signal.SIGTERM, leave if number % 3 == 1 else preempted)


def have_children(number: int) -> None:
    """Workers as a DataLoader has them, and a daemon that leaves its session and its parent. None ends by itself."""
    for _ in range(2 if number % 8 == 0 else 0):
        if os.fork() == 0:
            idle()
    if number % 7 == 0 and os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            idle()
        os._exit(0)


def idle() -> None:
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    try:
        time.sleep(3600)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
