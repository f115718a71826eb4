"""Hours of load on one backend: runs are made, logged to, finished and read again; does its memory keep growing?

Each round makes runs with names of their own, in one of a few projects, and a trial of a sweep; sweeps come to their
end and new ones begin. The memory is looked at after every round; a line through the later three quarters says by how
much it grows for 1,000 runs more.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import agents
import servers
from servers import Server

_UPSERT = """mutation ($project: String!, $run: String!, $config: JSONString!) {
    upsertBucket(input: {modelName: $project, name: $run, config: $config}) { bucket { id } } }"""
_READ = """query ($project: String!, $run: String!) { project(name: $project) { run(name: $run) {
    summaryMetrics history(samples: 50) sampledHistory(specs: ["{\\"keys\\": [\\"loss\\"], \\"samples\\": 50}"]) }
    runs(first: 20, order: "-summary_metrics.loss", filters: "{\\"summary_metrics.loss\\": {\\"$gt\\": 0}}") {
    edges { node { name } } } } }"""
_ROWS = 200
RUNS_A_ROUND = 20
TRIALS_A_SWEEP = 100


@dataclass(frozen=True)
class Sample:
    """The memory after so many runs, in MiB."""

    seconds: float
    runs: int
    memory: float


def watch(server: Server, seconds: float, rate: float | None = None) -> list[Sample]:
    """Load the server for a while, with ``rate`` runs a second at most; what its memory was."""
    ask, began, made = agents.Asking(server), time.monotonic(), 0
    samples: list[Sample] = []
    sweep = ""
    while (passed := time.monotonic() - began) < seconds:
        if rate and (early := made / rate - passed) > 0:
            time.sleep(early)
        for _ in range(RUNS_A_ROUND):
            _live(server, ask, f"soak{made % 5}", f"run{made}", made)
            made += 1
        trial = len(samples) % TRIALS_A_SWEEP
        sweep = agents.make_sweep(ask, TRIALS_A_SWEEP) if trial == 0 else sweep
        _trial(ask, sweep, server, last=trial == TRIALS_A_SWEEP - 1)
        samples.append(Sample(passed, made, server.memory))
    return samples


def _live(server: Server, ask: agents.Asking, project: str, run: str, seed: int) -> None:
    """One run from its beginning to its end, read once."""
    ask(_UPSERT, project=project, run=run, config=json.dumps({"seed": {"value": seed}}))
    lines = [json.dumps({"loss": 1 / (n + 1), f"own{seed % 50}": n, "_step": n}) for n in range(_ROWS)]
    files: dict[str, Any] = {"wandb-history.jsonl": {"offset": 0, "content": lines}}
    files["wandb-summary.json"] = {"offset": 0, "content": [lines[-1]]}
    files["output.log"] = {"offset": 0, "content": [f"epoch {n}" for n in range(20)]}
    path = f"/files/{server.entity}/{project}/{run}/file_stream"
    ask.post(path, {"files": files})
    ask.post(path, {"complete": True, "exitcode": 0})
    assert len(ask(_READ, project=project, run=run)["project"]["run"]["history"]) == 50


def _trial(ask: agents.Asking, sweep: str, server: Server, last: bool) -> None:
    """One trial of a sweep: its agent, its run, its result; the last one's agent sees the sweep end."""
    agent, run = agents.begin_trial(ask, sweep)
    path = f"/files/{server.entity}/beats/{run}/file_stream"
    lines = [json.dumps({"loss": 1 / (n + 1), "_step": n}) for n in range(_ROWS)]
    ask.post(path, {"files": {"wandb-history.jsonl": {"offset": 0, "content": lines}}})
    agents.beat(ask, agent, [run])
    ask.post(path, {"complete": True, "exitcode": 0})
    if last:
        assert agents.beat(ask, agent, []) == [{"type": "exit"}]


def growth(samples: Sequence[Sample]) -> float:
    """MiB for 1,000 runs more: the slope of a line through the later three quarters of the samples."""
    late = samples[len(samples) // 4 :]
    middle_runs = sum(sample.runs for sample in late) / len(late)
    middle_memory = sum(sample.memory for sample in late) / len(late)
    spread = sum((sample.runs - middle_runs) ** 2 for sample in late)
    together = sum((sample.runs - middle_runs) * (sample.memory - middle_memory) for sample in late)
    return 1000 * together / spread if spread else 0.0


def main(duration: str, json_file: Path | None, rate: float | None = None) -> int:
    seconds = parse_time(duration)
    home = Path(tempfile.mkdtemp(prefix="sweepkit-soak-")) / "home"
    try:
        with servers.sweepkit(home) as server:
            print(f"at rest {server.memory:.1f} MiB; {seconds:.0f} s of load", flush=True)
            samples = watch(server, seconds, rate)
    finally:
        shutil.rmtree(home.parent, ignore_errors=True)
    for sample in samples[:: max(1, len(samples) // 20)]:
        print(f"{sample.seconds:8.0f} s  {sample.runs:8,} runs  {sample.memory:7.1f} MiB")
    last, most = samples[-1], max(sample.memory for sample in samples)
    print(f"{last.runs:,} runs in {last.seconds:.0f} s; {last.memory:.1f} MiB at the end, {most:.1f} at most")
    print(f"it grows by {growth(samples):+.2f} MiB for 1,000 runs")
    if json_file:
        figures = [{"seconds": s.seconds, "runs": s.runs, "MiB": s.memory} for s in samples]
        json_file.write_text(json.dumps({"growth_MiB_per_1000_runs": growth(samples), "samples": figures}))
    return 0


def parse_time(text: str) -> float:
    """``90s``, ``10m`` or ``2h`` in seconds."""
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        return float(text[:-1]) * units[text[-1]]
    except (ValueError, KeyError, IndexError):
        raise SystemExit(f"{text!r} is no time: write 90s, 10m or 2h") from None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("time", help="how long: 90s, 10m, 2h")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--rate", type=float, metavar="RUNS", help="runs a second at most")
    given = parser.parse_args()
    sys.exit(main(given.time, given.json, given.rate))
