"""The commands that look after the embedded backend: parse, call, print, as in ``cli.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import output
from .command_line import common
from .errors import SweepkitError, UsageError
from .output import message

if TYPE_CHECKING:
    from .home import Server


def start_backend(port: int | None = None) -> Server:
    """The embedded backend, which is started if it does not run."""
    from .backend import daemon

    try:
        return daemon.start(port)
    except SweepkitError as error:
        from .doctor import cause

        raise cause(error) from error


@click.command()
@common
@click.option("--stop", is_flag=True, help="End the embedded backend.")
@click.option("--port", type=click.IntRange(0, 65535), help="Its port; by default that of last time.")
@click.option("--open", "browse", is_flag=True, help="Open its pages in the browser.")
def serve(backend: str, format: str, stop: bool, port: int | None, browse: bool) -> None:
    """Start the embedded backend, or stop it; its data stays."""
    from .backend import daemon
    from .home import home

    if backend == "wandb":
        raise UsageError("`serve` starts the embedded backend; W&B's servers need no starting", "leave --backend out")
    if stop:
        message("stopped" if daemon.stop() else "it was not running")
        return
    server = start_backend(port)
    address = daemon.login_url("/")
    answer = {"url": server.url, "entity": server.entity, "pid": server.pid, "home": str(home()), "login": address}
    output.emit(answer, format, {"url": "serving at", "home": "data", "pid": "process", "login": "open"}, value="url")
    if browse:
        click.launch(address)


COMMANDS: list[click.Command] = [serve]
