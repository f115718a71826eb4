"""How a trial computes: in which precision, in how large pieces, and with how little of torch around it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

# Bytes of the largest layer's output that are worked on at once on a CPU. What is larger falls out of the caches, and
# the allocator gives it back to the system after each layer, which then has to zero new pages for the next one.
_PIECE = 16 * 2**20
_ALL = 4096  # images at once on a GPU, when validating


@dataclass(frozen=True)
class Computing:
    """Where and how a trial computes. ``precision`` is "bf16" or "fp32"; ``piece`` images go through the model at once.

    bf16 is torch's automatic mixed precision: convolutions and matrix products in bfloat16, the weights, the gradients
    of the weights, the loss and the optimizer in float32.
    """

    device: torch.device
    precision: str = "fp32"
    piece: int = _ALL

    def precise(self) -> AbstractContextManager[object]:
        """The context in which the model is called."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    def pieces(self, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels, a piece after the other."""
        return zip(x.split(self.piece), y.split(self.piece), strict=True)


def resolve(asked: str, device: torch.device) -> str:
    """The precision to compute in, "bf16" or "fp32", where "auto", "bf16" or "fp32" was asked for."""
    if asked != "auto":
        return asked
    return "bf16" if has_bf16(device) else "fp32"


def plan(precision: str, device: torch.device, image: torch.Size, width: int) -> Computing:
    """How to compute on ``device`` with images of shape (C, H, W) and ``width`` channels behind the first convolution.

    The pieces do not depend on the machine, so that a seed gives the same dropout everywhere.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # every batch but the last has the same shape
        return Computing(device, precision)
    fit = max(1, _PIECE // (4 * width * image[1] * image[2]))
    return Computing(device, precision, 1 << (fit.bit_length() - 1))  # a power of two: it divides the usual batches


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 faster than float32: AMX or AVX512_BF16, or a GPU from Ampere on.

    Elsewhere torch computes in bfloat16 as well, but emulates it, which is slower than float32.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if not torch.backends.mkldnn.is_available():
        return False
    # torch.cpu.get_capabilities() tells it too, but only since 2.10; what is missing in older versions means no.
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


def leave_compiler_out() -> None:
    """Let optimizers be made and saved without torch's compiler: importing it costs each trial a second.

    These methods ask ``torch._dynamo`` for a version of themselves that is never compiled, once, and keep it in this
    attribute (`torch/_compile.py`). Nothing here is ever compiled, so the method itself is that version.
    """
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        method = inspect.unwrap(getattr(torch.optim.Optimizer, name))
        setattr(method, "__dynamo_disable", method)  # noqa: B010  (in a function, __name would do as well)


def take_step(optimizer: torch.optim.Optimizer, closure: Callable[[], Tensor]) -> Tensor:
    """``optimizer.step(closure)`` without its decorators, which import ``torch._dynamo`` too and turn gradients off."""
    step = inspect.unwrap(type(optimizer).step)
    with torch.no_grad():
        return torch.as_tensor(step(optimizer, closure))
