"""The web pages, of runs that the real client logged, as a browser gets them."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests
from sweepkit.backend.pages import data
from sweepkit.backend.scheduler import Scheduler
from sweepkit.backend.storage import agents, history, projects, runs, sweeps, trials
from sweepkit.backend.storage.database import Database
from sweepkit.backend.studies import Studies

from ..browser import browser, log_in, wait

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PROJECT = "pages"
EVIL = """<script>alert(1)</script>" onmouseover="alert(2)" '><img src=x onerror=alert(3)>"""
# What a user's script does: a sweep of a few runs, one of which crashes; one run with everything that a page can show.
SCRIPT = r"""
import sys
import numpy, wandb

EVIL = sys.argv[1]
def train(config):
    with wandb.init(project="pages", config=config, settings=wandb.Settings(sweep_id=sweep)) as run:
        for epoch in range(4):
            val_acc = 1 - abs(run.config.lr - 0.05) - 1 / (epoch + 2)
            run.log({"epoch": epoch, "val_acc": val_acc, "loss": 1 / (epoch + 1)})
        if run.config.lr > 0.09:
            run.log({"val_acc": 99})
            run.finish(exit_code=1)

sweep = wandb.sweep({
    "name": EVIL, "method": "grid", "metric": {"name": "val_acc", "goal": "maximize"},
    "parameters": {
        "lr": {"values": [0.01, 0.05, 0.1]}, "optimizer": {"values": ["Adam", EVIL]}, "epochs": {"value": 4},
    },
}, project="pages")
# As wandb's agent starts its trials, without its pauses of five seconds between them.
for lr in (0.01, 0.05, 0.1):
    for optimizer in ("Adam", EVIL):
        train({"lr": lr, "optimizer": optimizer, "epochs": 4})
wandb.teardown()

run = wandb.init(project="pages", name=EVIL, id="everything", tags=[EVIL[:60]], notes=EVIL,
                 config={"lr": 0.1, "evil": EVIL, "nested": {"depth": 3}, EVIL: 1})
picture = lambda: wandb.Image(numpy.random.randint(0, 255, (8, 8, 3), dtype=numpy.uint8))
table = wandb.Table(columns=["Image", "GroundTruth", EVIL])
for i in range(3):
    table.add_data(picture(), i, EVIL)
for step in range(3):
    run.log({"loss": 1 / (step + 1), "weird/" + EVIL: step, "broken": float("nan")})
run.log({"bad_cases": table, "grid": picture()})
print("hello from the run", EVIL)
for name in ("page.html", "drawing.svg"):
    with open(name, "w") as file:
        file.write("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(4)</script></svg>")
    run.save(name, policy="now")
artifact = wandb.Artifact("cases", type="dataset", metadata={"who": EVIL})
artifact.add(table, "good_cases")
run.log_artifact(artifact, aliases=["first"])
run.finish()
with wandb.init(project="pages", id="reader") as reader:
    reader.use_artifact("cases:first")
print("SWEEP " + sweep)
"""


class Site:
    """The pages of the test's backend, asked for as W&B's key holder; and the sweep that ``SCRIPT`` made."""

    def __init__(self, url: str, entity: str, key: str, sweep: str) -> None:
        self.url, self.entity, self.key, self.sweep = url, entity, key, sweep

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, auth=("api", self.key), timeout=60)

    def page(self, path: str) -> str:
        answer = self.get(f"/{self.entity}/{PROJECT}{path}")
        assert answer.status_code == 200, (path, answer.text[:500])
        return answer.text


@pytest.fixture(scope="module")
def site(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "script.py").write_text(SCRIPT)
    environment = {**os.environ, **server.environment(), "WANDB_DIR": str(folder)}
    command = [sys.executable, "script.py", EVIL]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    sweep = re.findall(r"^SWEEP (\S+)$", done.stdout, re.MULTILINE)[0]
    return Site(server.url, server.entity, server.key, sweep)


class Elements(HTMLParser):
    """Collects what could run a script of somebody else."""

    def __init__(self) -> None:
        super().__init__()
        self.dangerous: list[object] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        inline = tag == "script" and given.get("type") != "application/json" and "src" not in given
        address = str(given.get("src") or given.get("href") or "/")
        if inline or any(name.startswith("on") for name in given) or not address.startswith(("/", "?", "data:,")):
            self.dangerous.append((tag, attrs))


PAGES = [
    "",
    "/workspace",
    "/sweeps",
    "/sweeps/SWEEP",
    "/artifacts",
    "/artifacts/dataset/cases",
    "/artifacts/dataset/cases/v0",
    "/artifacts/dataset/cases/first",
    *(f"/runs/everything{tab}" for tab in ("", "/overview", "/system", "/logs", "/files", "/artifacts")),
]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_opens_and_shows_hostile_names_as_text(site: Site, path: str) -> None:
    answer = site.get(f"/{site.entity}/{PROJECT}{path.replace('SWEEP', site.sweep)}")
    assert answer.status_code == 200, answer.text[:500]
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    seen = Elements()
    seen.feed(answer.text)
    assert seen.dangerous == []


