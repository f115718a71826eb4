"""Write a store with a few rows of everything, as text: ``python tests/backend/stores/write.py 1`` makes ``v1.json``.

Run it once for each released version of the schema, with that release's code, and keep what it wrote for ever:
``test_opening.py`` opens each in today's. The keys in it are of a backend that lived for seconds.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from sweepkit.backend import daemon

CLIENT = """
import pathlib, wandb
pathlib.Path("model.bin").write_text("weights"); pathlib.Path("notes.txt").write_text("noted")
# Nothing of the machine that writes the store is in it.
settings = wandb.Settings(x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True, disable_git=True,
                          x_save_requirements=False, host="host", username="someone", program="train.py")
with wandb.init(project="old", id="kept", name="a run", tags=["t"], config={"lr": 0.5}, settings=settings) as run:
    for step in range(30):
        run.log({"loss": 1 / (step + 1), "nan": float("nan")})
    print("a line of the console")
    run.save("notes.txt")
    artifact = wandb.Artifact("model", "model", metadata={"k": 1}); artifact.add_file("model.bin")
    artifact.add_reference("nas://somewhere/file", name="elsewhere", checksum=False)
    run.log_artifact(artifact, aliases=["best"]).wait()
    run.link_artifact(artifact, "old/portfolio")
with wandb.init(project="old", id="user", settings=settings) as run:
    run.use_artifact("model:best")
config = {"method": "grid", "program": "train.py", "parameters": {"lr": {"values": [0.1, 0.2]}}}
sweep = wandb.sweep(config, project="old")
def trial():
    with wandb.init(settings=settings) as run:
        run.log({"loss": run.config["lr"]})
wandb.agent(sweep, trial, project="old", count=1)
"""


def main(version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        os.environ["SWEEPKIT_HOME"] = str(home)
        server = daemon.start()
        try:
            points = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": server.key, "WANDB_SILENT": "true"}
            subprocess.run([sys.executable, "-c", CLIENT], cwd=folder, env={**os.environ, **points}, check=True)
        finally:
            daemon.stop()
        with closing(sqlite3.connect(home / "store.sqlite3")) as conn:
            found = conn.execute("PRAGMA user_version").fetchone()[0]
            assert str(found) == version, f"this code writes version {found}"
            dump = list(conn.iterdump())
        blobs = [file for file in (home / "blobs").rglob("*") if len(file.name) == 64]
        kept = {
            "version": found,
            "account": json.loads((home / "account.json").read_text()),
            "dump": dump,
            "blobs": {file.name: base64.b64encode(file.read_bytes()).decode() for file in blobs},
        }
    target = Path(__file__).with_name(f"v{version}.json")
    target.write_text(json.dumps(kept, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
