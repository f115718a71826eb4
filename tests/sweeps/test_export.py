"""An export holds what the API says, in plain files; whatever names are, nothing is written elsewhere."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests
import wandb
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.errors import SweepkitError, Unreachable, UsageError
from sweepkit.sweeps.export import export, inside
from sweepkit.sweeps.parquet import Spool, flat
from sweepkit.sweeps.wandb_api import NotFound, SweepRef, WandbApi
from sweepkit.sweeps.wandb_records import File

CONFIG = {
    "name": "exported",
    "method": "grid",
    "program": "train.py",
    "parameters": {"lr": {"values": [0.1, 0.2]}, "opt": {"value": "SGD"}},
}
RUNS = [
    ("one", [{"loss": 1.0, "acc": 0.5}, {"loss": "nan"}, {"run_id": 7}], 0),
    ("two", [{"loss": float(n)} for n in range(2500)], 1),
]


def _read(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


def _equal(left: Any, right: Any) -> bool:
    return left == right or (isinstance(left, float) and isinstance(right, float) and math.isnan(left + right))


@pytest.fixture
def exported(record: Any, api: WandbApi, tmp_path: Path) -> tuple[SweepRef, list[str], Path]:
    """A sweep with two runs, files with names of all kinds and an artifact, and its export."""
    ref, ids = record(CONFIG, RUNS)
    run = wandb.init(project=ref.project, id=ids[0], resume="must", settings=wandb.Settings(x_disable_stats=True))
    (tmp_path / "model.bin").write_bytes(b"weights")
    artifact = wandb.Artifact("model", "model")
    artifact.add_file(str(tmp_path / "model.bin"), "deep/model.bin")
    artifact.add_reference("nas://somewhere/else", name="elsewhere", checksum=False)
    run.log_artifact(artifact, aliases=["best"]).wait()
    run.finish()
    for name in ("plain.txt", "deep/er.txt", "ü %41.txt", "x" * 200 + "/" + "y" * 250):
        _put(api, ref, ids[0], name)
    export(api, ref, tmp_path / "out", artifacts=True)
    return ref, ids, tmp_path / "out"


def _put(api: WandbApi, ref: SweepRef, run: str, name: str) -> None:
    url = f"{api.backend.url}/files/{ref.entity}/{ref.project}/{run}/{requests.utils.quote(name)}"
    assert requests.put(url, data=f"content of {name}", auth=("api", api.backend.key), timeout=30).status_code == 204


def test_an_export_is_what_the_api_says(
    exported: tuple[SweepRef, list[str], Path], api: WandbApi, wandb_env: dict[str, str]
) -> None:
    ref, ids, out = exported
    assert sorted(path.name for path in out.iterdir()) == [
        "artifacts", "artifacts.parquet", "files", "files.parquet", "history.parquet", "runs.parquet", "sweep.yaml",
    ]  # fmt: skip
    assert yaml.safe_load((out / "sweep.yaml").read_text())["parameters"] == CONFIG["parameters"]
    known = {run.id: run for run in wandb.Api().runs(f"{ref.entity}/{ref.project}", {"sweep": ref.id})}
    rows = {row["id"]: row for row in _read(out / "runs.parquet")}
    assert rows.keys() == known.keys() == set(ids)
    history = _read(out / "history.parquet")
    assert list(history[0])[:2] == ["run_id", "_step"]
    for name, run in known.items():
        assert (rows[name]["name"], rows[name]["state"]) == (run.name, run.state)
        assert {"lr": rows[name]["config.lr"], "opt": rows[name]["config.opt"]} == dict(run.config)
        there = [row for row in history if row["run_id"] == name]
        said = list(run.scan_history())
        assert len(there) == len(said) == len(RUNS[ids.index(name)][1])
        for mine, theirs in zip(there, said, strict=True):
            values = {("run_id_" if key == "run_id" else key): value for key, value in theirs.items()}
            assert all(_equal(mine[key], value) for key, value in values.items() if value is not None)
    assert pq.ParquetFile(out / "history.parquet").num_row_groups == len(ids)
    logged = [row for row in _read(out / "artifacts.parquet") if row["type"] == "model"]
    assert [(row["run_id"], row["name"], row["version"]) for row in logged] == [(ids[0], "model", "v0")]
    assert json.loads(logged[0]["aliases"]) in (["best", "latest"], ["latest", "best"])
    assert logged[0]["digest"] == wandb.Api().artifact(f"{ref.entity}/{ref.project}/model:v0").digest


def test_files_are_as_they_are(exported: tuple[SweepRef, list[str], Path]) -> None:
    _, ids, out = exported
    listed = _read(out / "files.parquet")
    assert (out / "files" / ids[0] / "deep" / "er.txt").read_text() == "content of deep/er.txt"
    assert (out / "artifacts" / "model" / "v0" / "deep" / "model.bin").read_bytes() == b"weights"
    own = [row for row in listed if row["run_id"] == ids[0] and not row["artifact"]]
    assert {"plain.txt", "deep/er.txt", "ü %41.txt", "wandb-metadata.json"} <= {row["name"] for row in own}
    for row in listed:
        content = (out / row["path"]).read_bytes()
        assert len(content) == row["size"]
        if content.startswith(b"content of "):
            assert content.decode() == f"content of {row['name']}"
    on_disk = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert on_disk - {"sweep.yaml"} - {f"{name}.parquet" for name in ("runs", "history", "files", "artifacts")} == {
        row["path"] for row in listed
    }


def test_folders_that_are_in_the_way(record: Any, api: WandbApi, tmp_path: Path) -> None:
    ref, _ = record(CONFIG, [])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    (tmp_path / "file").write_text("x")
    for taken in ("full", "file"):
        with pytest.raises(UsageError, match="not empty"):
            export(api, ref, tmp_path / taken)
    (tmp_path / "empty").mkdir()
    assert export(api, ref, tmp_path / "empty").runs == 0
    assert _read(tmp_path / "empty" / "runs.parquet") == []
    with pytest.raises(UsageError, match="cannot write"):
        export(api, ref, Path("/proc/no/room"))
    with pytest.raises(NotFound):
        export(api, SweepRef(ref.entity, ref.project, "nothere"), tmp_path / "none")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "wandb") == ["empty", "file", "full"]


def test_an_export_that_fails_leaves_nothing(
    record: Any, api: WandbApi, tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, ids = record(CONFIG, RUNS[:1])
    _put(api, ref, ids[0], "lost.txt")
    digest = hashlib.sha256(b"content of lost.txt").hexdigest()
    blob = server.home / "blobs" / digest[:2] / digest
    impatient = WandbApi(api.backend, patience=0.1)
    content = blob.read_bytes()
    try:
        blob.write_bytes(b"changed")
        with pytest.raises(SweepkitError, match="'lost.txt' is damaged"):
            export(impatient, ref, tmp_path / "out")
        blob.unlink()
        with pytest.raises(Unreachable, match="'lost.txt' cannot be got"):
            export(impatient, ref, tmp_path / "out")
    finally:
        blob.write_bytes(content)
    assert not list(tmp_path.glob("out*"))
    assert export(impatient, ref, tmp_path / "out").runs == 1


def test_the_key_goes_to_the_backend_only(api: WandbApi, tmp_path: Path) -> None:
    """W&B's addresses of contents lead to other hosts."""
    import http.server
    import threading

    seen: list[str | None] = []

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"content")

    other = http.server.HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.handle_request).start()
    api.download(File("f", 7, "", f"http://127.0.0.1:{other.server_port}/f"), tmp_path / "f")
    other.server_close()
    assert seen == [None]
    assert (tmp_path / "f").read_bytes() == b"content"


