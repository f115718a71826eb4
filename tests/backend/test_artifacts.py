"""Artifacts with the real client: versions, files, lineage, links, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("wandb_env")


def client(script: str) -> Any:
    """Run a script with the real client in a process of its own; what it gives to ``tell`` comes back."""
    lines = ["import json, os, sys, wandb", "from pathlib import Path", "def tell(x): print('TOLD', json.dumps(x))"]
    code = "\n".join([*lines, textwrap.dedent(script)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line.removeprefix("TOLD ") for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    return json.loads(told[-1]) if told else None


def test_versions_files_and_lineage() -> None:
    """One story: log, log the same again, add to it, use it elsewhere."""
    Path("a.txt").write_text("hello")
    Path("d").mkdir()
    Path("d/x y.txt").write_text("x")
    found = client("""
        def dataset(**more):
            made = wandb.Artifact("ds", "dataset", metadata={"n": 1}, description="all of it", **more)
            made.add_file("a.txt")
            made.add_dir("d", "sub")
            made.add_reference(Path("a.txt").resolve().as_uri(), name="ref.txt")
            return made

        with wandb.init(project="story") as run:
            one = run.log_artifact(dataset(), aliases=["good"], tags=["t1"]).wait()
            same = run.log_artifact(dataset()).wait()
            more = wandb.Artifact("ds", "dataset", incremental=True)
            with more.new_file("n.txt") as file:
                file.write("new")
            run.log_artifact(more).wait()
            versions = [one.version, same.version, more.version]
        api = wandb.Api()
        latest = api.artifact("story/ds:latest")
        folder = Path(latest.download())
        latest.verify()
        with wandb.init(project="story") as user:
            used = user.use_artifact("ds:good")
        tell({
            "versions": versions,
            "latest": [latest.version, sorted(latest.manifest.entries), (folder / "sub/x y.txt").read_text()],
            "files": [[file.name, file.size] for file in latest.files()],
            "aliases": [sorted(used.aliases), latest.aliases],
            "about": [used.metadata, used.description, used.tags, used.size, used.file_count],
            "lineage": [used.logged_by().id == run.id, [r.id for r in used.used_by()] == [user.id]],
            "outputs": [a.name for a in api.run(run.path).logged_artifacts()],
            "inputs": [a.name for a in api.run(user.path).used_artifacts()],
        })
    """)
    assert found == {
        "versions": ["v0", "v0", "v1"],
        "latest": ["v1", ["a.txt", "n.txt", "ref.txt", "sub/x y.txt"], "x"],
        "files": [["a.txt", 5], ["n.txt", 3], ["ref.txt", 5], ["sub/x y.txt", 1]],
        "aliases": [["good"], ["latest"]],
        "about": [{"n": 1}, "all of it", ["t1"], 11, 3],
        "lineage": [True, True],
        "outputs": ["ds:v0", "ds:v1"],
        "inputs": ["ds:v0"],
    }


def test_tables_with_images_and_models() -> None:
    found = client("""
        import numpy as np
        image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        Path("m.pt").write_bytes(b"weights")
        with wandb.init(project="tables") as run:
            run.log({"t": wandb.Table(columns=["image", "n"], data=[[wandb.Image(image), 7]])})
            # A table that lies in one artifact and is used by another: a reference by the client's own id.
            table = wandb.Table(columns=["n"], data=[[1], [2]])
            first, second = wandb.Artifact("first", "dataset"), wandb.Artifact("second", "dataset")
            first.add(table, "table")
            run.log_artifact(first)
            second.add(table, "table")
            run.log_artifact(second).wait()
            run.log_model("m.pt", "model", aliases=["best"])
        with wandb.init(project="tables") as user:
            table = user.use_artifact(f"run-{run.id}-t:latest").get("t")
            shared = user.use_artifact("second:latest").get("table").data
            model = Path(user.use_model("model:best")).read_text()
        same = (np.asarray(table.data[0][0].image) == image).all()
        tell({"table": [bool(same), table.data[0][1]], "shared": shared, "model": model})
    """)
    assert found == {"table": [True, 7], "shared": [[1], [2]], "model": "weights"}


def test_many_writers_make_one_version() -> None:
    found = client("""
        for part in ("one", "two"):
            with wandb.init(project="writers") as run:
                made = wandb.Artifact("joint", "dataset")
                with made.new_file(part) as file:
                    file.write(part)
                run.upsert_artifact(made, distributed_id="job")
        with wandb.init(project="writers") as run:
            run.finish_artifact(wandb.Artifact("joint", "dataset"), distributed_id="job").wait()
        joint = wandb.Api().artifact("writers/joint:latest")
        joint.download()
        joint.verify()
        tell([joint.version, sorted(joint.manifest.entries), joint.digest == joint.manifest.digest()])
    """)
    assert found == ["v0", ["one", "two"], True]


def test_changes_links_and_deletions() -> None:
    found = client("""
        def version(text):
            made = wandb.Artifact("ds", "dataset")
            with made.new_file("f") as file:
                file.write(text)
            return made

        with wandb.init(project="changes") as run:
            for text in "abc":
                run.log_artifact(version(text)).wait()
            linked = run.link_artifact(run.use_artifact("ds:v1"), "portfolio", aliases=["prod"])
        api = wandb.Api()
        one = api.artifact("changes/ds:v1")
        one.aliases.append("chosen"); one.tags = ["x", "y"]; one.description = "d"; one.metadata["k"] = 1
        one.save()
        collection = api.artifact_collection("dataset", "changes/ds")
        collection.name, collection.description, collection.tags = "renamed", "about", ["ctag"]
        collection.save()
        again = api.artifact("changes/renamed:chosen")
        told = {
            "linked": [linked.version, linked.source_version, sorted(linked.aliases)],
            "changed": [again.version, sorted(again.tags), again.description, again.metadata],
            "links": [link.name for link in again.linked_artifacts],
            "kinds": sorted(c.name for c in api.artifact_collections("changes", "dataset")),
            "about": [api.artifact_collection("dataset", "changes/renamed").description,
                      sorted(api.artifact_collection("dataset", "changes/renamed").tags)],
        }
        try:
            again.delete()
            told["protected"] = False
        except Exception:
            told["protected"] = True
        api.artifact("changes/renamed:v2").delete(delete_aliases=True)
        told["latest"] = api.artifact("changes/renamed:latest").version
        api.artifact("changes/portfolio:prod").unlink()
        told["unlinked"] = [api.artifact_exists("changes/portfolio:prod"), api.artifact_exists("changes/renamed:v1")]
        with wandb.init(project="changes") as run:
            made = wandb.Artifact("renamed", "dataset")
            with made.new_file("f") as file:
                file.write("c")
            told["never twice"] = run.log_artifact(made).wait().version
        api.artifact_collection("dataset", "changes/renamed").delete()
        told["left"] = [api.artifact_collection_exists("changes/renamed", "dataset")]
        tell(told)
    """)
    assert found == {
        "linked": ["v0", "v1", ["latest", "prod"]],
        "changed": ["v1", ["x", "y"], "d", {"k": 1}],
        "links": ["portfolio:v0"],
        "kinds": ["portfolio", "renamed"],
        "about": ["about", ["ctag"]],
        "protected": True,
        "latest": "v1",
        "unlinked": [False, True],
        "never twice": "v3",
        "left": [False],
    }


def test_expired_versions_are_gone() -> None:
    found = client("""
        from datetime import timedelta
        import time
        with wandb.init(project="ttl") as run:
            for text, life in (("a", None), ("b", timedelta(seconds=2))):
                made = wandb.Artifact("ds", "dataset")
                with made.new_file("f") as file:
                    file.write(text)
                made.ttl = life
                run.log_artifact(made).wait()
            there = made.version
        time.sleep(2)
        api = wandb.Api()
        tell([there, api.artifact_exists("ttl/ds:v1"), api.artifact("ttl/ds:latest").version])
    """)
    assert found == ["v1", False, "v0"]
