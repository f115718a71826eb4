"""Rows through trackio's client: ``trackio.log`` as fast as it goes, until ``trackio.finish()`` has returned."""

from __future__ import annotations

import time
from collections.abc import Callable

import trackio
import turn


def prepare(url: str, project: str, run: str, rows: int) -> Callable[[], int]:
    made = trackio.init(project=project, name=run, server_url=url)
    while made._client is None:  # it connects in the background, and would else keep the rows beside the server
        time.sleep(0.05)

    def work() -> int:
        for n in range(rows):
            trackio.log(turn.metrics(n))
        trackio.finish()
        return rows

    return work


if __name__ == "__main__":
    turn.take(prepare)
