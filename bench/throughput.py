"""How fast trials are: the seed job in the trainer against a plain PyTorch loop, and sweeps on 1, 2 and 4 slots.

    python bench/throughput.py --data-root DIR [--quick] [--only PART ...] [--json FILE]

DIR holds MNIST/raw. With a GPU, the sweeps run on it instead, with 1, 4, 8 and `auto` trials at a time. See
docs/benchmarks.md for what is measured how, and what may be doubted about it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import crowd
import servers
from options import positive
from report import Figure, Report, machine
from servers import Server

FRACTION, WIDTH, BATCH, LR = 0.2, 64, 512, 1e-4  # the seed job; the trainer's own defaults
_FILES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
_LONGEST = 3600.0  # seconds that one trial or sweep may take


@dataclass(frozen=True)
class Outcome:
    """One run of the seed job. Times in seconds, an entry an epoch."""

    who: str
    seed: int
    images: int  # of an epoch
    training: list[float]
    rest: list[float]  # validation, and in the trainer checkpoints and logging too
    accuracy: list[float]
    seconds: float  # the whole process, from its start to its end
    cpu: float  # that it and its children worked
    precision: str = "fp32"

    def rate(self, after: int = 0) -> float:
        """Images a second over the training of all epochs after the first ``after``."""
        return self.images * len(self.training[after:]) / sum(self.training[after:])


@dataclass
class Bench:
    """What all parts share."""

    folder: Path
    report: Report
    data_root: Path
    seeds: int
    epochs: int
    trials: int
    gpu: bool
    outcomes: list[Outcome] = field(default_factory=list)


def seed_job(bench: Bench) -> None:
    """MNIST, a fifth, width 64, batch 512: images a second and accuracy, the contenders one after the other."""
    check_data(bench.data_root)
    with servers.sweepkit(bench.folder / "seed-job") as server:
        trial(
            bench, server, 0, "auto", 1
        )  # decodes the dataset for this host, once, as the first trial of a sweep does
        found = [outcome for seed in range(bench.seeds) for outcome in _one_of_each(bench, server, seed)]
    bench.outcomes += found
    plain = [outcome for outcome in found if outcome.who == "plain loop"]
    goal = "20x" if bench.gpu else "3x"
    for who in dict.fromkeys(outcome.who for outcome in found if outcome.who != "plain loop"):
        ours = [outcome for outcome in found if outcome.who == who]
        asked = who.removeprefix("trainer ")
        # In the first epoch CUDA and its libraries are loaded, which is no training.
        for after, name in ((0, f"training, {asked}"), (1, f"training after the first epoch, {asked}")):
            rates = [mean(outcome.rate(after) for outcome in each) for each in (ours, plain)]
            bench.report.add(Figure(name, "images/s", rates[0], "plain loop", rates[1], goal))
        rests = [mean(mean(outcome.rest) for outcome in each) for each in (ours, plain)]
        bench.report.add(
            Figure(f"an epoch but its training, {asked}", "s", rests[0], "plain loop", rests[1], "", False)
        )
        whole = [mean(outcome.seconds for outcome in each) for each in (ours, plain)]
        what = f"the whole job, {bench.epochs} epochs, {asked}"
        bench.report.add(Figure(what, "s", whole[0], "plain loop", whole[1], "", False))
        worked = [mean(outcome.cpu for outcome in each) for each in (ours, plain)]
        bench.report.add(Figure(f"the same, {asked}", "s of CPU", worked[0], "plain loop", worked[1], "", False))
        bench.report.note(accuracies(ours, plain))


def _one_of_each(bench: Bench, server: Server, seed: int) -> Iterator[Outcome]:
    """The contenders in turn, so that a machine that slows down slows all of them."""
    yield plain_loop(bench, seed)
    usual = trial(bench, server, seed, "auto", bench.epochs)
    yield usual
    if usual.precision != "fp32":
        yield trial(bench, server, seed, "fp32", bench.epochs)


def plain_loop(bench: Bench, seed: int) -> Outcome:
    given = {"data_root": str(bench.data_root), "seed": seed, "epochs": bench.epochs}
    job = {"fraction": FRACTION, "batch_size": BATCH, "width": WIDTH, "lr": LR}
    began, before = time.monotonic(), _worked()
    done = _run([sys.executable, str(crowd.CLIENTS / "plain_loop.py"), json.dumps({**given, **job})], {})
    told = json.loads(done.splitlines()[-1])
    took = time.monotonic() - began, _worked() - before
    return Outcome("plain loop", seed, told["images"], told["training"], told["rest"], told["accuracy"], *took)


def trial(bench: Bench, server: Server, seed: int, precision: str, epochs: int) -> Outcome:
    """The trainer as an agent starts it, with the real client and the embedded backend."""
    run = f"{precision}-{seed}-{epochs}"
    given = {"data_root": bench.data_root, "seed": seed, "epochs": epochs}
    given |= {"precision": precision} if precision != "auto" else {}  # what the default is, is recorded by itself
    job = {"data_fraction": FRACTION, "batch_size": BATCH, "width": WIDTH, "lr": LR, "project": "throughput"}
    command = [
        sys.executable,
        "-m",
        "sweepkit.trainer",
        *(f"--{key}={value}" for key, value in {**given, **job}.items()),
    ]
    variables = {
        "WANDB_BASE_URL": server.url,
        "WANDB_API_KEY": server.key,
        "WANDB_ENTITY": server.entity,
        "WANDB_DIR": str(bench.folder),
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
    }
    began, before = time.monotonic(), _worked()
    _run(command, {**variables, "WANDB_RUN_ID": run, "SWEEPKIT_CHECKPOINTS": str(bench.folder / "checkpoints")})
    took = time.monotonic() - began, _worked() - before
    told: dict[str, Any] = crowd.ask(
        sys.executable, "trial_rows.py", {"path": f"{server.entity}/throughput/{run}"}, **variables
    )
    if len(told["val_acc"]) != epochs:
        raise SystemExit(f"the trial logged {len(told['val_acc'])} of {epochs} epochs")
    images = round(60_000 * FRACTION)
    training = [images / rate for rate in told["samples_per_second"]]
    # An epoch ends when its row is logged; of the first one it is not known when it began.
    ends = told["_timestamp"]
    rest = [end - start - trained for start, end, trained in zip(ends, ends[1:], training[1:], strict=False)]
    used = told["precision"]
    return Outcome(f"trainer {used}", seed, images, training, rest, told["val_acc"], *took, used)


def accuracies(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> str:
    """Accuracies after the last epoch, mean and spread over the seeds, and whether noise explains the difference."""
    last = [[outcome.accuracy[-1] for outcome in each] for each in (ours, theirs)]
    means = [mean(values) for values in last]
    spreads = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in last]
    both = zip((ours[0].who, "the plain loop"), means, spreads, strict=True)
    told = "accuracy of " + ", of ".join(f"{who}: {middle:.4f} +- {spread:.4f}" for who, middle, spread in both)
    if len(ours) < 2:
        return f"{told} (one seed tells nothing about noise)"
    error = (sum(spread**2 for spread in spreads) / len(ours)) ** 0.5
    verdict = "equal within noise" if abs(means[0] - means[1]) <= 2 * error else "NOT equal within noise"
    return f"{told}: {verdict} (difference {means[0] - means[1]:+.4f}, its standard error {error:.4f})"


def slots(bench: Bench) -> None:
    """Trials an hour of the digits sweep through `sweepkit run`, all of the command counted, on 1, 2 and 4 slots."""
    if bench.gpu:
        ways = [(f"{count} on one GPU", ["--gpus", "0", "--per-gpu", count]) for count in ("1", "4", "8", "auto")]
    else:
        ways = [(f"{count} slot{'s' if count > 1 else ''}", ["--cpu-slots", str(count)]) for count in (1, 2, 4)]
        bench.report.note("no GPU here: trials on one GPU, 1, 4, 8 and auto at a time, are not measured")
    first: float | None = None
    for name, options in ways:
        with _home(bench.folder / f"slots-{options[-1]}") as variables:
            # The grid's configurations are the same each time; a GPU needs more of them than it has.
            rate = _sweep("digits-random" if bench.gpu else "digits-grid", bench.trials, options, variables)
        if rate is None:
            continue
        bench.report.add(Figure(f"digits sweep, {name}", "trials/h", rate, ways[0][0] if first else "", first))
        first = first or rate


def _sweep(name: str, trials: int, options: Sequence[str], variables: dict[str, str]) -> float | None:
    """Trials an hour; None if this sweepkit does not know these options."""
    command = ["sweepkit", "run", name, "--trials", str(trials), "--no-promote", "--backend", "embedded"]
    began = time.monotonic()
    done = subprocess.run(
        [*command, *options], env={**_environment(), **variables}, capture_output=True, text=True, timeout=_LONGEST
    )
    took = time.monotonic() - began
    if done.returncode == 2:
        print(f"  {' '.join(options)}: {done.stderr.strip()[-300:]}", flush=True)
        return None
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return trials / took * 3600


@contextmanager
def _home(folder: Path) -> Iterator[dict[str, str]]:
    """A data folder with an embedded backend of its own, which is ended with it."""
    folder.mkdir()
    variables = {"SWEEPKIT_HOME": str(folder), "WANDB_DIR": str(folder), "WANDB_ERROR_REPORTING": "false"}
    environment = {**_environment(), **variables}
    subprocess.run(["sweepkit", "serve"], env=environment, capture_output=True, check=True)
    try:
        yield variables
    finally:
        subprocess.run(["sweepkit", "serve", "--stop"], env=environment, capture_output=True, check=False)


def _environment() -> dict[str, str]:
    """This process's, without what points a wandb client anywhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}


