"""Several processes that train one trial together, as torchrun starts them; mostly, it is one process alone.

Rank 0, the leader, opens the run, logs, checkpoints and reports. The others read the same configuration from the file
that W&B's agent names, and compute their part of every batch; the gradients are added up, so that the batch, and with
it what a learning rate means, is as large as with one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from ..errors import SweepkitError, UsageError

if TYPE_CHECKING:
    import wandb

T = TypeVar("T")
_REQUESTS = (None, "stop", "preempt")  # by urgency


class Ranks:
    """The processes of a trial: ``count`` of them, of which this is the one with ``index``, on ``device``.

    Every method that talks to the others must be called by all of them, in the same order.
    """

    def __init__(self, index: int = 0, count: int = 1, device: torch.device | None = None) -> None:
        self.index = index
        self.count = count
        self._device = device

    @property
    def leads(self) -> bool:
        return self.index == 0

    def device(self) -> torch.device:
        """Where this rank computes."""
        return self._device or torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def part(self, batch: Tensor) -> Tensor:
        """This rank's part of a batch; of a small one perhaps nothing."""
        return batch if self.count == 1 else batch[self.index :: self.count]

    def total(self, value: Tensor) -> Tensor:
        """The sum of ``value`` over all ranks, without its gradient."""
        value = value.detach()
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def add_gradients(self, model: nn.Module) -> None:
        """Give every rank the sum of all ranks' gradients, in one message.

        DistributedDataParallel sends them while they are computed, which is worth its cost where the model is large.
        """
        if self.count == 1:
            return
        gradients = [each.grad for each in model.parameters() if each.grad is not None]
        sums = self.total(torch.cat([each.flatten() for each in gradients]))
        for gradient, added in zip(gradients, sums.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(added.view(gradient.shape))

    def agree(self, request: str | None) -> str | None:
        """The most urgent request that any rank has got, so that all end after the same batch."""
        if self.count == 1:
            return request
        urgency = torch.tensor(_REQUESTS.index(request))
        distributed.all_reduce(urgency, distributed.ReduceOp.MAX)
        return _REQUESTS[int(urgency)]

    def from_leader(self, value: T) -> T:
        """The leader's ``value``."""
        if self.count == 1:
            return value
        values = [value if self.leads else None]
        distributed.broadcast_object_list(values)
        return values[0]  # type: ignore[return-value]

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """What the leader does here, such as a download, is done when the others do it."""
        if self.count > 1 and not self.leads:
            distributed.barrier()
        yield
        if self.count > 1 and self.leads:
            distributed.barrier()

    def draw(self, seed: int, epoch: int, batch: int) -> None:
        """Seed a batch's dropout: other channels on each rank, and the same ones when a resumed epoch repeats it."""
        if self.count > 1:
            torch.manual_seed(hash((seed, epoch, batch, self.index)) % 2**63)

    def check_same(self, settings: Mapping[str, Any]) -> None:
        """Refuse to train with settings other than the leader's. Raises UsageError."""
        for name, value in self.from_leader(dict(settings)).items():
            if settings[name] != value:
                raise UsageError(
                    f"rank {self.index} has {name}={settings[name]!r}, but the run has {name}={value!r}",
                    "all ranks need the same arguments, and the file that WANDB_SWEEP_PARAM_PATH names",
                )


ALONE = Ranks()


class SilentRun:
    """What a rank that does not lead has in place of a run: the same configuration, and nothing is recorded.

    ``wandb.init(mode="disabled")`` would start another of wandb's processes for each rank, for nothing.
    """

    resumed = True  # names are checked, and given, by the leader
    step = 0

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.id = os.environ.get("WANDB_RUN_ID", "")
        self.config: dict[str, Any] = {**arguments, **_swept()}
        self.summary: dict[str, Any] = {}

    def define_metric(self, *names: str, **options: Any) -> None:
        pass

    def log(self, row: Mapping[str, Any], **options: Any) -> None:
        pass

    def finish(self, exit_code: int = 0) -> None:
        pass


def silent_run(arguments: Mapping[str, Any]) -> wandb.Run:
    """A ``SilentRun``, for code that need not know which rank it runs in."""
    return cast("wandb.Run", SilentRun(arguments))


@contextmanager
def join() -> Iterator[Ranks]:
    """The ranks that torchrun started, connected; else this process alone.

    Raises:
        UsageError: fewer GPUs than ranks.
        SweepkitError: another rank died.
    """
    count = int(os.environ.get("WORLD_SIZE") or 1)
    if count == 1 or "RANK" not in os.environ:
        yield ALONE
        return
    device = _device(int(os.environ.get("LOCAL_RANK") or 0), int(os.environ.get("LOCAL_WORLD_SIZE") or count))
    try:
        # Flags and settings travel between the CPUs, so that they wait for no GPU.
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), device)
        distributed.destroy_process_group()
    except RuntimeError as error:
        if not _of_communication(error):
            raise
        raise SweepkitError(
            "another process of this trial died, so this one ends too", "its output says why"
        ) from error


def _device(local: int, count: int) -> torch.device:
    """A GPU for each rank of this host, or the CPU, whose threads are shared out."""
    if not torch.cuda.is_available():
        torch.set_num_threads(max(1, torch.get_num_threads() // count))
        return torch.device("cpu")
    if torch.cuda.device_count() < count:
        found = f"{count} ranks were started, but this trial has {torch.cuda.device_count()} GPUs"
        raise UsageError(found, "give it more (--gpus-per-trial) or start fewer (torchrun --nproc_per_node)")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _of_communication(error: RuntimeError) -> bool:
    """Whether the others cannot be reached; gloo tells it by a plain RuntimeError."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error) or "Connection" in str(error)


def _swept() -> dict[str, Any]:
    """The sweep's values, from the file that every agent of W&B's protocol writes and ``wandb.init`` reads."""
    file = os.environ.get("WANDB_SWEEP_PARAM_PATH")
    if not file:
        return {}
    import yaml  # wandb has it

    entries = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
    return {name: entry["value"] for name, entry in entries.items() if isinstance(entry, dict) and "value" in entry}
