"""The ``sweepkit`` command: parse, call, print. What a command does stands in the room that owns it.

Nothing heavy is imported before a command needs it, so that ``sweepkit --help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__" and not __package__:  # `python cli.py` in a clone: this folder is the package sweepkit
    import importlib.util

    _here = Path(__file__).resolve().parent
    sys.path[:] = [
        entry for entry in sys.path if Path(entry or ".").resolve() != _here
    ]  # its files are no top-level names
    _spec = importlib.util.spec_from_file_location(
        "sweepkit", _here / "__init__.py", submodule_search_locations=[str(_here)]
    )
    assert _spec and _spec.loader
    sys.modules["sweepkit"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["sweepkit"])
    __package__ = "sweepkit"

import click

from . import __version__, backend_commands, output
from .backend_commands import start_backend
from .command_line import (
    Group,
    agent_options,
    change_options,
    common,
    confirmed,
    guarded,
    prior_option,
    served,
    spec_options,
)
from .errors import UsageError
from .output import message

if TYPE_CHECKING:
    from .sweeps.agents.options import AgentOptions
    from .sweeps.backends import Backend
    from .sweeps.wandb_api import SweepRef, WandbApi


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="sweepkit %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Weights & Biases sweeps anywhere: on W&B's servers, or with no account and no network.

    Exit codes: 0 all well, 1 some runs failed, 2 usage or configuration, 3 backend out of reach, 130 interrupted.
    """


@cli.command()
@common
@click.argument("sweep")
@spec_options
@prior_option
@agent_options
@click.option("--no-promote", is_flag=True, help="Leave the winner as it is.")
@click.option("--report", metavar="MODULE:FUNCTION", help="Your own report on the winner.")
@click.option("--html", type=click.Path(path_type=Path), help="Where to write the comparison.")
def run(
    sweep: str, backend: str, format: str, no_promote: bool, report: str | None, html: Path | None,
    agents: AgentOptions, project: str | None, priors: tuple[str, ...], **changes: Any,
) -> int:  # fmt: skip
    """Create a sweep, run its trials, promote and compare the winner."""
    from .sweeps import run as story
    from .sweeps.agents.devices import slots
    from .sweeps.telling import tell

    spec = story.prepare(sweep, *_changes(**changes))
    places = slots(agents)
    api = _api(backend)
    options = story.Options(agents, priors, promote=not no_promote, report=report, html=html)
    result = story.run(api, spec, project, places, options)
    if format == "table":
        tell(result, api, _opener(api.backend))
    else:
        output.emit(result.record(api), format)
    return result.exit_code


@cli.command("list")
@common
def list_sweeps(backend: str, format: str) -> None:
    """The YAML library: searches that are ready to run."""
    from .sweeps.catalog import catalog

    rows = [{**vars(entry), "path": str(entry.path)} for entry in catalog()]
    columns = {name: name for name in ("name", "method", "trials", "dataset", "purpose")}
    output.emit(rows, format, columns, value="name")


@cli.command()
@common
@click.argument("sweep")
def check(sweep: str, backend: str, format: str) -> None:
    """Validate a sweep's YAML: line, column, what is allowed."""
    from .sweeps.run import prepare

    spec = prepare(sweep)
    size = spec.size()
    answer = {
        "path": str(spec.path),
        "name": spec.name,
        "method": spec.method,
        "configurations": size,
        "trials": spec.count(),
        "warnings": [vars(warning) for warning in spec.warnings],
    }
    shown = {
        "path": "valid",
        "name": "name",
        "method": "method",
        "configurations": "configurations",
        "trials": "trials",
    }
    if format in ("table", "value"):
        answer["configurations"] = size if size is not None else f"as {spec.says} says" if spec.says else "endless"
    output.emit(answer, format, shown, value="configurations")


