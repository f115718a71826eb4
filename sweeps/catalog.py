"""The YAML library: what `sweepkit list` shows, read from the files themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LIBRARY = Path(__file__).parent / "library"


@dataclass(frozen=True)
class Entry:
    """One sweep of the library. ``trials`` is None where it runs until it is stopped."""

    name: str
    path: Path
    method: str
    trials: int | None
    dataset: str
    purpose: str


def paths() -> dict[str, Path]:
    """The library: names and files, quickstart first."""
    files = sorted(LIBRARY.glob("*.yaml"), key=lambda file: (file.stem != "quickstart", file.stem))
    return {file.stem: file for file in files}


def catalog() -> list[Entry]:
    """All sweeps of the library, quickstart first."""
    from . import spec  # which looks names up here

    entries = []
    for name, path in paths().items():
        sweep = spec.load(path)
        head = head_comment(sweep.text)
        dataset = next(line.removeprefix("Dataset:") for line in head if line.startswith("Dataset:"))
        entries.append(Entry(name, path, sweep.method, sweep.count(), dataset.split(":")[0].strip(), head[0]))
    return entries


def head_comment(text: str) -> list[str]:
    """The lines of the comment at the head of a file: its purpose first, a line `Dataset:` somewhere below."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return lines
