"""Runs as users share and branch them: several processes in one run, forks under a known id, all kinds of media."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweepkit.backend.storage import projects, runs, shared_lines
from sweepkit.backend.storage.database import Database

Make = Callable[..., Any]


def test_several_processes_write_to_one_run(script: Make, wandb_env: dict[str, str], tmp_path: Path) -> None:
    """W&B's ``mode="shared"``: every row of every process is there, under steps that the server gives."""
    writer = tmp_path / "writer.py"
    writer.write_text("""
import sys, time, wandb
rank = int(sys.argv[1])
settings = wandb.Settings(mode="shared", x_label=f"rank{rank}", x_primary=rank == 0, x_update_finish_state=rank == 0)
run = wandb.init(project="together", id="one", tags=[f"tag{rank}"], settings=settings)
for step in range(20):
    run.log({f"loss{rank}": step, "all": 100 * rank + step})
run.config.update({f"rank{rank}": rank})
run.summary[f"end{rank}"] = rank
print("line of", rank)
if rank == 0:
    input()  # the primary process ends the run, after the others
run.finish()
""")
    command = [sys.executable, str(writer)]
    first = subprocess.Popen([*command, "0"], stdin=subprocess.PIPE)
    others = [subprocess.Popen([*command, str(rank)]) for rank in (1, 2)]
    assert [other.wait(timeout=90) for other in others] == [0, 0]
    first.communicate(b"\n", timeout=90)
    assert first.returncode == 0
    seen = script("""
        run = wandb.Api().run("together/one")
        rows = list(run.scan_history())
        print(json.dumps({"state": run.state, "config": run.config, "tags": sorted(run.tags),
            "steps": [row["_step"] for row in rows],
            "rows": sorted(row["all"] for row in rows), "summary": run.summary._json_dict,
            "console": sorted(line.content for line in run.console_logs()), "last": run.lastHistoryStep}))
    """)
    assert seen["state"] == "finished"
    assert seen["config"] == {f"rank{rank}": rank for rank in range(3)}
    assert seen["tags"] == ["tag0", "tag1", "tag2"]
    assert seen["steps"] == list(range(60)) and seen["last"] == seen["summary"]["_step"] == 59
    assert seen["rows"] == sorted(100 * rank + step for rank in range(3) for step in range(20))
    assert {f"end{rank}": seen["summary"][f"end{rank}"] for rank in range(3)} == {"end0": 0, "end1": 1, "end2": 2}
    assert seen["console"] == ["line of 0", "line of 1", "line of 2"]


def test_a_shared_chunk_that_is_sent_twice_is_there_once(upsert: Make, stream: Make, ask: Make) -> None:
    upsert(modelName="together", name="twice")

    def send(writer: str, offset: int, *values: int) -> None:
        lines = [json.dumps({"x": value, "_step": step}) for step, value in enumerate(values, offset)]
        body = {"files": {"wandb-history.jsonl": {"offset": offset, "content": lines}}}
        headers = {"X-WANDB-USE-ASYNC-FILESTREAM": "true", "X-WANDB-ASYNC-CLIENT-ID": writer}
        assert stream("together", "twice", body, **headers).status_code == 200

    send("a", 0, 1, 2)
    send("b", 0, 10)
    send("a", 1, 2, 3)  # the answer to the first was lost: its second line comes again
    send("b", 0, 10)
    found = ask('{ project(name: "together") { run(name: "twice") { history historyLineCount } } }')
    run = found["data"]["project"]["run"]
    rows = [json.loads(line) for line in run["history"]]
    assert [(row["_step"], row["x"]) for row in rows] == [(0, 1), (1, 2), (2, 10), (3, 3)]
    assert run["historyLineCount"] == 4


def test_places_of_a_writers_lines(store: Database) -> None:
    def place(conn: Any) -> list[list[int]]:
        run = runs.create(conn, projects.ensure(conn, "e", "p")["id"], "r", user="u")
        asked = [("a", range(3), 0), ("b", range(2), 3), ("a", range(2, 5), 5), ("a", range(1, 7), 7)]
        return [list(shared_lines.places(conn, run["id"], who, "console", *rest)) for who, *rest in asked]

    assert store.write(place) == [[0, 1, 2], [3, 4], [2, 5, 6], [1, 2, 5, 6, 7, 8]]


def test_a_fork_under_the_id_of_a_run_that_has_ended(script: Make) -> None:
    """It overwrites that run, and begins with its parent's history like any fork; a third begins with both."""
    seen = script("""
        parent = wandb.init(project="forks", id="parent")
        for step in range(5):
            parent.log({"x": step})
        parent.finish()
        wandb.init(project="forks", id="again").finish()
        for id, source in (("again", "parent?_step=2"), ("again", "parent?_step=1"), ("third", "again?_step=2")):
            run = wandb.init(project="forks", id=id, fork_from=source); run.log({"x": -1}); run.finish()
        def rows(id): return [[row["_step"], row["x"]] for row in wandb.Api().run(f"forks/{id}").scan_history()]
        print(json.dumps([rows("again"), rows("third")]))
    """)
    assert seen == [[[0, 0], [1, 1], [2, -1]], [[0, 0], [1, 1], [2, -1], [3, -1]]]


