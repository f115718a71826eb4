"""A trainer's run as the backend has it: the rows of its epochs, its precision. Prints JSON."""

from __future__ import annotations

import json
import sys

import wandb

KEYS = ["samples_per_second", "val_acc", "_timestamp"]


def main(path: str) -> None:
    run = wandb.Api().run(path)
    rows = list(run.scan_history(keys=KEYS))
    told = {key: [row[key] for row in rows] for key in KEYS}
    print(json.dumps({**told, "precision": run.config["precision"]}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
