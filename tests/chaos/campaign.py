"""The chaos campaign: a sweep of quick trials while everything that takes part is killed, frozen and terminated.

    python tests/chaos/campaign.py --trials 200 --agents 4 --seed 7 [--with-wandb-agent] [--json FILE]

Trials, their guards, agents, whole hosts (an agent with all that runs below it) and the backend are hit at random
moments: SIGKILL, SIGTERM, or SIGSTOP for shorter or longer than the lease. Agents and backends that died are started
again, as a person or a supervisor would. In the end every configuration must have finished exactly once, with each row
of its history there once and right, no process of any trial alive, no trial held, the sweep FINISHED, the agents gone
by themselves, and the store whole. Prints one line of JSON; the exit code is 1 where anything of this is wrong.

With --with-wandb-agent the same through W&B's own agent, as a comparison.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import verdict
from cast import LEASE, Agents, Backend, Scene
from faults import Faults, send

PROGRAM = Path(__file__).with_name("trial.py")
PROJECT = "chaos"
_STUCK = 8 * LEASE  # seconds in which no trial ends, after the last fault: then nothing more will come
_GONE = 30.0  # seconds that the guards of dead agents have to end what they guard


def run(folder: Path, trials: int, agents: int, seed: int, number: int, with_wandb_agent: bool) -> dict[str, Any]:
    """The whole campaign; its figures, with all that is wrong."""
    scene = Scene(folder.resolve(), with_wandb_agent)
    scene.notes.mkdir(parents=True)
    shutil.copy(PROGRAM, scene.folder / PROGRAM.name)
    backend = Backend(scene)
    try:
        backend.ready()
        path = create_sweep(backend.note, trials)
        crew = Agents(scene, path, agents)
        faults = Faults(scene, backend, crew, number, seed)
        began = time.monotonic()
        stuck = until_over(scene, backend, crew, faults, (0.5, max(1.0, 3.0 * trials / max(1, number))))
        seconds = time.monotonic() - began
        orphans = left(scene, backend, [agent.pid for agent in crew.living])
        backend.ready()
        backend.stop()
    finally:
        send(scene.marked(), signal.SIGKILL)
    found = verdict.of_store(scene.home, trials)
    wrong = found.pop("wrong")
    wrong += [f"{len(crew.living)} agents did not end by themselves"] if stuck else []
    wrong += [f"an orphan is left: {orphan}" for orphan in orphans]
    return {
        "agent": "wandb agent" if with_wandb_agent else "sweepkit agents", "trials": trials, "agents": agents,
        "seed": seed, "seconds": round(seconds), "faults": dict(sorted(faults.done.items())),
        "faults_done": faults.done.total(), "agent_starts": crew.starts, "agent_codes": crew.codes,
        "backend_starts": backend.starts, **found, "orphans": len(orphans), "stuck": stuck, "wrong": wrong,
    }  # fmt: skip


def create_sweep(note: dict[str, Any], trials: int) -> str:
    from sweepkit.sweeps.backends import Backend as Address
    from sweepkit.sweeps.wandb_api import WandbApi

    api = WandbApi(Address("embedded", note["url"], note["key"], note["entity"]))
    config = {
        "program": PROGRAM.name, "method": "grid", "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"number": {"values": list(range(trials))}},
    }  # fmt: skip
    return api.create_sweep(config, PROJECT).path


def until_over(scene: Scene, backend: Backend, crew: Agents, faults: Faults, pace: tuple[float, float]) -> bool:
    """Faults, and new agents and backends for those that died, until the sweep is over. Whether it got stuck."""
    ended, since = -1, time.monotonic()
    while True:
        faults.look(pace)
        up = backend.look()
        over, now = progress(scene)
        if now != ended or faults.left:
            ended, since = now, time.monotonic()
        crew.look(backend.note, again=up and not over)
        if over and not crew.living:
            return False
        if time.monotonic() - since > _STUCK:
            faults.wake_all()
            return True
        time.sleep(0.1)


def progress(scene: Scene) -> tuple[bool, int]:
    """Whether the sweep is over, and how many of its runs are; read beside the backend, which may be frozen."""
    conn = verdict.opened(scene.home)
    try:
        state = verdict.state(conn)
        ended = conn.execute("SELECT count(*) FROM runs WHERE state IN ('finished', 'failed', 'killed', 'crashed')")
        return state == "FINISHED", int(ended.fetchone()[0])
    finally:
        conn.close()


def left(scene: Scene, backend: Backend, agents: list[int]) -> list[str]:
    """The processes that outlive the campaign, once the guards of dead agents have had their time."""
    deadline = time.monotonic() + _GONE
    while True:
        serving = backend.process()
        known = {*agents, *([serving.pid] if serving else [])}
        found = [each for each in scene.marked() if each.pid not in known and not is_backend(each)]
        if not found or time.monotonic() > deadline:
            return [told(each) for each in found]
        time.sleep(0.5)


def is_backend(process: psutil.Process) -> bool:
    try:
        return "sweepkit.backend" in process.cmdline()
    except psutil.Error:
        return False


def told(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:120]} (parent {process.ppid()})"
    except psutil.Error:
        return f"{process.pid}, which has just ended"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--faults", type=int, help="how many; a third as many as trials where it is left out")
    parser.add_argument("--with-wandb-agent", action="store_true")
    parser.add_argument("--folder", type=Path, help="where everything is kept; else a temporary folder")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr, flush=True)
    number = options.trials // 3 if options.faults is None else options.faults
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "campaign"
        found = run(folder, options.trials, options.agents, options.seed, number, options.with_wandb_agent)
    text = json.dumps(found)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