@given(st.lists(st.text(max_size=300), min_size=1, max_size=4))
def test_no_name_leads_out_of_its_folder(names: list[str]) -> None:
    place = inside(Path("/base"), *names)
    assert len(place.parts) == 2 + len(names)
    assert Path(os.path.normpath(place)) == place
    assert all(len(part.encode()) < 256 and part not in ("", ".", "..") for part in place.parts)


def test_hostile_names_stay_inside() -> None:
    for name in ("../x", "/etc/passwd", "a/../../x", "..", ".", "", "a\\..\\x", "C:x", "nul\x00", "%2E%2E"):
        place = inside(Path("/base"), *name.split("/"))
        assert str(place).startswith("/base/") and ".." not in place.parts
    assert inside(Path("b"), "..") != inside(Path("b"), "%2E%2E")


def test_types_of_columns_follow_from_their_values(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"i": 1, "f": 1, "b": True, "s": "x", "mixed": 1, "list": [1, math.nan], "huge": 2**70, "none": None},
        {"i": -5, "f": 0.5, "b": False, "s": "\ud800", "mixed": "1", "list": [], "deep": {"er": {"x": 1.0}, "e": {}}},
        {"mixed": math.inf, "image": {"_type": "image-file", "path": "p"}},
    ]
    tables = []
    for number, order in enumerate((rows, rows[::-1])):
        spool = Spool(tmp_path / str(number), ("i",))
        spool.add(flat(row) for row in order)
        spool.add([])
        spool.write(tmp_path / f"{number}.parquet")
        tables.append(pq.read_table(tmp_path / f"{number}.parquet"))
    assert tables[0].schema == tables[1].schema
    types = {field.name: str(field.type) for field in tables[0].schema}
    assert types == {
        "i": "int64", "b": "bool", "deep.e": "string", "deep.er.x": "double", "f": "double", "huge": "string",
        "image": "string", "list": "string", "mixed": "string", "none": "string", "s": "string",
    }  # fmt: skip
    found = tables[0].to_pylist()
    assert [row["mixed"] for row in found] == ["1", '"1"', '"Infinity"']
    assert json.loads(found[0]["list"]) == [1, "NaN"]
    assert (found[0]["huge"], found[0]["f"], found[1]["s"], found[1]["deep.e"]) == (str(2**70), 1.0, "?", "{}")


def test_by_command(exported: tuple[SweepRef, list[str], Path], tmp_path: Path) -> None:
    from ..test_cli import sweepkit

    ref, ids, _ = exported
    said = json.loads(sweepkit("export", ref.path, str(tmp_path / "again"), "--format", "json").stdout)
    assert (said["runs"], said["rows"], said["artifacts"] >= 1) == (2, 2503, True)
    assert not (tmp_path / "again" / "artifacts").exists()
    assert sweepkit("export", ref.path, str(tmp_path / "again"), code=2).stdout == ""
