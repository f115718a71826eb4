"""The live view as lines of text that fit a terminal: a line a slot, the progress, the best so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..output import printable
from .course import number
from .time_left import Left, told

CURVE = 24  # characters
_LEAST = 16  # characters of a trial's parameters; for fewer, columns go
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN = str.maketrans({"…": "~", "━": "=", "─": "-", "·": "-", **dict(zip(_BARS, "_.,:-=+#", strict=True))})


@dataclass(frozen=True)
class Row:
    """A slot or an agent, and what it works on. ``lost``: it is not heard of any more, or was taken out."""

    place: str
    trial: str = ""
    busy: bool = False
    lost: bool = False
    use: float | None = None  # of the GPU, or of the slot's share of the cores: 0 to 1
    memory: str = ""
    reached: str = ""
    value: float | None = None
    rate: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Board:
    """All that is shown. ``sign`` is 1 where more of the metric is better, -1 where less is."""

    rows: Sequence[Row]
    done: int
    total: int | None
    metric: str = ""
    sign: int = 1
    counts: Mapping[str, int] = field(default_factory=dict)  # of what is over: finished, failed, ...
    retries: int = 0
    elsewhere: int = 0  # trials that run on other hosts
    left: Left | None = None
    state: str = "RUNNING"
    curve: Sequence[float] = ()
    best: str = ""
    title: str = ""


def draw(board: Board, width: int, height: int, colours: bool = False, plain: bool = False) -> list[str]:
    """``board`` in at most ``height`` lines of at most ``width`` cells. ``plain``: in ASCII, as far as it is ours."""
    head = [_bold(fit(board.title, width), colours)] if board.title and height > 3 else []
    foot = [_progress(board, width), _best(board, width)][: max(1, height - len(head))]
    room = height - len(head) - len(foot)
    lines = [*head, *_table(board, width, room, colours), *foot]
    return [line.translate(_PLAIN) for line in lines] if plain else lines


def fit(text: str, width: int) -> str:
    """``text`` in exactly ``width`` cells of a terminal, in which some characters take two: cut, or filled up."""
    from rich.cells import cell_len, set_cell_size

    text = _clean(text)
    if cell_len(text) > width > 0:
        return set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width)


def chosen(board: Board, room: int) -> tuple[list[Row], str]:
    """The rows that there is ``room`` for, in their order, and a line on the others.

    What is lost comes first, then the running ones, the best first; those that wait are only counted.
    """
    rows = list(board.rows)
    if len(rows) <= room:
        return rows, ""
    active = [row for row in rows if row.busy or row.lost]
    waiting = len(rows) - len(active)
    kept = max(0, room - 1)
    shown = sorted(active, key=lambda row: _rank(row, board.sign))[:kept]
    more = len(active) - len(shown)
    words = [f"{more} more running"] * (more > 0) + [f"{waiting} waiting"] * (waiting > 0)
    return [row for row in active if row in shown], f"… and {', '.join(words)}" if room > 0 else ""


def _rank(row: Row, sign: int) -> tuple[bool, bool, float, float]:
    value = 0.0 if row.value is None else -sign * row.value
    return not row.lost, row.value is None, value, -(row.seconds or 0.0)


def _table(board: Board, width: int, room: int, colours: bool) -> list[str]:
    if room < 2:
        return []
    rows, others = chosen(board, room - 1)
    cells = [_cells(row) for row in rows]
    heads = ["slot", "trial", "use", "memory", "epoch", board.metric or "metric", "rate", "time"]
    widths = [max([_width(head), *(_width(line[n]) for line in cells)]) for n, head in enumerate(heads)]
    widths[0], widths[5], widths[7] = min(widths[0], width // 3), max(8, min(widths[5], 16)), max(5, widths[7])
    used = [n for n in range(len(heads)) if n not in (2, 3) or any(line[n] for line in cells)]
    for dropped in (3, 6, 2, 4, 7, 5):
        if _flexible(widths, used, width) >= _LEAST:
            break
        used = [n for n in used if n != dropped]
    widths[1] = max(0, _flexible(widths, used, width))
    lines = [_dim(_line(heads, widths, used, width), colours)]
    for row, line in zip(rows, cells, strict=True):
        text = _line(line, widths, used, width)
        lines.append(_red(text, colours) if row.lost else text if row.busy else _dim(text, colours))
    return [*lines, _dim(fit(others, width).rstrip(), colours)] if others else lines


def _cells(row: Row) -> list[str]:
    trial = row.trial if row.busy or row.lost else row.trial or "waiting"
    return [
        row.place, trial, "" if row.use is None else f"{row.use:.0%}", row.memory, row.reached,
        "" if row.value is None else number(row.value), row.rate, "" if row.seconds is None else clock(row.seconds),
    ]  # fmt: skip


def _flexible(widths: Sequence[int], used: Sequence[int], width: int) -> int:
    """What is left for the parameters of a trial."""
    return width - sum(widths[n] for n in used if n != 1) - 2 * (len(used) - 1)


def _line(cells: Sequence[str], widths: Sequence[int], used: Sequence[int], width: int) -> str:
    left = (0, 1)
    parts = [fit(cells[n], widths[n]) if n in left else _right(cells[n], widths[n]) for n in used]
    return fit("  ".join(parts), width).rstrip()


def _right(text: str, width: int) -> str:
    text = fit(text, min(width, _width(text)))
    return " " * (width - _width(text)) + text


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(_clean(text))


def _clean(text: str) -> str:
    """One line that steers nothing."""
    return printable(text).replace("\n", " ").replace("\t", " ")


def _progress(board: Board, width: int) -> str:
    """The bar, the numbers, and the time left; what matters less goes where room is short."""
    numbers = f"{board.done}/{board.total} trials" if board.total else f"{board.done} trials"
    words = {1: _left(board)}
    words |= {
        2 + n: f"{count} {_clean(kind)}" for n, (kind, count) in enumerate(board.counts.items()) if kind != "finished"
    }
    words[50] = f"{board.retries} retr{'y' if board.retries == 1 else 'ies'}" if board.retries else ""
    words[60] = f"{board.elsewhere} running elsewhere" if board.elsewhere else ""
    bar = 10 if board.total and width >= 40 else 0
    kept, room = [], width - _width(numbers) - (bar + 2 if bar else 0)
    for place, text in sorted(words.items()):
        if text and _width(text) + 3 <= room:
            kept.append((place, text))
            room -= _width(text) + 3
    counted = [text for place, text in kept if place > 1]
    text = " · ".join([numbers, *counted, *(text for place, text in kept if place == 1)])
    if not bar or not board.total:
        return fit(text, width).rstrip()
    length = width - _width(text) - 2
    full = min(length, round(length * min(1.0, board.done / board.total)))
    return "━" * full + "─" * (length - full) + "  " + text


def _left(board: Board) -> str:
    if board.state == "PAUSED":
        return "paused"
    if board.left is not None:
        return told(board.left)
    return "time left unknown" if board.total and board.done < board.total else ""


def _best(board: Board, width: int) -> str:
    curve = sparkline(board.curve, min(CURVE, max(0, width // 4)))
    return fit("  ".join(part for part in ("best", curve, board.best or "none yet") if part), width).rstrip()


def sparkline(values: Sequence[float], width: int) -> str:
    """``values`` as a small curve of at most ``width`` characters; of several values on one place, the last."""
    if width < 1 or len(values) < 2:
        return ""
    count = min(width, len(values))
    picked = [values[(n + 1) * len(values) // count - 1] for n in range(count)]
    low, high = min(picked), max(picked)
    if high - low <= 0:
        return _BARS[0] * count
    return "".join(_BARS[min(7, int(8 * ((each - low) / (high - low))))] for each in picked)


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _dim(text: str, colours: bool) -> str:
    return f"\x1b[2m{text}\x1b[0m" if colours and text else text


def _bold(text: str, colours: bool) -> str:
    return f"\x1b[1m{text.rstrip()}\x1b[0m" if colours else text.rstrip()


def _red(text: str, colours: bool) -> str:
    return f"\x1b[31m{text}\x1b[0m" if colours and text else text
