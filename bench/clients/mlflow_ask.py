"""MLflow's answers to the questions of the bench, each asked a few times; prints the seconds of each."""

from __future__ import annotations

import json
import sys
import time

import requests
from mlflow import MlflowClient


def main(url: str, times: int) -> None:
    client = MlflowClient(tracking_uri=url)
    took: dict[str, list[float]] = {"page": [], "sampled": []}
    for _ in range(times):
        began = time.perf_counter()
        page = client.search_runs(
            ["0"],
            "params.optimizer = 'adam' and metrics.accuracy > 0.5",
            order_by=["metrics.accuracy DESC"],
            max_results=50,
        )
        took["page"].append(time.perf_counter() - began)
        assert len(page) == 50
        began = time.perf_counter()
        answer = requests.get(
            f"{url}/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval",
            params={"run_ids": "long", "metric_key": "loss", "max_results": 500},
            timeout=300,
        )
        took["sampled"].append(time.perf_counter() - began)
        assert len(answer.json()["metrics"]) >= 400, answer.text[:300]
    print(json.dumps(took))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
