"""The README shows what works: its everyday commands are run here, in order, against a backend of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line[2:] for block in BLOCKS for line in block.splitlines() if line.startswith("$ ")]


def test_the_first_two_blocks_are_one_line_each() -> None:
    """They are what a newcomer copies, and what CI runs."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    assert [len(block.splitlines()) for block in blocks[:2]] == [1, 1]
    assert "sweepkit run quickstart" in blocks[0]
    assert "pytest" in blocks[1]


@pytest.mark.timeout(900)
def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    """One script, since later commands use what earlier ones made; it stops at the first that fails."""
    assert len(COMMANDS) > 8
    script = tmp_path / "readme.sh"
    script.write_text("set -ex\ntrap 'sweepkit serve --stop' EXIT\n" + "\n".join(COMMANDS) + "\n")
    environment = {
        **os.environ,
        "SWEEPKIT_HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(["bash", str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