@cli.command()
@common
@click.argument("sweep")
@spec_options
@agent_options
def plan(sweep: str, backend: str, format: str, agents: AgentOptions, project: str | None, **changes: Any) -> None:
    """What `run` would do, creating nothing."""
    import shlex

    from .backend import daemon
    from .sweeps.agents.devices import slots
    from .sweeps.plan import plan as make
    from .sweeps.run import prepare, project_of

    spec = prepare(sweep, *_changes(**changes))
    made = make(spec, backend, project_of(spec, project), slots(agents), daemon.find)
    if format == "table":
        print("\n".join(made.lines()))
    elif format == "value":
        print("\n".join(shlex.join(each) for each in made.commands))
    else:
        output.emit(made.record(), format)


@cli.command()
@common
@click.argument("sweep")
@spec_options
@prior_option
def create(
    sweep: str, backend: str, format: str, project: str | None, priors: tuple[str, ...], **changes: Any
) -> None:  # fmt: skip
    """Create a sweep; print its id and address."""
    from .sweeps import run as story

    spec = story.prepare(sweep, *_changes(**changes))
    api = _api(backend)
    ref = story.create(api, spec, project, priors)
    answer = {"id": ref.id, "path": ref.path, "name": spec.name, "url": ref.url(api.backend)}
    output.emit(answer, format, {"id": "sweep", "path": "path", "url": "open"})
    message(f"next: sweepkit agents {ref.id}")


@cli.command()
@common
@click.argument("sweep_id")
@click.argument("sweep", metavar="YAML")
@change_options
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def edit(
    sweep_id: str, sweep: str, backend: str, format: str, dry_run: bool, yes: bool, **changes: Any
) -> int:  # fmt: skip
    """Extend, narrow or change a sweep, also while it runs."""
    from .sweeps import edit as editing
    from .sweeps.run import prepare

    spec = prepare(sweep, *_changes(**changes))
    api, ref = _sweep(backend, sweep_id)
    planned = editing.look(api, ref, spec)
    wanted = bool(planned.changes) and not dry_run
    for line in planned.lines() if format == "table" or (wanted and not yes) else []:
        print(output.printable(line)) if format == "table" else message(line)
    applied = wanted and confirmed(f"change sweep {ref.path}?", yes)
    if applied:
        for warning in editing.apply(api, planned):
            message(f"warning: {warning}")
        message(f"changed; see it with `sweepkit status {ref.id}`, and start agents with `sweepkit agents {ref.id}`")
    if format != "table":
        output.emit(planned.record(applied), format)
    return int(wanted and not applied)


@cli.command("agents")
@common
@click.argument("sweep_id")
@agent_options
@click.option("--count", type=click.IntRange(min=1), help="Trials at most, all slots together.")
def run_agents(sweep_id: str, backend: str, format: str, count: int | None, agents: AgentOptions) -> int:
    """Run a sweep's trials on every GPU of this host, or on its CPU."""
    from .sweeps.agents.devices import slots
    from .sweeps.agents.pool import run_agents as work

    places = slots(agents)
    api, ref = _sweep(backend, sweep_id)
    outcome = work(api, ref, places, agents, count=count)
    output.emit({"id": ref.id, "path": ref.path, **vars(outcome)}, format)
    return outcome.exit_code


@cli.command("retry")
@common
@click.argument("run_ids", metavar="[RUN]...", nargs=-1)
@click.option("--failed", "sweep_id", metavar="SWEEP", help="All runs of the sweep that failed or were lost.")
@agent_options
def retry_runs(run_ids: tuple[str, ...], backend: str, format: str, sweep_id: str | None, agents: AgentOptions) -> int:
    """Run what failed again: same run, same configuration, resumed."""
    from .sweeps import retry as again
    from .sweeps.agents.devices import slots

    if bool(run_ids) == bool(sweep_id):
        raise UsageError("say what to run again", "`sweepkit retry --failed SWEEP`, or `sweepkit retry RUN...`")
    places = slots(agents)
    api = _api(backend)
    if sweep_id:
        ref = api.find_sweep(sweep_id)
        runs = again.failed(api, ref)
    else:
        ref, runs = again.named(api, run_ids)
    outcome = again.retry(api, ref, runs, places[: max(1, len(runs))], agents)
    output.emit({"id": ref.id, "path": ref.path, "runs": [run.id for run in runs], **vars(outcome)}, format)
    return outcome.exit_code


