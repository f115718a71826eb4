"""The commands that look after the embedded backend: parse, call, print, as in ``cli.py``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from . import output
from .command_line import Group, common
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


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def user(context: click.Context) -> None:
    """The people who may use the embedded backend."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@user.command("add")
@common
@click.argument("name")
@click.option("--key", help="The key, of at least 40 characters; a random one when not given. - reads it from stdin.")
@click.option("--admin", is_flag=True, help="An administrator: may change everything, and add and remove users.")
def add_user(backend: str, format: str, name: str, key: str | None, admin: bool) -> None:
    """Let a person in: a key, shown this once, and an entity."""
    answer = _administer(backend, "POST", "users", json={"name": name, "key": _key(key), "admin": admin})
    if not answer["new"]:
        message(f"{name} is there already, with this key")
    _tell_key(answer, format)


@user.command("key")
@common
@click.argument("name")
@click.option("--key", help="The new key; a random one when not given. - reads it from stdin.")
def change_key(backend: str, format: str, name: str, key: str | None) -> None:
    """Give a user a new key; the old one stops working."""
    _tell_key(_administer(backend, "POST", f"users/{quote(name, safe='')}/key", json={"key": _key(key)}), format)


@user.command("list")
@common
def list_users(backend: str, format: str) -> None:
    """The users, their roles and how many projects they have."""
    found = _administer(backend, "GET", "users")["users"]
    output.emit(
        found, format, {"name": "user", "role": "role", "projects": "projects", "created_at": "since"}, value="name"
    )


@user.command("remove")
@common
@click.argument("name")
def remove_user(backend: str, format: str, name: str) -> None:
    """Let a person in no longer; the projects stay."""
    answer = _administer(backend, "DELETE", f"users/{quote(name, safe='')}")
    record = {"name": answer["name"], "projects": answer["projects"]}
    output.emit(record, format, {"name": "removed", "projects": "projects left"}, value="name")
    message(f"the key of {name} has stopped working; what lies in {name}/ stays, and is the administrators' to change")


@click.command()
@common
@click.option("--dry-run", is_flag=True, help="Only say what would be freed.")
def gc(backend: str, format: str, dry_run: bool) -> None:
    """Free the space of what was deleted in the embedded backend."""
    answer = _administer(backend, "POST", "gc", params={"dry_run": int(dry_run)})
    record = {name: answer[name] for name in ("blobs", "bytes", "store_bytes", "dry_run")}
    shown = {**record, "bytes": output.size(record["bytes"]), "store_bytes": output.size(record["store_bytes"])}
    columns = {"blobs": "files", "bytes": "would be freed" if dry_run else "freed", "store_bytes": "of the database"}
    output.emit(shown if format == "table" else record, format, columns, value="bytes")


@click.command()
@common
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def backup(backend: str, format: str, file: Path, force: bool) -> None:
    """Save all of the embedded backend in one file, while it works."""
    from .backend.backup import client

    _only_embedded(backend)
    made = client.save(start_backend(), file, force)
    record = {name: made[name] for name in ("file", "bytes", "blobs", "created_at", "missing")}
    shown = {**record, "bytes": output.size(record["bytes"])} if format == "table" else record
    output.emit(shown, format, {"file": "backup", "bytes": "size", "blobs": "files"}, value="file")
    message("it holds the keys of the backend: keep it as you keep those")
    if made["missing"]:
        message(f"warning: {len(made['missing'])} file contents that the store names were not there to be saved")


@click.command()
@common
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Though the data folder holds a store; that is kept beside.")
def restore(backend: str, format: str, file: Path, force: bool) -> None:
    """Put a backup in the place of the embedded backend's data."""
    from .backend.backup import client

    _only_embedded(backend)
    done = client.restore(file, force)
    former = str(done.former) if done.former else None
    record = {"url": done.server.url, "created_at": done.head["created_at"], "former": former}
    columns = {"url": "serving at", "created_at": "as it was at", "former": "the former store"}
    output.emit(record, format, columns, value="url")


def _only_embedded(backend: str) -> None:
    if backend == "wandb":
        raise UsageError("this looks after the embedded backend, not after W&B's servers", "leave --backend out")


def _administer(backend: str, method: str, path: str, **options: Any) -> dict[str, Any]:
    """What the embedded backend, started if need be, answers to an administrator; with its ``url``."""
    from .backend import daemon

    _only_embedded(backend)
    server = start_backend()
    return {**daemon.administer(server, method, path, **options).json(), "url": server.url}


def _key(given: str | None) -> str | None:
    return sys.stdin.readline().strip() if given == "-" else given


def _tell_key(answer: dict[str, Any], format: str) -> None:
    record = {"name": answer["name"], "key": answer["key"], "url": answer["url"]}
    output.emit(record, format, {"name": "user", "url": "WANDB_BASE_URL", "key": "WANDB_API_KEY"}, value="key")
    message("the key is not shown again; it opens the pages too")


COMMANDS: list[click.Command] = [serve, user, backup, restore, gc]
