"""What the live view shows fits every terminal: the one test below draws any board at any size."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from sweepkit.sweeps.board import Board, Row, chosen, draw, sparkline
from sweepkit.sweeps.time_left import Left

TEXT = st.text(max_size=40)
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ROW = st.builds(
    Row, TEXT, TEXT, st.booleans(), st.booleans(), st.none() | st.floats(0, 1), TEXT, TEXT, NUMBER, TEXT,
    st.none() | st.floats(0, 1e9),
)  # fmt: skip
BOARD = st.builds(
    Board, st.lists(ROW, max_size=120), st.integers(0, 1000), st.none() | st.integers(0, 1000), TEXT,
    st.sampled_from([1, -1]), st.dictionaries(TEXT, st.integers(0, 99), max_size=4), st.integers(0, 9),
    st.integers(0, 200), st.none() | st.just(Left(600.0, 480.0, 720.0)), st.sampled_from(["RUNNING", "PAUSED"]),
    st.lists(st.floats(-1e6, 1e6), max_size=60), TEXT, TEXT,
)  # fmt: skip


@given(BOARD, st.integers(1, 220), st.integers(1, 60), st.booleans(), st.booleans())
def test_any_board_fits_any_terminal(board: Board, width: int, height: int, colours: bool, plain: bool) -> None:
    lines = draw(board, width, height, colours, plain)
    assert 1 <= len(lines) <= height
    for line in lines:
        bare = re.sub(r"\x1b\[[0-9;]*m", "", line) if colours else line
        assert cell_len(bare) <= width
        assert not re.search("[\x00-\x1f\x7f]", bare)


def hundred(running: int = 88) -> Board:
    """A hundred agents: some run, the others wait; one is lost."""
    rows = [
        Row(f"node{n // 8} gpu:{n % 8}", f"lr={0.1 / (n + 1):.3g} width={8 * (n % 5)} optimizer=Adam", busy=True,
            use=(n % 10) / 10, memory="12.1/80G", reached=f"{n % 8}/8", value=0.9 + n / 1000, rate="12.3k samples/s",
            seconds=60.0 + n, lost=n == 40)
        if n < running else Row(f"node{n // 8} gpu:{n % 8}")
        for n in range(100)
    ]  # fmt: skip
    return Board(
        rows, 312, 1000, "val_acc", 1, {"finished": 300, "failed": 12}, 7, 0, Left(5400, 4800, 6000), "RUNNING",
        [0.5 + math.tanh(n / 20) / 2.2 for n in range(60)], "val_acc=0.987 ab12cd34 lr=0.00112", "sweep s · RUNNING",
    )  # fmt: skip


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_a_hundred_agents_stay_readable(width: int, height: int) -> None:
    lines = draw(hundred(), width, height)
    assert len(lines) == height
    assert lines[0] == "sweep s · RUNNING"
    assert lines[1].split()[:2] == ["slot", "trial"]
    assert lines[1].split()[-1] == "time"
    slots = [line for line in lines if line.startswith("node")]
    assert len(slots) == height - 5
    assert any("node5 gpu:0" in line for line in slots), "the lost one must be among them"
    assert any("0.987" in line for line in slots) and not any("node0 gpu:0" in line for line in slots)
    assert lines[-3] == f"… and {88 - len(slots)} more running, 12 waiting"
    assert "312/1000 trials" in lines[-2] and lines[-2].endswith("1h 20m to 1h 40m left")
    assert lines[-1].startswith("best  ▁") and "val_acc=0.987" in lines[-1]
    assert ("12.1/80G" in lines[2]) is (width == 200)  # the first column to go
    if width == 200:
        assert "12 failed · 7 retries" in lines[-2]


def test_idle_slots_make_room_for_busy_ones_and_stay_where_there_is_room() -> None:
    board = hundred(running=10)
    assert len(chosen(board, 100)[0]) == 100
    rows, others = chosen(board, 20)
    assert [row.busy for row in rows] == [True] * 10
    assert others == "… and 90 waiting"


def test_less_is_better_where_the_sweep_minimizes() -> None:
    rows = [Row(f"cpu:{n}", f"t{n}", busy=True, value=float(n)) for n in range(10)]
    assert [row.place for row in chosen(Board(rows, 0, 10, sign=-1), 4)[0]] == ["cpu:0", "cpu:1", "cpu:2"]
    assert [row.place for row in chosen(Board(rows, 0, 10, sign=1), 4)[0]] == ["cpu:7", "cpu:8", "cpu:9"]


def test_the_words_on_the_time_left() -> None:
    assert draw(Board([], 3, 10), 80, 2)[0].endswith("3/10 trials · time left unknown")
    assert draw(Board([], 3, 10, state="PAUSED"), 80, 2)[0].endswith("3/10 trials · paused")
    assert draw(Board([], 3, None), 80, 2)[0] == "3 trials"  # an endless search: no bar, no time
    assert draw(Board([], 10, 10, left=Left(0, 0, 0)), 80, 2)[0].startswith("━━━━")


def test_a_small_curve() -> None:
    assert sparkline([0.0, 0.5, 1.0], 10) == "▁▅█"
    assert sparkline(list(range(100)), 4) == "▁▃▆█"
    assert sparkline([3, 2, 1], 3) == "█▅▁"
    assert (sparkline([1.0], 5), sparkline([2.0, 2.0], 5), sparkline([1, 2], 0)) == ("", "▁▁", "")


def test_a_terminal_without_utf_8_gets_ascii() -> None:
    assert all(line.isascii() for line in draw(hundred(), 80, 24, plain=True))