@pytest.mark.parametrize(
    "path",
    [
        "/nobody",
        "/nobody/nothing",
        f"/E/{PROJECT}/runs/none",
        f"/E/{PROJECT}/runs/none/files/a",
        f"/E/{PROJECT}/runs/everything/no-tab",
        f"/E/{PROJECT}/runs/everything/files/../../etc/passwd",
        f"/E/{PROJECT}/runs/everything/files/..%2f..%2fetc%2fpasswd",
        f"/E/{PROJECT}/sweeps/none",
        f"/E/{PROJECT}/artifacts/dataset/none/v0",
        f"/E/{PROJECT}/artifacts/model/cases/v0",
        f"/E/{PROJECT}/artifacts/dataset/cases/v9",
        f"/E/{PROJECT}/artifacts/dataset/cases/v0/files/none",
        "/-/static/none",
        f"/{quote(EVIL, safe='')}",
    ],
)
def test_an_unknown_name_gets_a_page_that_says_so(site: Site, path: str) -> None:
    answer = site.get(path.replace("/E/", f"/{site.entity}/"))
    assert answer.status_code == 404
    assert "Not here" in answer.text
    assert "<img src=x" not in answer.text


def test_no_page_without_a_key(site: Site) -> None:
    for path in ("/", f"/{site.entity}/{PROJECT}", f"/{site.entity}/{PROJECT}/runs/everything", "/-/static/pages.js"):
        assert requests.get(site.url + path, timeout=30).status_code == 401


def test_a_run_shows_its_metrics_configuration_console_and_tables(site: Site) -> None:
    text = unescape(site.page("/runs/everything"))
    figures = [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    drawn = {figure["layout"]["title"]["text"]: figure["data"][0] for figure in figures}
    assert drawn["loss"]["y"] == [1.0, 0.5, 1 / 3]
    assert "nested.depth" in text
    assert "bad_cases" in text
    assert "hello from the run" in unescape(site.page("/runs/everything/logs"))
    assert "page.html" in site.page("/runs/everything/files")


def images(text: str) -> list[str]:
    return [unescape(address) for address in re.findall(r'<img class="small" src="([^"]+)"', text)]


def test_tables_show_their_pictures(site: Site) -> None:
    for path in ("/runs/everything", "/artifacts/dataset/cases/v0"):
        found = images(site.page(path))
        assert len(found) == 3
        for address in found:
            answer = site.get(address)
            assert answer.headers["content-type"] == "image/png"
            assert answer.content.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["page.html", "drawing.svg"])