@cli.command()
@common
@click.argument("sweep_id")
@click.option("--watch", is_flag=True, help="Until the sweep is over.")
def status(sweep_id: str, backend: str, format: str, watch: bool) -> None:
    """State, counts, best so far, agents, who was stopped early and why."""
    from .sweeps import early_stopping
    from .sweeps import status as standing

    sweep = standing.Standing(*_sweep(backend, sweep_id))
    if watch and format == "json":
        for moment in standing.changes(standing.watch(sweep, message)):
            output.emit_line(moment)
        return
    if not watch:
        now = sweep.look()
    elif output.is_terminal(sys.stderr):
        now = standing.live(sweep)
    else:
        now = standing.lines(standing.watch(sweep, message), message)
    output.emit(standing.show(now) if format == "table" else now, format, standing.COLUMNS, value="state")
    if format == "table":
        more = [*standing.agent_lines(now), *early_stopping.lines(now["early_stopping"], now["metric"] or "")]
        print("".join(f"{output.printable(line)}\n" for line in more), end="")


@cli.command()
@served
@click.argument("run", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run has ended.")
@click.option("-n", "--lines", type=click.IntRange(min=0), metavar="LINES", help="The last lines only.")
def logs(run: str, backend: str, follow: bool, lines: int | None) -> None:
    """What a run wrote, on this host or on another."""
    from .sweeps import logs as reading
    from .sweeps.finding import find_run

    api = _api(backend)
    found = find_run(api, run)
    if not reading.show(api, found, lines, follow) and lines != 0:
        message(f"run {found.path} ({found.state}) wrote nothing that was kept")


@cli.command()
@common
@click.argument("sweep_id")
def stop(sweep_id: str, backend: str, format: str) -> None:
    """No more trials; running ones finish."""
    _set_state(sweep_id, backend, format, "FINISHED")


@cli.command()
@common
@click.argument("sweep_id")
def pause(sweep_id: str, backend: str, format: str) -> None:
    """No more trials for now."""
    _set_state(sweep_id, backend, format, "PAUSED")


@cli.command()
@common
@click.argument("sweep_id")
def resume(sweep_id: str, backend: str, format: str) -> None:
    """Go on after `pause`."""
    _set_state(sweep_id, backend, format, "RUNNING")


@cli.command()
@common
@click.argument("sweep_id")
def cancel(sweep_id: str, backend: str, format: str) -> None:
    """No more trials; running ones are stopped."""
    _set_state(sweep_id, backend, format, "CANCELED")


@cli.command()
@common
@click.argument("sweep_id")
def best(sweep_id: str, backend: str, format: str) -> None:
    """The best finished run, by its best value of the metric; of several metrics the front."""
    from .sweeps import best as choosing
    from .sweeps import front as fronts
    from .sweeps.metric import metrics_in

    api, ref = _sweep(backend, sweep_id)
    sweep = api.sweep(ref)
    if fronts.has_front(sweep):
        metrics, leaders = metrics_in(sweep.config), fronts.front(api, sweep)
        rows = fronts.shown(leaders, metrics, api.backend)
        records = [each.record(metrics, api.backend) for each in leaders]
        output.emit(rows if format == "table" else records, format, fronts.columns(metrics))
        return
    found = choosing.best(api, ref)
    metric = choosing.metric_of(sweep)
    answer = found.record(metric, found.run.url(api.backend))
    shown = {"name": "run", "id": "id", "metric": "metric", "value": "value", "step": "at step", "config": "config"}
    output.emit(answer, format, {**shown, "url": "open"})


@cli.command()
@common
@click.argument("sweep_or_run")
@click.option("--report", metavar="MODULE:FUNCTION", help="Your own report on the run.")
def promote(sweep_or_run: str, backend: str, format: str, report: str | None) -> None:
    """Log the artifacts and case tables of the best run."""
    from .sweeps import telling
    from .sweeps.promote import promote as make

    promotion = make(_api(backend), sweep_or_run, report)
    if format == "table":
        telling.tell_promotion(promotion)
    else:
        output.emit(promotion.record(), format, value="run")


@cli.command()
@common
@click.argument("sweep_id")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write one page that needs nothing else.")
def compare(sweep_id: str, backend: str, format: str, html: Path | None) -> None:
    """All runs side by side, best first."""
    from .sweeps import compare as comparing

    api, ref = _sweep(backend, sweep_id)
    comparison = comparing.compare(api, ref)
    rows = comparison.shown(api) if format == "table" else comparison.records(api)
    output.emit(rows, format, comparison.columns())
    if html:
        message(f"wrote {comparing.write_page(api, comparison, html)}")


@cli.command()
@common
@click.argument("sweep_id")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--artifacts", is_flag=True, help="The files of logged artifacts as well.")
def export(sweep_id: str, backend: str, format: str, folder: Path, artifacts: bool) -> None:
    """Write a sweep to plain files: Parquet, YAML, files as they are."""
    from .sweeps.export import export as write

    api, ref = _sweep(backend, sweep_id)
    made = vars(write(api, ref, folder, artifacts))
    shown = {**made, "bytes": output.size(made["bytes"])} if format == "table" else made
    output.emit(shown, format, value="path")


for _command in backend_commands.COMMANDS:
    cli.add_command(_command)


@cli.command()
@common
def doctor(backend: str, format: str) -> int:
    """Check this machine, and say what mends it."""
    from . import doctor as examining

    checks = examining.examine()
    columns = {"state": "", "name": "check", "found": "found", "mend": "to mend it"}
    output.emit([vars(check) for check in checks], format, columns, value="state")
    return int(any(check.state == "fail" for check in checks))


def _changes(
    trials: int | None, epochs: int | None, settings: tuple[str, ...], data_root: str | None,
    seed: int | None, shuffle: bool, repeats: int | None,
) -> tuple[dict[str, Any], int | None, dict[str, Any]]:  # fmt: skip
    """The parameters that options hold fast, the number of trials, and what gives their order."""
    constants = dict(_setting(text) for text in settings)
    if epochs is not None:
        constants["epochs"] = epochs
    if data_root is not None:
        constants["data_root"] = str(Path(data_root).expanduser().absolute())
    order = {"seed": seed, "shuffle": shuffle or None, "repeats": repeats}
    return constants, trials, {key: value for key, value in order.items() if value is not None}


def _setting(text: str) -> tuple[str, Any]:
    """``lr=1e-4`` as a name and a value, read as JSON (which knows 1e-4), else as YAML."""
    import json

    import yaml

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--set {text}: this is no NAME=VALUE", "write it as --set batch_size=256")
    try:
        return name, json.loads(value)
    except ValueError:
        pass
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text}: the value cannot be read", "write a number, a text or a list") from error


def _api(name: str) -> WandbApi:
    """The backend that was chosen, found or started, and said in a line."""
    from .sweeps.backends import choose
    from .sweeps.wandb_api import WandbApi

    backend = choose(name, start_backend)
    message(f"backend: {backend.describe()}")
    return WandbApi(backend)


def _sweep(backend: str, text: str) -> tuple[WandbApi, SweepRef]:
    api = _api(backend)
    return api, api.find_sweep(text)


def _opener(backend: Backend) -> Callable[[str], str]:
    """What turns a page's path into an address that opens it: the embedded backend's log the browser in."""
    if backend.kind != "embedded":
        return lambda path: backend.web() + path
    from .backend import daemon

    return daemon.login_url


def _set_state(sweep_id: str, backend: str, format: str, state: str) -> None:
    api, ref = _sweep(backend, sweep_id)
    api.set_state(ref, state)
    output.emit({"id": ref.id, "path": ref.path, "state": state}, format, value="state")


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its documented code."""
    given = sys.argv[1:] if arguments is None else arguments
    sys.exit(guarded(cli, given or ["--help"]))


if __name__ == "__main__":
    main()
