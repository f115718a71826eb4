"""The commands of the real client's command line, as a user types them: verify, artifact, pull, restore."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Make = Callable[..., Any]


def test_wandb_verify_finds_nothing_wrong_but_the_missing_https(server: Any, wandb_command: Make) -> None:
    """Its three complaints are about a server on the internet: TLS, and a bucket that browsers read from elsewhere."""
    said = wandb_command("verify", "--host", server.url)
    lines = [line for line in said.splitlines() if line.startswith("Checking")]
    failed = {line.split("..")[0] for line in lines if "✅" not in line}
    assert len(lines) == 10
    assert failed == {
        "Checking requests to base url",
        "Checking requests made over signed URLs",
        "Checking CORs configuration of the bucket",
    }


def test_artifact_put_get_ls(server: Any, wandb_command: Make, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "one.txt").write_text("one")
    (folder / "sub" / "two.txt").write_text("two")
    name = "cli-artifacts/data"
    wandb_command("artifact", "put", "-n", name, "-t", "dataset", "-a", "first", "-d", "said", str(folder))
    again = wandb_command("artifact", "put", "-n", name, "-t", "dataset", str(folder))
    assert "already exists with the same content" in again and "data:v0" in again
    (folder / "three.txt").write_text("three")
    options = ("--skip_cache", "--policy", "immutable")
    assert "data:v1" in wandb_command("artifact", "put", "-n", name, "-t", "dataset", *options, str(folder))
    wandb_command("artifact", "put", "-n", "cli-artifacts/refs", "-t", "listing", folder.as_uri())
    wandb_command("artifact", "cache", "cleanup", "--remove-temp", "0B")  # what is got now comes from the backend

    def got(reference: str) -> dict[str, str]:
        root = tmp_path / "got" / reference.replace("/", "_").replace(":", "_")
        wandb_command("artifact", "get", "--root", str(root), reference, WANDB_PROJECT="cli-artifacts")
        return {str(file.relative_to(root)): file.read_text() for file in root.rglob("*") if file.is_file()}

    first = {"one.txt": "one", "sub/two.txt": "two"}
    assert got(f"{server.entity}/{name}:v0") == got("data:first") == first
    assert got(f"{name}:latest") == got("cli-artifacts/refs:latest") == {**first, "three.txt": "three"}
    listed = wandb_command("artifact", "ls", "-t", "dataset", f"{server.entity}/cli-artifacts")
    assert "data:v1" in listed and "refs" not in listed
    assert "refs:v0" in wandb_command("artifact", "ls", f"{server.entity}/cli-artifacts")
    assert "'data:v9' not found" in wandb_command("artifact", "get", f"{name}:v9", code=1)
    wrong = wandb_command("artifact", "get", "--type", "model", f"{name}:v0", code=1)
    assert "this artifact is of type 'dataset'" in wrong


def test_pull_and_restore(script: Make, server: Any, wandb_command: Make, tmp_path: Path) -> None:
    """A run in a git checkout with a change that was never committed, brought back in another clone."""
    here, there = tmp_path / "here", tmp_path / "there"
    for command in (
        f"git init -q {here}", f"git -C {here} config user.email a@example.org", f"git -C {here} config user.name a",
    ):  # fmt: skip
        subprocess.run(command.split(), check=True)
    (here / "model.py").write_text("LAYERS = 1\n")
    subprocess.run(["git", "-C", here, "add", "-A"], check=True)
    subprocess.run(["git", "-C", here, "commit", "-qm", "one layer"], check=True)
    subprocess.run(["git", "clone", "-q", here, there], check=True)
    (here / "model.py").write_text("LAYERS = 2\n")
    script(
        """
        import os; os.chdir(sys.argv[1])
        run = wandb.init(project="files", id="restored", config={"layers": 2}, save_code=True)
        os.makedirs("out"); open("out/last.txt", "w").write("said")
        run.save("out/*.txt"); run.log({"x": 1}); run.finish(); print("null")
        """,
        str(here),
    )
    (there / "wandb").mkdir()
    said = wandb_command("restore", "files/restored", cwd=there, WANDB_DIR=str(there))
    assert "Created branch wandb/restored" in said and "Applied patch" in said
    assert (there / "model.py").read_text() == "LAYERS = 2\n"
    assert yaml.safe_load((there / "wandb" / "config.yaml").read_text())["layers"]["value"] == 2

    pulled = tmp_path / "pulled"
    pulled.mkdir()
    wandb_command("pull", "-p", "files", "restored", cwd=pulled)
    assert (pulled / "out" / "last.txt").read_text() == "said"
    assert "out/last.txt is up to date" in wandb_command("pull", "-p", "files", "restored", cwd=pulled)
    assert "Could not find run" in wandb_command("pull", "-p", "files", "nobody", cwd=pulled, code=1)


def test_files_by_their_policies_and_by_the_api(script: Make) -> None:
    seen = script("""
        import os
        run = wandb.init(project="files", id="policies")
        for policy in ("now", "live", "end"):
            open(f"{policy}.txt", "w").write("first"); run.save(f"{policy}.txt", policy=policy)
        run.log({"x": 1})
        for policy in ("live", "end"):
            open(f"{policy}.txt", "w").write("last")
        run.finish()
        read = wandb.Api().run(run.path)
        def got(name): return read.file(name).download(root="got", replace=True).read()
        seen = {name: got(f"{name}.txt") for name in ("now", "live", "end")}
        open("late.txt", "w").write("late"); read.upload_file("late.txt"); seen["late"] = got("late.txt")
        seen["restored"] = wandb.restore("end.txt", run_path="/".join(run.path.split("/")), root="again").read()
        try:
            wandb.restore("none.txt", run_path=run.path, root="again")
        except ValueError as error:
            seen["none"] = str(error)
        read.file("late.txt").delete()
        seen["texts"] = sorted(file.name for file in read.files(pattern="%.txt"))
        print(json.dumps(seen))
    """)
    assert seen.pop("none").startswith("File none.txt not found in")
    assert seen.pop("texts") == ["end.txt", "live.txt", "now.txt", "requirements.txt"]
    assert seen == {"now": "first", "live": "last", "end": "last", "late": "late", "restored": "last"}