def test_media_of_all_kinds_are_read_back(script: Make) -> None:
    """Each kind that a client without further packages makes; every file that a row names is among the run's."""
    seen = script("""
        import numpy, plotly.graph_objects, torch, wave
        picture = numpy.zeros((8, 8, 3), dtype=numpy.uint8)
        with wave.open("sound.wav", "wb") as sound:
            sound.setnchannels(1); sound.setsampwidth(2); sound.setframerate(8000); sound.writeframes(bytes(200))
        open("film.gif", "wb").write(b"GIF89a"); open("mol.pdb", "w").write("HEADER\\nEND\\n")
        box = {"position": {"minX": 0.1, "maxX": 0.5, "minY": 0.1, "maxY": 0.5}, "class_id": 0}
        masks = {"m": {"mask_data": numpy.zeros((8, 8), dtype=numpy.uint8), "class_labels": {0: "ground"}}}
        table = wandb.Table(columns=["x", "y", "label"], data=[[1, 2, "a"], [2, 3, "b"]])
        run = wandb.init(project="media", id="all")
        run.log({
            "image": wandb.Image(picture, caption="c", boxes={"p": {"box_data": [box]}}, masks=masks),
            "images": [wandb.Image(picture), wandb.Image(picture)], "audio": wandb.Audio("sound.wav"),
            "video": wandb.Video("film.gif", format="gif"), "html": wandb.Html("<b>said</b>"),
            "molecule": wandb.Molecule(open("mol.pdb")), "points": wandb.Object3D(numpy.ones((4, 3))),
            "plotly": plotly.graph_objects.Figure(plotly.graph_objects.Scatter(x=[1, 2], y=[3, 4])),
            "histogram": wandb.Histogram([1, 2, 2]), "pictures": wandb.Table(["im"], data=[[wandb.Image(picture)]]),
            "line": wandb.plot.line(table, "x", "y", title="T"), "bars": wandb.plot.bar(table, "label", "y"),
            "series": wandb.plot.line_series([1, 2], [[1, 2], [3, 4]], keys=["a", "b"]),
        })
        model = torch.nn.Linear(2, 1)
        run.watch(model, log="all", log_freq=1); model(torch.ones(1, 2)).sum().backward(); run.log({"loss": 1})
        open("code.py", "w").write("1"); run.log_code(".", include_fn=lambda path: path.endswith("code.py"))
        open("weights.bin", "w").write("w"); run.log_model("weights.bin", name="model")
        run.link_model("weights.bin", "registered"); run.finish()
        again = wandb.init(project="media", id="reader")
        used = open(again.use_model("model:latest")).read(); again.finish()
        read = wandb.Api().run("media/all"); rows = list(read.scan_history())
        def paths(value):
            if isinstance(value, dict):
                own = [value["path"]] if "path" in value else []
                return own + [path for item in value.values() for path in paths(item)]
            return [path for item in value for path in paths(item)] if isinstance(value, list) else []
        names = {file.name for file in read.files()}
        print(json.dumps({
            "types": {key: value["_type"] for key, value in rows[0].items() if isinstance(value, dict)},
            "named": len(paths(rows[0])), "missing": [path for path in paths(rows[0]) if path not in names],
            "watched": sorted(key for key in rows[1] if "/" in key), "used": used,
            "kinds": sorted({artifact.type for artifact in read.logged_artifacts()}),
            "cell": type(wandb.Api().artifact("media/run-all-pictures:latest").get("pictures").data[0][0]).__name__,
            "linked": wandb.Api().artifact("model-registry/registered:v0").type,
        }))
    """)
    assert seen["types"] == {
        "image": "image-file", "images": "images/separated", "audio": "audio-file", "video": "video-file",
        "html": "html-file", "molecule": "molecule-file", "points": "object3D-file", "plotly": "plotly-file",
        "histogram": "histogram", "pictures": "table-file", "line_table": "table-file", "bars_table": "table-file",
        "series_table": "table-file",
    }  # fmt: skip
    assert seen["named"] >= 12 and seen["missing"] == []
    assert seen["watched"] == ["gradients/bias", "gradients/weight", "parameters/bias", "parameters/weight"]
    assert (seen["used"], seen["cell"], seen["linked"]) == ("w", "Image", "model")
    assert seen["kinds"] == ["code", "model", "run_table"]


def test_leet_shows_a_run_by_its_address(script: Make, server: Any, wandb_env: dict[str, str]) -> None:
    """The client's terminal interface in a real terminal (tmux): the run, its summary and a chart are on the screen."""
    script("""
        run = wandb.init(project="leet", id="seen")
        for step in range(30):
            run.log({"accuracy": step / 30})
        run.summary["verdict"] = 4321; run.finish(); print("null")
    """)
    address = f"{server.url}/{server.entity}/leet/runs/seen"
    name = f"leet-{server.key[:8]}"
    variables = [part for key, value in wandb_env.items() for part in ("-e", f"{key}={value}")]
    tmux = ["tmux", "-L", name]
    command = [*tmux, "-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "45", *variables]
    subprocess.run([*command, sys.executable, "-m", "wandb", "leet", address], check=True)
    try:
        deadline, screen = time.monotonic() + 60, ""
        while time.monotonic() < deadline and not all(word in screen for word in ("4321", "ID: seen", "Metrics [1-1")):
            time.sleep(0.3)
            screen = subprocess.run([*tmux, "capture-pane", "-p"], capture_output=True, text=True).stdout
        assert "ID: seen" in screen and "Project: leet" in screen, screen
        assert "4321" in screen and "accuracy" in screen and "Metrics [1-1 of 1]" in screen, screen
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True)
