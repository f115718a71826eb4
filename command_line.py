"""How the ``sweepkit`` command meets its user: the options that commands share, did-you-mean, errors and exit codes."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar

import click

from .errors import SweepkitError, UsageError
from .output import FORMATS, message
from .sweeps.agents.options import AUTO, AgentOptions
from .sweeps.agents.policy import ALLOWED, DEFAULT_RETRIES, DEFAULT_RETRY_ON, parse_duration, parse_retry_on

ISSUES = "please report this, with the output of the same command with --debug and of `sweepkit doctor`"
BACKENDS = ("auto", "embedded", "wandb")

Function = TypeVar("Function", bound=Callable[..., Any])


class Group(click.Group):
    """Commands in the order of the story; a misspelt one is answered with the one that was meant."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in self.commands or name.startswith("-"):
            return super().resolve_command(context, args)
        near = get_close_matches(name, self.commands, n=1, cutoff=0.5)
        hint = f"did you mean `{context.command_path} {near[0]}`?" if near else f"commands: {', '.join(self.commands)}"
        raise UsageError(f"there is no command {name!r}", hint)


class Count(click.ParamType):
    """A whole number from 1, or ``auto``."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == AUTO:
            return AUTO
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number < 1:
            self.fail(f"{value!r} is neither a whole number from 1 nor auto", param, ctx)
        return number


def common(function: Function) -> Function:
    """The options that every command has."""
    answer = click.option("--format", type=click.Choice(FORMATS), default="table", help="How the answer is written.")
    return served(answer(function))


def served(function: Function) -> Function:
    """The options of a command that asks a backend and whose answer has one form only."""
    backend = click.option("--backend", type=click.Choice(BACKENDS), default="auto", help="Who serves.")
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    return debug(backend(function))


def agent_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where and how trials run; the command gets all of it as ``agents``, an ``AgentOptions``."""

    @functools.wraps(function)
    def collected(**given: Any) -> Any:
        own = {each.name: given.pop(each.name) for each in fields(AgentOptions)}
        return function(agents=AgentOptions(**own), **given)

    for option in reversed(_AGENT_OPTIONS):
        collected = option(collected)
    return collected


# fmt: off
_AGENT_OPTIONS = (
    click.option("--gpus", metavar="all|0,1", help="Which GPUs; all when not given."),
    click.option("--per-gpu", type=Count(), default=1,
                 help="Trials at a time on each GPU; auto measures how many pay."),
    click.option("--gpus-per-trial", type=click.IntRange(min=1), default=1, help="GPUs that each trial has."),
    click.option("--cpu-slots", type=Count(), help="So many slots on the CPU; auto measures how many pay."),
    click.option("--retries", type=click.IntRange(min=0), default=DEFAULT_RETRIES, show_default=True,
                 help="More tries of a trial that failed."),
    click.option("--retry-on", metavar="KINDS", default=",".join(DEFAULT_RETRY_ON), show_default=True,
                 callback=lambda *given: parse_retry_on(given[-1]),
                 help=f"Which failures: {', '.join(ALLOWED)}; or none."),
    click.option("--trial-timeout", metavar="30m", help="Stop a try that takes longer; it has failed.",
                 callback=lambda *given: None if given[-1] is None else parse_duration(given[-1])),
    click.option("--isolation", type=click.Choice(("warm", "process")), default="warm", show_default=True,
                 help="Fork trials from a process that has done their imports, or start each afresh."),
    click.option("--preload", metavar="MODULE", multiple=True, help="Import this, too, for warm trials; repeatable."),
    click.option("--no-search", "search", flag_value=False, default=True,
                 help="Leave the search of a sweep with a `scheduler:` to another process."),
)
# fmt: on


def spec_options(function: Function) -> Function:
    """What of a new sweep can be changed without editing its YAML."""
    project = click.option("--project", help="The project; else the YAML's, WANDB_PROJECT, or wandb_demo.")
    return change_options(project(function))


def change_options(function: Function) -> Function:
    """What of a sweep's configuration can be changed without editing its YAML."""
    trials = click.option("--trials", type=click.IntRange(min=1), help="Trials at most (run_cap).")
    epochs = click.option("--epochs", type=click.IntRange(min=1), help="Epochs of each trial.")
    held = click.option(
        "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Hold a parameter fast; may be repeated."
    )
    data_root = click.option("--data-root", metavar="DIR", help="The folder of the datasets.")
    seed = click.option("--seed", type=click.IntRange(min=0), help="Makes the search repeat; else the sweep's id does.")
    shuffle = click.option("--shuffle", is_flag=True, help="Walk a grid in an order that the seed gives.")
    repeats = click.option("--repeats", type=click.IntRange(min=1), help="Try each configuration so often.")
    return trials(epochs(held(data_root(seed(shuffle(repeats(function)))))))


def prior_option(function: Function) -> Function:
    """Runs from before that a new sweep's search learns from."""
    told = "Let the search learn from this run, or from a sweep's finished runs; may be repeated."
    return click.option("--prior", "priors", multiple=True, metavar="RUN|SWEEP", help=told)(function)


def confirmed(question: str, yes: bool) -> bool:
    """Whether the user agrees, who has done so already with ``yes``. Raises UsageError where nobody can be asked."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked: standard input is no terminal", "say --yes, or --dry-run")
    return click.confirm(question, err=True)


def guarded(cli: click.Group, arguments: list[str]) -> int:
    """Run a command; its exit code, with every error said in one message (and its traceback after ``--debug``)."""
    try:
        code = cli.main(arguments, prog_name="sweepkit", standalone_mode=False) or 0
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        message("interrupted")
        return 130
    except BrokenPipeError:  # the reader has seen enough; nothing is wrong
        _silence()
        return 0
    except Exception as error:
        if "--debug" in arguments:
            import traceback

            traceback.print_exc()
        return _tell(error)
    return int(code)


def _tell(error: Exception) -> int:
    """The error in one message, and its exit code."""
    if isinstance(error, SweepkitError):
        return _say(error.message, error.hint, error.exit_code)
    if isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "sweepkit"
        return _say(error.format_message(), f"see `{where} --help`", 2)
    if isinstance(error, click.ClickException):
        return _say(error.format_message(), None, 2)
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        return _say(what, "`sweepkit doctor` looks at the disk and the data folder", 1)
    return _say(f"{type(error).__name__}: {error}", ISSUES, 1)


def _say(text: str, hint: str | None, code: int) -> int:
    message(f"error: {text}" + (f"\n  {hint}" if hint else ""))
    return code


def _silence() -> None:
    """Send what is still buffered to nowhere, so that Python does not complain at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
