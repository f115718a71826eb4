"""How good a search is: regret after so many trials, beside W&B's own engine, Optuna's samplers and random search.

    python bench/search.py [--seeds N] [--mode sequential|pending|both] [--engines a,b] [--json FILE]

Simple regret is how far the best of the told trials lies above the objective's least value, noise left aside. With 8
pending, eight trials are asked for, then always the oldest is told and a new one asked for. W&B's engine is the
package ``sweeps`` in an environment of its own, made once in the user's cache. Optuna's samplers come with their
defaults and the distributions that its users write. ``--objectives`` also takes four whose optimum lies at another
place for each seed, so that it is seldom where a search begins. The seeds from 1000 on are for figures that are shown;
whoever works on a search takes others (``--first-seed``).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from options import positive
from report import machine
from searching import engines, figures, wandb_engine
from searching.curves import PENDING, Curve, CurveFile, Task, all_of
from searching.moved import MOVED
from searching.objectives import OBJECTIVES

CHECKPOINTS = (15, 30, 60)
GOALS = {"sequential": (0.8, 0.35, 0.12), "pending": (0.9, 0.5, 0.2)}
FIRST_SEED = 1000
_NAME = 19  # the width of an objective's name

Curves = dict[Task, Curve]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    modes = tuple(PENDING) if options.mode == "both" else (options.mode,)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    tasks = [
        Task(engine, mode, objective, seed)
        for engine in options.engines for mode in modes for objective in options.objectives for seed in seeds
    ]  # fmt: skip
    if "wandb" in options.engines:
        wandb_engine.python()  # made here, once, before processes want it
    file = CurveFile(options.json)
    curves = file.read(tasks, options.trials)
    _say_reused(curves, options)
    try:
        missing = [task for task in tasks if task not in curves]
        curves |= {curve.task: curve for curve in all_of(missing, options.trials, options.jobs, file)}
    except KeyboardInterrupt:
        kept = f"; what is measured is in {options.json}, and the same command goes on" if options.json else ""
        print(f"interrupted{kept}", file=sys.stderr)
        return 130
    what = machine()
    print(f"{options.seeds} seeds from {options.first_seed}, Python {what['python']}, {what['cores']} cores")
    for mode in modes:
        _tell_mode(curves, mode, options)
    return 0


def _tell_mode(curves: Curves, mode: str, options: argparse.Namespace) -> None:
    points = [point for point in CHECKPOINTS if point <= options.trials] or [options.trials]
    title = "one trial at a time" if mode == "sequential" else f"{PENDING[mode]} trials pending"
    print(f"\nMean regret with its 95 % interval, {title}")
    heads = "".join(f"{f'{point} trials':>24}" for point in points)
    print(f"{'objective':{_NAME}}{'engine':22}{heads}")
    regrets = {
        (engine, point): {name: _regrets(curves, engine, mode, name, point) for name in options.objectives}
        for engine in options.engines for point in points
    }  # fmt: skip
    for name in options.objectives:
        for engine in options.engines:
            cells = "".join(f"{_mean(regrets[engine, point][name]):>24}" for point in points)
            print(f"{name:{_NAME}}{engines.TITLES[engine]:22}{cells}")
    if "wandb" in options.engines:
        _tell_ratios(regrets, mode, points, options)
    _tell_asks(curves, mode, options)


def _tell_ratios(
    regrets: dict[tuple[str, int], figures.Regrets], mode: str, points: Sequence[int], options: argparse.Namespace
) -> None:
    others = [engine for engine in options.engines if engine != "wandb"]
    if not others:
        return
    print("\nMean regret over that of W&B's engine: below 1 is better than W&B's")
    print(f"{'objective':{_NAME}}{'engine':22}" + "".join(f"{f'{point} trials':>24}" for point in points))
    for engine in others:
        found = {point: figures.ratios(regrets[engine, point], regrets["wandb", point]) for point in points}
        for name in options.objectives:
            cells = "".join(f"{found[point][name]:>24.2f}" for point in points)
            print(f"{name:{_NAME}}{engines.TITLES[engine]:22}{cells}")
    print(
        f"Geometric mean of the ratios, each at least {figures.FLOOR}; 0/0 counts as 1; in brackets the 95 % interval"
    )
    for engine in others:
        cells = "".join(f"{_ratio(regrets[engine, point], regrets['wandb', point]):>24}" for point in points)
        print(f"{'all':{_NAME}}{engines.TITLES[engine]:22}{cells}")
    if options.objectives == list(OBJECTIVES):  # goals were set for these
        goals = dict(zip(CHECKPOINTS, GOALS[mode], strict=True))
        cells = "".join(f"{f'at most {goals[point]}' if point in goals else '':>24}" for point in points)
        print(f"{'':{_NAME}}{'goal for bayes':22}{cells}")


def _tell_asks(curves: Curves, mode: str, options: argparse.Namespace) -> None:
    print("\nMilliseconds of an ask: median, 95th percentile, longest")
    for engine in options.engines:
        asks = sorted(s for task, c in curves.items() if (task.engine, task.mode) == (engine, mode) for s in c.asks)
        told = (statistics.median(asks), asks[int(0.95 * (len(asks) - 1))], asks[-1])
        print(f"{'':{_NAME}}{engines.TITLES[engine]:22}" + "".join(f"{seconds * 1000:>24,.1f}" for seconds in told))


def _regrets(curves: Curves, engine: str, mode: str, name: str, point: int) -> list[float]:
    wanted = (engine, mode, name)
    return [c.regrets[point - 1] for task, c in curves.items() if (task.engine, task.mode, task.objective) == wanted]


def _mean(regrets: Sequence[float]) -> str:
    mean, half = figures.mean_interval(regrets)
    return f"{mean:.4f} ± {half:.4f}"


def _ratio(mine: figures.Regrets, theirs: figures.Regrets) -> str:
    mean = figures.geometric_mean(list(figures.ratios(mine, theirs).values()))
    low, high = figures.interval_of_ratios(mine, theirs)
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def _say_reused(curves: Curves, options: argparse.Namespace) -> None:
    for engine in options.engines:
        count = sum(task.engine == engine for task in curves)
        if count:
            print(f"Reused from {options.json}: {count} curves of {engines.TITLES[engine]}, {engines.version(engine)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Regret of searches beside W&B's own engine.")
    parser.add_argument("--seeds", type=positive, default=20, help="how many seeds (20)")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help=f"the first of them ({FIRST_SEED})")
    parser.add_argument("--trials", type=positive, default=60, help="trials of each search (60)")
    parser.add_argument(
        "--mode", choices=[*PENDING, "both"], default="both", help="trials that run side by side (both)"
    )
    parser.add_argument("--engines", type=_some_of(engines.ENGINES), default=list(engines.ENGINES), metavar="A,B",
                        help=f"out of {', '.join(engines.ENGINES)}")  # fmt: skip
    parser.add_argument("--objectives", type=_some_of(OBJECTIVES | MOVED), default=list(OBJECTIVES), metavar="A,B",
                        help=f"out of {', '.join(OBJECTIVES)}, which are taken unless given; and of "
                             f"{', '.join(MOVED)}, whose optimum lies elsewhere for each seed")  # fmt: skip
    parser.add_argument("--jobs", type=positive, default=1, help="processes, each with one thread (1)")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="keep curves there, a line of JSON each; none is measured twice")  # fmt: skip
    return parser


def _some_of(allowed: dict[str, object] | dict[str, type]):  # type: ignore[no-untyped-def, type-arg]
    def read(text: str) -> list[str]:
        for name in text.split(","):
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; allowed are {', '.join(allowed)}")
        return text.split(",")

    return read


if __name__ == "__main__":
    sys.exit(main())