def _run(command: list[str], variables: dict[str, str]) -> str:
    """What a command prints; SystemExit with what it said when it fails."""
    environment = {**_environment(), **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_LONGEST)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command[:4])} ended with {done.returncode}:\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
        )
    return done.stdout


def _worked() -> float:
    """Seconds of CPU time of all child processes that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def check_data(root: Path) -> None:
    """Raises SystemExit, with what to do, when MNIST is not there: a download would be measured too."""
    missing = [name for name in _FILES if not (root / "MNIST" / "raw" / name).is_file()]
    if missing:
        raise SystemExit(
            f"MNIST is not in {root}: there is no MNIST/raw/{missing[0]}\n"
            f"Put the four files of MNIST (unpacked) there, or have torchvision fetch them, once, with a network:\n"
            f"  python -c \"from torchvision.datasets import MNIST; MNIST('{root}', download=True)\""
        )


def mean(values: Any) -> float:
    return float(statistics.fmean(values))


PARTS: dict[str, Callable[[Bench], None]] = {"seed_job": seed_job, "slots": slots}


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers are ended and the folders go, as after Ctrl-C
    if shutil.which("sweepkit") is None:
        raise SystemExit("there is no command `sweepkit` on the PATH: pip install -e . first")
    asked = "import torch; print(torch.__version__, torch.get_num_threads(), torch.cuda.is_available())"
    version, threads, gpu = _run([sys.executable, "-c", asked], {}).split()
    here = {**machine(), "torch": version, "threads": int(threads), "gpu": gpu == "True"}
    print(here, flush=True)
    began, report = time.monotonic(), Report()
    seeds, epochs, trials = (1, 2, 4) if options.quick else (options.seeds, options.epochs, 16)
    with tempfile.TemporaryDirectory(prefix="sweepkit-bench-", dir=options.folder) as folder:
        root = options.data_root.absolute()
        bench = Bench(Path(folder), report, root, seeds, epochs, trials * (4 if here["gpu"] else 1), bool(here["gpu"]))
        for name in options.only or PARTS:
            PARTS[name](bench)
    report.note(f"took {time.monotonic() - began:.0f} s; load average at the end {machine()['load']}")
    if options.json:
        report.save(options.json, here=here, quick=options.quick, runs=[asdict(each) for each in bench.outcomes])
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("SWEEPKIT_DATA_ROOT") or Path.home() / ".cache" / "sweepkit" / "data")
    parser.add_argument("--data-root", type=Path, metavar="DIR", default=default, help=f"has MNIST/raw; else {default}")
    parser.add_argument("--seeds", type=positive, default=3, help="runs of each contender (3)")
    parser.add_argument("--epochs", type=positive, default=15, help="of the seed job (15)")
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs, four trials: to see that it works")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where the temporary folder is made")
    options = parser.parse_args()
    if options.seeds < 1 or options.epochs < 2:
        parser.error("--seeds takes 1 or more, and --epochs 2 or more: the first epoch's start is not known")
    return options


if __name__ == "__main__":
    sys.exit(main())
