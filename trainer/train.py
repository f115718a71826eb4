"""One trial, from top to bottom: settings, data, model, epochs, checkpoints, end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import wandb
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from ..errors import SweepkitError, Unreachable, UsageError
from . import checkpoint, compute, config, distributed, naming, tasks
from .compute import Computing
from .distributed import ALONE, Ranks, silent_run
from .model import SmallCNN, make_optimizer
from .preemption import Preemption
from .state import Trial, keep_best, log_row, resume, save_best, save_last, start_together

PREEMPTED = 143  # 128 + SIGTERM, as a shell tells it
INTERRUPTED = 130
METRICS = ("train_loss", "val_loss", "val_acc", "best_val_acc", "learning_rate", "samples_per_second")

USAGE = f"""usage: python -m sweepkit.trainer [--key=value ...]

Trains one trial and logs it to W&B, or to the backend that WANDB_BASE_URL names. Keys: project,
{", ".join(config.NAMES)};
short: {", ".join(f"{short} = {name}" for short, name in config.ALIASES.items())}.
In a sweep the sweep's values win."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train one trial with the given arguments; the exit code.

    0 all epochs done, or stopped early by the sweep; 1 failed; 2 wrong input; 3 no backend; 130 interrupted;
    143 preempted (SIGTERM), to be resumed.
    """
    try:
        arguments = config.read_arguments(sys.argv[1:] if argv is None else argv)
        if "help" in arguments:
            print(USAGE)
            return 0
        with Preemption() as requests, distributed.join() as ranks:
            return _within_run(arguments, requests, ranks)
    except SweepkitError as error:
        return _tell(error)


def _within_run(arguments: dict[str, Any], requests: Preemption, ranks: Ranks) -> int:
    """Start the run, train, and end the run with the exit code, so that W&B records how it ended."""
    run = start_run(arguments, requests) if ranks.leads else silent_run(arguments)
    code = 1
    try:
        code = fit(prepare(run, arguments, ranks), requests)
    except SweepkitError as error:
        code = _tell(error)
    except KeyboardInterrupt:
        print("sweepkit: interrupted", file=sys.stderr)
        code = INTERRUPTED
    finally:
        run.finish(exit_code=code)
    return code


def start_run(arguments: dict[str, Any], requests: Preemption) -> wandb.Run:
    """``wandb.init`` with the arguments as configuration; a sweep's values win over them.

    Raises:
        Unreachable: the backend does not answer or refuses the key.
        UsageError: wandb refuses its settings.
    """
    given = os.environ.get("WANDB_PROJECT") or os.environ.get("WANDB_SWEEP_ID")
    project = arguments.pop("project", None) or (None if given else config.PROJECT)
    source = Path(__file__)
    options: dict[str, Any] = {
        "save_code": True,
        # `python -m` names no file, so wandb has to be told which one to save.
        "program_abspath": str(source),
        "program_relpath": f"sweepkit/trainer/{source.name}",
    }
    if "stop_fn" in wandb.Settings.model_fields:  # otherwise the client interrupts the main thread
        options["stop_fn"] = requests.stop
    try:
        return wandb.init(project=project, config=arguments, settings=wandb.Settings(**options))
    except wandb.errors.UsageError as error:
        raise UsageError(f"wandb: {error}", "`sweepkit run` sets up a backend that needs no account") from error
    except wandb.errors.Error as error:
        raise Unreachable(f"wandb: {error}", "check WANDB_BASE_URL and WANDB_API_KEY, or WANDB_MODE=offline") from error


def prepare(run: wandb.Run, arguments: Mapping[str, Any], ranks: Ranks = ALONE) -> Trial:
    """Hyperparameters, data, model and optimizer of a run; the weights and the data depend on the seed alone.

    Raises:
        UsageError: a hyperparameter, task or optimizer that does not exist, or data that are not there.
    """
    given = dict(run.config)
    if not run.resumed:
        config.check_names(given)
    hyper = config.read(given)
    task = tasks.find(hyper.task)
    hyper = replace(hyper, data_fraction=tasks.fraction_of(task, hyper.data_fraction))
    device = ranks.device()
    hyper = replace(hyper, precision=compute.resolve(hyper.precision, device))
    ranks.check_same(asdict(hyper))
    naming.name_run(run, arguments)
    run.config.update(config.missing(given, hyper))
    for metric in METRICS:  # charts over epochs; no summary= here, it would turn the plain summary values into dicts
        run.define_metric(metric, step_metric="epoch")
    run.summary.update({"task": task.name, "trainer": "sweepkit", "precision": hyper.precision})

    with ranks.leader_first():
        data = tasks.load(task, tasks.data_root(hyper.data_root), hyper.data_fraction or 1.0, hyper.seed)
    compute.prepare(device)
    mean, std = channel_statistics(data.train_x)
    torch.manual_seed(hyper.seed)
    model = SmallCNN(task.in_channels, len(task.classes), hyper.hidden_layer_width, hyper.dropout_p, mean, std)
    model.to(device)
    data = tasks.Data(*(tensor.to(device) for tensor in (data.train_x, data.train_y, data.val_x, data.val_y)))
    optimizer = make_optimizer(model, hyper)
    computing = Computing(device, hyper.precision)
    return Trial(run, hyper, task, data, model, optimizer, computing, ranks, checkpoint.folder(run.id))


def fit(trial: Trial, requests: Preemption) -> int:
    """Train all epochs that are not done yet; the exit code.

    Raises:
        SweepkitError: the loss is no longer a number, or a checkpoint cannot be written.
    """
    if trial.ranks.leads:
        resume(trial)
    start_together(trial)
    epochs = trial.hyper.epochs
    batches = -(-len(trial.data.train_x) // trial.hyper.batch_size)
    done = (trial.progress.epoch - 1) * batches + trial.progress.batch
    hidden = None if trial.ranks.leads else True  # None shows the bar on a terminal
    with tqdm(total=epochs * batches, initial=done, unit="batch", disable=hidden, file=sys.stderr) as bar:
        while trial.progress.epoch <= epochs:
            train_loss, speed = train_epoch(trial, requests, bar)
            if request := trial.ranks.agree(requests.requested):
                return end_early(trial, request)
            finish_epoch(trial, train_loss, speed)
            bar.set_postfix(trial.progress.history[-1], refresh=False)
    keep_best(trial)
    return 0


def train_epoch(trial: Trial, requests: Preemption, bar: tqdm[Any]) -> tuple[float, float]:
    """The rest of the epoch under way: (mean loss of its images, images a second). Ends early on a request."""
    x, y, size = trial.data.train_x, trial.data.train_y, trial.hyper.batch_size
    progress, ranks = trial.progress, trial.ranks
    order = torch.randperm(len(x), generator=epoch_generator(trial.hyper.seed, progress.epoch)).to(x.device)
    trial.model.train()
    started, images = time.perf_counter(), 0
    total = torch.tensor(progress.loss_sum, dtype=torch.float64, device=x.device)
    for chosen in order.split(size)[progress.batch :]:
        if ranks.agree(requests.requested):
            break
        ranks.draw(trial.hyper.seed, progress.epoch, progress.batch)
        total += step(trial.model, trial.optimizer, x[chosen], y[chosen], trial.computing, ranks) * len(chosen)
        images += len(chosen)
        progress.batch += 1
        bar.update()
    progress.loss_sum = total.item()
    return progress.loss_sum / len(x), images / max(time.perf_counter() - started, 1e-9)


def step(
    model: SmallCNN, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, computing: Computing, ranks: Ranks = ALONE
) -> Tensor:
    """One step on one batch, of which each rank computes its part; the loss of all of it before the step.

    A closure, because LBFGS evaluates it several times.
    """

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            with computing.precise():
                logits = model(ranks.part(x))
            # Of the whole batch: the ranks' gradients add up to that of its mean.
            loss = functional.cross_entropy(logits.float(), ranks.part(y), reduction="sum") / len(x)
            loss.backward()
        ranks.add_gradients(model)
        return ranks.total(loss)

    return compute.take_step(optimizer, closure).detach()


@torch.inference_mode()
def evaluate(model: SmallCNN, x: Tensor, y: Tensor, computing: Computing, ranks: Ranks = ALONE) -> tuple[float, float]:
    """(mean cross-entropy, accuracy from 0 to 1) over all images, of which each rank looks at its part."""
    model.eval()
    images, labels = ranks.part(x), ranks.part(y)
    size = 500 if x.device.type == "cpu" else 5000
    sums = torch.zeros(2, dtype=torch.float64, device=x.device)  # on the device: reading a value waits for it
    for some, theirs in zip(images.split(size), labels.split(size), strict=True):
        with computing.precise():
            logits = model(some).float()
        sums[0] += functional.cross_entropy(logits, theirs, reduction="sum")
        sums[1] += (logits.argmax(1) == theirs).sum()
    loss, right = ranks.total(sums).tolist()
    return loss / len(x), right / len(x)


def finish_epoch(trial: Trial, train_loss: float, speed: float) -> None:
    """Validate, keep the best, log the epoch's row, write the last checkpoint."""
    progress = trial.progress
    val_loss, val_acc = evaluate(trial.model, trial.data.val_x, trial.data.val_y, trial.computing, trial.ranks)
    if not (abs(train_loss) < float("inf") and abs(val_loss) < float("inf")):  # false for NaN too
        raise SweepkitError(
            f"the loss is no longer a number in epoch {progress.epoch} (train {train_loss}, val {val_loss})",
            f"try a smaller lr than {trial.hyper.lr:g}",
        )
    if val_acc > progress.best_val_acc:  # the earlier epoch keeps a tie
        progress.best_val_acc = val_acc
        save_best(trial, {"val_acc": val_acc, "val_loss": val_loss})
    learning_rate = float(trial.optimizer.param_groups[0]["lr"])
    values = (train_loss, val_loss, val_acc, progress.best_val_acc, learning_rate, speed)
    row = {"epoch": progress.epoch, **dict(zip(METRICS, values, strict=True))}
    trial.progress = replace(progress, epoch=progress.epoch + 1, batch=0, loss_sum=0.0)
    trial.progress.history.append(row)
    log_row(trial.run, row)
    save_last(trial)


