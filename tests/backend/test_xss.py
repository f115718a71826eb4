"""Scripts hidden in all that a user can name, log or upload, opened in a real browser: none runs, nothing leaves.

``test_pages.py`` holds the pages' text to the same; here the browser itself says whether a script ran.
"""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import requests

from ..browser import browser, log_in

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

Ask = Callable[..., dict[str, Any]]
SHORT = "<img src=x onerror=hacked=1>"  # fits where '/' and ':' may not stand


class Elsewhere:
    """Another host's server: it notes whatever is asked of it."""

    def __init__(self) -> None:
        asked = self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(204)
                self.end_headers()

            do_POST = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    other = Elsewhere()
    yield other
    other.server.shutdown()


def _payload(url: str) -> str:
    act = f"hacked=1;document.title=`HACKED`;fetch(`{url}/fetched`,{{mode:`no-cors`}});alert(1)"
    return (
        f'</script><script>{act}</script>" onmouseover="{act}" \'><img src="{url}/image" onerror="{act}">'
        f'<svg onload="{act}"></svg><iframe src="{url}/frame"></iframe><link rel=stylesheet href="{url}/style">'
        f'<a href="javascript:{act}">x</a><base href="{url}/"><meta http-equiv=refresh content="0;url={url}/gone">'
        "{{7*7}}${7*7}=cmd|' /C calc'!A0"
    )


class Poisoned:
    """A project in which everything that can hold a text holds a script."""

    project = f"xss {SHORT}"

    def __init__(self, server: Any, evil: str) -> None:
        self.server, self.evil, self.auth = server, evil, ("api", server.key)
        self.base = f"/{quote(server.entity)}/{quote(self.project, safe='')}"
        self.sweep = self._sweep()
        self._run()
        self._files()
        self._artifact()

    def ask(self, name: str, kind: str, selection: str, /, **given: Any) -> Any:
        query = f"mutation ($input: {kind}!) {{ {name}(input: $input) {{ {selection} }} }}"
        body = {"query": query, "variables": {"input": given}}
        answer = requests.post(f"{self.server.url}/graphql", json=body, auth=self.auth, timeout=30)
        assert answer.status_code == 200 and "errors" not in answer.json(), answer.text
        return answer.json()["data"][name]

    def _sweep(self) -> str:
        space = {
            "method": "random",
            "name": self.evil,
            "description": self.evil,
            "metric": {"name": self.evil, "goal": "maximize"},
            "parameters": {"choice": {"values": [self.evil, "b"]}, "lr": {"min": 0.0, "max": 1.0}},
        }
        made = self.ask(
            "upsertSweep",
            "UpsertSweepInput",
            "sweep { name }",
            config=json.dumps(space),
            projectName=self.project,
            displayName=self.evil,
            description=self.evil,
        )
        return str(made["sweep"]["name"])

    def _run(self) -> None:
        config = {self.evil: {"value": self.evil}, "lr": {"value": self.evil}, "n": {"value": {self.evil: self.evil}}}
        for name in ("evil", "second"):
            self.ask(
                "upsertBucket",
                "UpsertBucketInput",
                "inserted",
                modelName=self.project,
                name=name,
                displayName=self.evil,
                notes=self.evil,
                description=self.evil,
                groupName=self.evil,
                jobType=self.evil,
                host=self.evil,
                tags=[self.evil],
                config=json.dumps(config),
                sweep=self.sweep,
            )
            self._stream(name)

    def _stream(self, name: str) -> None:
        table = {"_type": "table-file", "path": "media/table/t.table.json", "ncols": 2, "nrows": 1}
        page = {"_type": "html-file", "path": "media/html/page.html"}
        rows = [
            json.dumps(
                {"_step": n, self.evil: n, f"group/{self.evil}": 1 / (n + 1), "text": self.evil, "t": table, "h": page}
            )
            for n in range(5)
        ]
        lines = [json.dumps({"content": f"\x1b[31m{self.evil}\x1b]8;;javascript:alert(1)\x07x"}), self.evil]
        files = {
            "wandb-history.jsonl": {"offset": 0, "content": rows},
            "wandb-events.jsonl": {"offset": 0, "content": [json.dumps({f"system.{self.evil}": 1, "_timestamp": 1})]},
            "wandb-summary.json": {
                "offset": 0,
                "content": [json.dumps({self.evil: 4, "text": self.evil, "t": table, "h": page})],
            },
            "output.log": {"offset": 0, "content": lines},
        }
        url = f"{self.server.url}/files/{quote(self.server.entity)}/{quote(self.project, safe='')}/{name}/file_stream"
        body = {"files": files, "complete": True, "exitcode": 0}
        requests.post(url, json=body, auth=self.auth, timeout=30).raise_for_status()

    def _files(self) -> None:
        html = f"<html><body>{self.evil}<script src='{self.evil}'></script></body></html>".encode()
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" onload="hacked=1"><script>{self.evil}</script></svg>'.encode()
        table = json.dumps({"columns": [self.evil, "b"], "data": [[self.evil, {"_type": self.evil}]]}).encode()
        contents = {
            "media/table/t.table.json": table,
            "media/html/page.html": html,
            "drawing.svg": svg,
            "no-picture.png": html,
            f"{SHORT}.html": html,
            f"{self.evil.replace('//', '/ /')[:200]}": html,
        }
        for name, content in contents.items():
            url = (
                f"{self.server.url}/files/{quote(self.server.entity)}/{quote(self.project, safe='')}/evil/{quote(name)}"
            )
            requests.put(url, data=content, auth=self.auth, timeout=30).raise_for_status()
        self.files = list(contents)

    def _artifact(self) -> None:
        where = {"entityName": self.server.entity, "projectName": self.project}
        made = self.ask(
            "createArtifact",
            "CreateArtifactInput",
            "artifact { id }",
            artifactTypeName="dataset",
            artifactCollectionName=SHORT,
            digest=self.evil,
            description=self.evil,
            metadata=json.dumps({self.evil: self.evil}),
            runName="evil",
            aliases=[{"artifactCollectionName": SHORT, "alias": SHORT}],
            **where,
        )["artifact"]
        announced = self.ask(
            "createArtifactManifest",
            "CreateArtifactManifestInput",
            "artifactManifest { file { uploadUrl } }",
            artifactID=made["id"],
            name="m",
            digest="",
            runName="evil",
            **where,
        )["artifactManifest"]
        contents = {f"a/{SHORT}": {"digest": "x", "ref": f"javascript:{self.evil}", "size": 1}}
        manifest = json.dumps({"version": 1, "contents": contents})
        requests.put(announced["file"]["uploadUrl"], data=manifest, timeout=30).raise_for_status()
        self.ask("commitArtifact", "CommitArtifactInput", "artifact { id }", artifactID=made["id"])

    def addresses(self) -> list[str]:
        collection = f"{self.base}/artifacts/dataset/{quote(SHORT, safe='')}"
        evil = quote(self.evil, safe="")
        return [
            "/",
            f"/{quote(self.server.entity)}",
            *(self.base + tail for tail in ("", "/workspace", "/sweeps", f"/sweeps/{self.sweep}", "/artifacts")),
            *(f"{self.base}/runs/evil{tab}" for tab in ("", "/overview", "/system", "/logs", "/files", "/artifacts")),
            collection,
            f"{collection}/v0",
            f"{self.base}?q={evil}&state={evil}&sort={evil}&page={evil}",
            f"/{evil}",
            f"{self.base}/runs/{evil}",
            f"/login?next={evil}",
            *(f"{self.base}/runs/evil/files/{quote(name)}" for name in self.files),
        ]


