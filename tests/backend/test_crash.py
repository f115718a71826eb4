"""Acknowledged means on disk, whenever the backend is killed: a short run of the harness in ``crash.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

HARNESS = Path(__file__).with_name("crash.py")


def test_nothing_acknowledged_is_lost_in_ten_kills(tmp_path: Path) -> None:
    command = [sys.executable, str(HARNESS), "--kills", "10", "--seed", "11", "--folder", str(tmp_path / "crash")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    assert found["missing"] == []
    assert found["starts"] == 11
    assert min(found[what] for what in ("rows", "files", "claims", "artifacts", "collected", "requests_repeated")) > 0