def end_early(trial: Trial, request: str) -> int:
    """Checkpoint in the middle of an epoch; the exit code."""
    save_last(trial)
    where = f"epoch {trial.progress.epoch}, batch {trial.progress.batch}"
    if not trial.ranks.leads:
        return 0 if request == "stop" else PREEMPTED
    if request == "stop":
        print(f"sweepkit: the backend stopped this run in {where}", file=sys.stderr)
        keep_best(trial)
        return 0
    print(f"sweepkit: preempted in {where}; a run with the same id and WANDB_RESUME=allow goes on", file=sys.stderr)
    trial.run.mark_preempting()
    return PREEMPTED


def channel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of (N, C, H, W), shape (C,); 1 for a constant channel."""
    moments = [_moments(channel) for channel in x.transpose(0, 1).flatten(1)]
    mean, std = torch.stack([torch.stack(pair) for pair in moments], dim=1)
    return mean.float(), torch.where(std > 0, std, 1.0).float()


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation in float64; of bytes by counting them, which needs no copy eight times as large."""
    if values.dtype != torch.uint8:
        return values.double().mean(), values.double().std(unbiased=False)
    share = torch.bincount(values, minlength=256).double() / len(values)
    value = torch.arange(256, dtype=torch.float64)
    mean = (share * value).sum()
    return mean, (share * (value - mean) ** 2).sum().sqrt()


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The order of an epoch's batches depends on seed and epoch alone, so that a resumed epoch has the same."""
    return torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)


def _tell(error: SweepkitError) -> int:
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
    return error.exit_code
