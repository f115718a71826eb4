"""How a trial computes: in which precision, with which settings, and with how little of torch around it."""

from __future__ import annotations

import ctypes
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt (malloc.h)
_KEPT = 2**30


@dataclass(frozen=True)
class Computing:
    """Where and in which precision, "bf16" or "fp32", a trial computes.

    bf16 is torch's automatic mixed precision: convolutions and matrix products in bfloat16, the weights, the gradients
    of the weights, the loss and the optimizer in float32.
    """

    device: torch.device
    precision: str = "fp32"

    def precise(self) -> AbstractContextManager[object]:
        """The context in which the model is called."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")


def resolve(asked: str, device: torch.device) -> str:
    """The precision to compute in, "bf16" or "fp32", where "auto", "bf16" or "fp32" was asked for."""
    if asked != "auto":
        return asked
    return "bf16" if has_bf16(device) else "fp32"


def prepare(device: torch.device) -> None:
    """Settings of this process that make training on ``device`` fast and change no result."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True  # every batch but the last has the same shape
    else:
        _keep_memory()
    _leave_compiler_out()


def _keep_memory() -> None:
    """Let glibc keep freed memory for the next layer.

    By default it gives blocks above 32 MiB, which many activations are, back to the system at once, and the next layer
    waits for the kernel to zero new pages: a quarter of all the time with MNIST in batches of 512.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library; Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _KEPT)
        mallopt(_TRIM_THRESHOLD, _KEPT)


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


def _leave_compiler_out() -> None:
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
