"""Rows through the real wandb client: ``run.log`` as fast as it goes, until ``run.finish()`` has returned."""

from __future__ import annotations

from collections.abc import Callable

import turn
import wandb


def prepare(project: str, run: str, rows: int) -> Callable[[], int]:
    logged = wandb.init(project=project, id=run)

    def work() -> int:
        for n in range(rows):
            logged.log(turn.metrics(n))
        logged.finish()
        return rows

    return work


if __name__ == "__main__":
    turn.take(prepare)
