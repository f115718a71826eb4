"""The rules of the house: who may import whom, what the wheel holds, and documentation without broken links."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("sweeps", "trainer", "backend")
FORBIDDEN = {
    "sweeps": {"backend", "cli"},
    "trainer": {"sweeps", "backend", "cli"},
    "backend": {"sweeps", "trainer", "cli"},
    "figures": {"sweeps", "trainer", "backend", "cli"},
    "": {"sweeps", "trainer", "backend", "cli"},  # what all rooms share stands below them
}
ENTRANCES = {"cli.py", "__main__.py", "doctor.py", "command_line.py", "backend_commands.py"}


def sources() -> list[Path]:
    files = [path for room in (*ROOMS, "figures") for path in (ROOT / room).rglob("*.py")]
    return files + [path for path in ROOT.glob("*.py") if path.name not in ENTRANCES]


def imported_rooms(file: Path) -> set[str]:
    """The top-level names of sweepkit that ``file`` imports, at start-up or later."""
    package = ["sweepkit", *file.relative_to(ROOT).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = [*base, *(node.module or "").split(".")]
            names = [[*name, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        else:
            continue
        for parts in ([part for part in name if part] for name in names):
            if parts[:1] == ["sweepkit"] and len(parts) > 1:
                found.add(parts[1])
    return found


def test_every_room_imports_only_what_it_may() -> None:
    wrong = []
    for file in sources():
        room = file.relative_to(ROOT).parts[0] if file.parent != ROOT else ""
        wrong += [f"{file.relative_to(ROOT)} imports {name}" for name in imported_rooms(file) & FORBIDDEN[room]]
    assert not wrong


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel that is built from the files git knows."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder / "clone")], check=True)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(folder / "clone")]
    subprocess.run(build, check=True)
    return set(zipfile.ZipFile(next(folder.glob("*.whl"))).namelist())


def test_the_wheel_holds_every_module_and_data_file(wheel: set[str]) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    kept = [
        name
        for name in listed
        if name.split("/")[0] in (*ROOMS, "figures") or ("/" not in name and name.endswith((".py", ".typed")))
    ]
    assert [name for name in kept if f"sweepkit/{name}" not in wheel] == []


def test_nothing_but_sweepkit_is_installed_at_top_level(wheel: set[str]) -> None:
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"sweepkit"}


LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize(
    "page", ["README.md", "CHANGELOG.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))]
)
def test_links_in_the_documentation_lead_somewhere(page: str) -> None:
    file = ROOT / page
    links = [link for link in LINK.findall(file.read_text()) if "://" not in link]
    assert [link for link in links if not (file.parent / link).exists()] == []


def test_every_dependency_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    block = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    names = set(re.findall(r'"([A-Za-z0-9-]+)>=', block))
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    assert {name for name in names if f"`{name}`" not in reasons} == set()
