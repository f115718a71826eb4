"""A wandb-core that is ready before its trial begins: ``wandb.init`` then finds it by WANDB_SERVICE.

Each trial has one of its own, a child of its guard. It ends as the one that wandb starts by itself does: told of the
trial's exit code when the trial ended by itself, and then as late as all is sent; at once when the trial was killed.
What wandb offers for this is private (``wandb/sdk/lib/service``, 0.28 to 0.31): where it is not found as it was there,
there is no spare, and ``wandb.init`` starts its own.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .. import guard

VARIABLE = "WANDB_SERVICE"
_TOKEN = re.compile(r"3-\d+-unix-(.+)")  # version 3 of what wandb writes into the variable


@dataclass
class Service:
    """A running wandb-core. ``token`` is the value of WANDB_SERVICE."""

    token: str
    path: str
    pids: set[int]
    connection: socket.socket | None = None

    def lives(self) -> bool:
        """To be asked by the parent only."""
        guard.reap(0, None)
        return any(guard.lives(pid) for pid in self.pids)

    def dismiss(self, status: int) -> set[int]:
        """Tell it that the trial ended with this wait status; the processes that are then to be waited for."""
        if os.WIFEXITED(status):
            try:
                self._teardown(os.waitstatus_to_exitcode(status))
                return self.pids
            except Exception as error:  # wandb's own formats: whatever is wrong, the trial is over
                os.write(2, f"sweepkit: wandb's service could not be told of the end: {error!r}\n".encode())
        guard.signal_all(self.pids, 0, signal.SIGTERM)
        return self.pids

    def _teardown(self, code: int) -> None:
        """What wandb's client sends at its exit (`ServiceConnection.teardown`)."""
        protocol: Any = import_module("wandb.proto.wandb_server_pb2")
        ended = protocol.ServerInformTeardownRequest(exit_code=code)
        data = protocol.ServerRequest(inform_teardown=ended).SerializeToString()
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(5.0)
        self.connection.connect(self.path)
        self.connection.sendall(struct.pack("<BI", ord("W"), len(data)) + data)


def start() -> Service | None:
    """One that runs, or None where wandb is not imported, not to be used, or not as it is known here."""
    if "wandb" not in sys.modules or os.environ.get("WANDB_MODE") == "disabled":
        return None
    with suppress(Exception):
        from wandb import Settings
        from wandb.sdk.lib.service import service_process

        protocol: Any = import_module("wandb.proto.wandb_server_pb2")
        protocol.ServerInformTeardownRequest(exit_code=0)
        process = service_process.start(Settings())
        match = _TOKEN.fullmatch(token := str(process.token.env_value))
        if match:
            return Service(token, match[1], guard.descendants(os.getpid()))
    guard.signal_all(guard.descendants(os.getpid()), 0, signal.SIGKILL)
    return None