@pytest.fixture(scope="module")
def poisoned(server: Any, elsewhere: Elsewhere) -> Poisoned:
    return Poisoned(server, _payload(elsewhere.url))


@pytest.fixture(scope="module")
def chrome(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("chromium"), log="performance") as started:
        log_in(started, server.url, server.key)
        yield started


def _requested(chrome: Chrome) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    sent = [message for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [str(message["params"]["request"]["url"]) for message in sent]


# Everything that a script would do by itself, and what it would do when the page is used.
USE = """
for (const element of document.querySelectorAll('*')) {
    for (const kind of ['mouseover', 'mouseenter', 'focus', 'load', 'error'])
        element.dispatchEvent(new Event(kind, {bubbles: false}));
}
document.querySelectorAll('.chart').forEach((box) => box.scrollIntoView());
"""
BAD_LINKS = """return [...document.querySelectorAll('[href],[src],[action]')]
    .map((e) => e.href?.baseVal ?? e.href ?? e.src ?? e.action).filter((u) => typeof u === 'string' && u)
    .filter((u) => !u.startsWith(location.origin + '/') && !u.startsWith('data:'))"""


def test_no_script_runs_and_nothing_leaves(
    server: Any, poisoned: Poisoned, chrome: Chrome, elsewhere: Elsewhere
) -> None:
    from selenium.common.exceptions import NoAlertPresentException

    for address in (poisoned.base, f"{poisoned.base}/sweeps/{poisoned.sweep}", f"{poisoned.base}/runs/evil/logs"):
        shown = requests.get(server.url + address, auth=poisoned.auth, timeout=30)
        assert shown.status_code == 200 and "&lt;script&gt;" in shown.text, address  # the payloads are really there
    _requested(chrome)
    for address in poisoned.addresses():
        chrome.get(server.url + address)  # a file is saved: the page before stays
        with pytest.raises(NoAlertPresentException):
            chrome.switch_to.alert.accept()
        chrome.execute_script(USE)
        assert chrome.execute_script("return typeof window.hacked") == "undefined", address
        assert not chrome.title.startswith("HACKED"), address
        assert chrome.execute_script("return document.querySelectorAll('iframe, base, object, embed').length") == 0
        assert chrome.execute_script(BAD_LINKS) == [], address
        assert chrome.current_url.startswith(server.url), address
    time.sleep(0.3)  # for what a timer would do
    assert chrome.execute_script("return typeof window.hacked") == "undefined"
    requested = _requested(chrome)
    assert len(requested) > 20
    assert [url for url in requested if not url.startswith((server.url, "data:", "blob:"))] == []
    assert elsewhere.asked == []


def test_the_browser_would_have_noticed(chrome: Chrome, elsewhere: Elsewhere) -> None:
    """The same payload in a page without our defences does run, and is seen: the test above can fail."""
    from selenium.common.exceptions import UnexpectedAlertPresentException

    chrome.get("about:blank")
    payload = json.dumps(f"<p>{_payload(elsewhere.url)}</p>")
    try:
        chrome.execute_script(f"document.title = 'fine'; document.body.innerHTML = {payload};")
        time.sleep(1)
        ran = chrome.execute_script("return typeof window.hacked") != "undefined"
    except UnexpectedAlertPresentException:
        ran = True
    assert ran and elsewhere.asked