def test_what_could_run_in_a_browser_is_only_saved(site: Site, name: str) -> None:
    answer = site.get(f"/{site.entity}/{PROJECT}/runs/everything/files/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_artifact_shows_its_lineage(site: Site) -> None:
    text = site.page("/artifacts/dataset/cases/v0")
    lineage = text[text.index("<h2>Lineage") :]
    assert re.search(r"logged by.*?runs/everything", lineage, re.DOTALL)
    assert re.search(r"used by.*?runs/reader", lineage, re.DOTALL)
    assert "cases:v0" in site.page("/runs/reader/artifacts")


def test_the_best_run_is_a_finished_one_by_its_best_value(site: Site) -> None:
    text = site.page(f"/sweeps/{site.sweep}")
    facts = text[text.index('<dl class="facts best">') :]
    assert re.search(r"<dt>lr</dt><dd>0.05</dd>", facts)  # the failed runs logged 99
    assert re.search(r"val_acc, at best</dt><dd><strong>0.8</strong>", facts)
    assert "6 of 6" in text


def names(text: str) -> list[str]:
    rows = text[text.index("<tbody>") : text.index("</tbody>")]
    return re.findall(r'<td><a href="[^"]*/runs/([^"]+)"', rows)


def test_runs_are_filtered_ordered_and_bad_questions_do_no_harm(site: Site) -> None:
    everything = names(site.page(""))
    assert len(everything) == 8
    assert len(names(site.page("?state=failed"))) == 2
    assert len(names(site.page("?q=lr%3D0.05+adam"))) == 1
    rising, falling = (names(site.page(f"?sort={sign}summary.val_acc&state=finished")) for sign in ("", "-"))
    assert rising[-2:] == falling[-2:], "runs without the value come last, whichever way round"
    assert sorted(rising[:-2]) == sorted(falling[:-2]) != []
    for query in ("?page=99", "?page=-1", "?page=%E2%82%82", "?sort=nonsense", "?q=%00", "?state=%3Cscript%3E"):
        site.page(query)


def test_a_very_long_history_is_sampled(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.sqlite3")

    def fill(conn: sqlite3.Connection) -> int:
        project = projects.ensure(conn, "me", "long")
        run = runs.create(conn, project["id"], "long", user="me", state="finished")
        for start in range(0, 60_000, 10_000):
            steps = range(start, start + 10_000)
            texts = [json.dumps({"a": i, "_step": i, **({"b": -i} if i % 100 == 99 else {})}) for i in steps]
            run = runs.by_id(conn, run["id"])
            runs.update(conn, run["id"], **history.add_history(conn, run, history.parse(texts, start)))
        return int(project["id"])

    shown = data.run(database.read(), database.write(fill), "long")
    assert shown is not None
    found = data.curves(database.read(), shown, limit=6_000)
    database.close()
    assert 5_000 < len(found["a"]) < 7_000
    assert 40 < len(found["b"]) < 80, "a metric of every hundredth line is in the sample as often as it should be"


def test_a_sweeps_page_explains_early_termination(tmp_path: Path, launch: Callable[..., Any]) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    store = Database(tmp_path / "home" / "store.sqlite3")
    config = {
        "method": "random",
        "metric": {"name": "loss"},
        "early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 2},
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
    }

    def fill(conn: sqlite3.Connection) -> sqlite3.Row:
        project = projects.ensure(conn, "me", "early")["id"]
        sweep = sweeps.create(conn, project, user="me", config=json.dumps(config), method="random")
        for loss in (0.1, 0.2, 0.375):
            run = trials.enqueue(conn, sweep, {"x": loss}, f"trial of {loss}")
            assert run is not None
            lines = history.parse([json.dumps({"loss": value}) for value in (9.0, loss)], 0)
            runs.update(conn, run["id"], state="running", **history.add_history(conn, run, lines))
        agents.create(conn, sweep["id"], "host")
        return sweep

    sweep = store.write(fill)
    Scheduler(store, Studies()).heartbeat(1, ())
    store.close()
    server = launch()
    page = requests.get(f"{server.url}/me/early/sweeps/{sweep['name']}", auth=("api", server.key), timeout=30).text
    _, section = page.split("Early termination")
    cells = [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", section)]
    assert cells[:4] == ["2", "3", "0.2", "1"]
    assert cells[4:8] == ["trial of 0.375", "2", "0.375", "0.2"]


def test_a_sweeps_page_shows_the_front_of_several_metrics(tmp_path: Path, launch: Callable[..., Any]) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    store = Database(tmp_path / "home" / "store.sqlite3")
    metrics = [{"name": "acc", "goal": "maximize"}, {"name": "size"}]
    config = {"method": "custom", "metrics": metrics, "scheduler": {"engine": "optuna"}}

    def fill(conn: sqlite3.Connection) -> sqlite3.Row:
        project = projects.ensure(conn, "me", "front")["id"]
        sweep = sweeps.create(conn, project, user="me", config=json.dumps(config), method="custom")
        for width, summary in enumerate(
            [{"acc": 0.5, "size": 1}, {"acc": 0.4, "size": 2}, {"acc": 0.9, "size": 9}, {}]
        ):
            run = trials.enqueue(conn, sweep, {"width": width}, f"<b>{width}")
            assert run is not None
            runs.update(conn, run["id"], state="finished", summary=json.dumps(summary))
        return sweep

    sweep = store.write(fill)
    store.close()
    server = launch()
    page = requests.get(f"{server.url}/me/front/sweeps/{sweep['name']}", auth=("api", server.key), timeout=30).text
    assert "maximize acc, minimize size" in page
    front = page.split("Front")[1].split("<h2>Runs")[0]
    cells = [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<td>(.*?)</td>", front)]
    assert cells == ["&lt;b&gt;2", "0.9", "9", "&lt;b&gt;0", "0.5", "1"]
    assert "size and acc" in front  # the figure


@pytest.fixture(scope="module")
def chrome(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("chromium")) as started:
        log_in(started, site.url, site.key)
        started.get_log("browser")  # what the log-in said is not of the pages
        yield started


@pytest.mark.parametrize("path", ["", "/sweeps/SWEEP", "/runs/everything", "/artifacts/dataset/cases/v0"])
def test_a_browser_draws_every_figure_and_has_nothing_to_complain_of(site: Site, chrome: Chrome, path: str) -> None:
    chrome.get(f"{site.url}/{site.entity}/{PROJECT}{path.replace('SWEEP', site.sweep)}")
    chrome.execute_script("document.querySelectorAll('.chart').forEach((box) => box.scrollIntoView())")
    undrawn = "return document.querySelectorAll('.chart:not([data-drawn])').length"
    wait(lambda: chrome.execute_script(undrawn) == 0)
    if "sweeps" in path:
        titles = chrome.execute_script("return [...document.querySelectorAll('.gtitle')].map((t) => t.textContent)")
        assert titles[:2] == ["Parallel coordinates", "Parameter importance for val_acc"]
        assert chrome.execute_script("return document.querySelectorAll('.chart .scatterlayer .trace').length") > 2
    broken = "return [...document.images].filter((image) => image.complete && !image.naturalWidth).length"
    assert chrome.execute_script(broken) == 0
    assert chrome.get_log("browser") == []
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    chrome.set_window_size(500, 900)
    wait(lambda: chrome.execute_script(wide) <= 0)  # it does not scroll sideways on a phone
    chrome.set_window_size(1280, 2400)
