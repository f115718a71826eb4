"""The backend's answers to the questions of the bench through ``wandb.Api``; prints the seconds of each."""

from __future__ import annotations

import json
import sys
import time

import wandb


def main(path: str, long: str, times: int) -> None:
    took: dict[str, list[float]] = {"page": [], "sampled": [], "sampled_mixed": []}
    wandb.Api().viewer  # starts what the client starts once a process  # noqa: B018
    for _ in range(times):
        api = wandb.Api()
        began = time.perf_counter()
        found = api.runs(
            path,
            filters={"$and": [{"config.optimizer": "adam"}, {"summary_metrics.accuracy": {"$gt": 0.5}}]},
            order="-summary_metrics.accuracy",
            per_page=50,
        )
        first = found[0]
        took["page"].append(time.perf_counter() - began)
        assert first.summary["accuracy"] > 0.5 and len(found.objects) == 50
        for name, key in (("sampled", "loss"), ("sampled_mixed", "val_loss")):
            run = wandb.Api().run(f"{long}/{name}")
            began = time.perf_counter()
            rows = run.history(samples=500, keys=[key], pandas=False)
            took[name].append(time.perf_counter() - began)
            assert len(rows) == 500, len(rows)
    print(json.dumps(took))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
