"""The report on a finished run: ``python -m sweepkit.trainer.report RUN_PATH [--report module:function]``.

It resumes the run (``resume="must"``), outside any sweep, and logs artifacts and case tables to it. Done twice it
changes nothing: artifacts are found by their content, and the tables are logged once for each set of contents.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wandb

from ..errors import SweepkitError, Unreachable, UsageError
from . import importing

if TYPE_CHECKING:
    from .cases import Case

COLUMNS: list[str | int] = ["Image", "GroundTruth", "Prediction", "Confidence"]
PROMOTED = "promoted"  # summary key: what the tables were made of

ReportFunction = Callable[[wandb.Run, "Report"], None]


class Report:
    """What a report function works with; the ``run`` it is about is resumed and can be logged to as well.

    ``directory`` is a temporary folder for files to be made. What is given to ``log`` and ``cases`` becomes one
    row of the run's history at the end, and only if the report has changed since the last one.
    """

    def __init__(self, run: wandb.Run, stored: Any, directory: Path) -> None:
        self.run = run
        self.directory = directory
        self._stored = stored  # the run as wandb.Api has it
        self._artifacts: list[dict[str, Any]] = []
        self._digests: list[str] = []
        self._values: dict[str, Any] = {}
        self._tables: dict[str, int] = {}
        self._left_out: list[str] = []

    def artifact(
        self,
        name: str,
        type: str,
        path: Path,
        metadata: Mapping[str, Any] | None = None,
        aliases: Sequence[str] = (),
    ) -> None:
        """Log the file or folder at ``path`` as an artifact; the same content again is the same version."""
        artifact = wandb.Artifact(name, type, metadata=dict(metadata or {}))
        if path.is_dir():
            artifact.add_dir(str(path))
        else:
            artifact.add_file(str(path))
        before = self._version(name, type, artifact.digest)
        logged = self.run.log_artifact(artifact, aliases=["latest", *aliases]).wait()
        if type != "code":
            self._digests.append(artifact.digest)
        self._tell(logged, unchanged=logged.version == before)

    def cases(self, good: Sequence[Case], bad: Sequence[Case]) -> None:
        """The tables ``good_cases`` and ``bad_cases`` with image, ground truth, prediction and confidence."""
        for name, cases in (("good_cases", good), ("bad_cases", bad)):
            rows = [[wandb.Image(case.image), case.truth, case.prediction, case.confidence] for case in cases]
            self._values[name] = wandb.Table(columns=COLUMNS, data=rows)
            self._tables[name] = len(rows)
            self._digests += [f"{name} {case.truth} {case.prediction}" for case in cases]

    def log(self, values: Mapping[str, Any]) -> None:
        """Images, tables, charts or numbers for the run."""
        self._values.update(values)

    def leave_out(self, what: str) -> None:
        """Tell the user that something is not part of the report, and why."""
        self._left_out.append(what)

    def files(self) -> list[str]:
        """Names of the run's files."""
        return sorted(file.name for file in self._stored.files())

    def file(self, name: str) -> Path | None:
        """A copy of one of the run's files, or None if it has no such file."""
        if name not in self.files():
            return None
        return self.download([name], "files") / name

    def download(self, names: Iterable[str], folder: str) -> Path:
        """Copies of files of the run below ``directory / folder``; returns that folder."""
        root = self.directory / folder
        for name in names:
            self._stored.file(name).download(root=str(root), replace=True)
        return root

    def logged(self) -> list[wandb.Artifact]:
        """The artifacts that the run itself logged, without wandb's own (tables, history, jobs)."""
        own = ("run_table", "job")
        return [
            each
            for each in self._stored.logged_artifacts()
            if each.type not in own and not each.type.startswith("wandb-")
        ]

    def keep(self, artifact: wandb.Artifact, aliases: Sequence[str] = ()) -> None:
        """Count an artifact that is there already as part of the report, with ``aliases`` added."""
        if any(told["name"] == _collection(artifact) for told in self._artifacts):
            return
        new = [alias for alias in aliases if alias not in artifact.aliases]
        if new:
            artifact.aliases.extend(new)
            artifact.save()
        self._tell(artifact, unchanged=not new)

    def finish(self) -> dict[str, Any]:
        """Log what was gathered, unless an earlier report logged the same; the result, as it is printed."""
        parts = sorted(self._digests) + sorted(self._values)
        fingerprint = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        if self._values and self.run.summary.get(PROMOTED) != fingerprint:
            # One row, so that the tables and the note that they are logged are there together or not at all.
            self.run.log({**self._values, PROMOTED: fingerprint})
        return {
            "run": self.run.path,
            "artifacts": self._artifacts,
            "tables": self._tables,
            "left_out": self._left_out,
        }

    def _version(self, name: str, type: str, digest: str) -> str | None:
        """The version that has this content already, if there is one."""
        path = f"{self.run.entity}/{self.run.project}/{name}"
        with contextlib.suppress(wandb.errors.Error, ValueError):  # no such type or collection yet
            for artifact in wandb.Api().artifacts(type, path):
                if artifact.digest == digest:
                    return artifact.version
        return None

    def _tell(self, artifact: wandb.Artifact, unchanged: bool) -> None:
        name, aliases = _collection(artifact), sorted(artifact.aliases)
        told = {"name": name, "type": artifact.type, "version": artifact.version, "aliases": aliases}
        self._artifacts.append({**told, "unchanged": unchanged})
        print(f"sweepkit: {artifact.type} {name}:{artifact.version}{' (unchanged)' * unchanged}", file=sys.stderr)


def report(path: str, function: str | None = None) -> dict[str, Any]:
    """Make the report on the run at ``path`` (entity/project/id); the result, as it is printed.

    Args:
        path: the run.
        function: import path of a report function ``(run, report) -> None``; without one a run of this trainer gets
            the trainer's report, and any other run's own files and artifacts are promoted.

    Raises:
        UsageError: no such run, one that still runs, or no such function.
        Unreachable: the backend does not answer.
        SweepkitError: what is to be reported on is damaged or gone.
    """
    make = _user_function(function) if function else None
    stored = _stored_run(path)
    if stored.state == "running":
        raise UsageError(f"the run {path} still runs", "promote it when it has ended")
    _leave_sweep()
    run = _resume(stored)
    try:
        with tempfile.TemporaryDirectory(prefix="sweepkit-report-") as directory:
            made = Report(run, stored, Path(directory))
            (make or _standard(run))(run, made)
            return made.finish()
    finally:
        # A report that fails must not turn a finished run into a failed one, nor the other way round.
        run.finish(exit_code=0 if stored.state == "finished" else 1)


def main(argv: Sequence[str] | None = None) -> int:
    """Make a report and print its result as one line of JSON; everything else goes to stderr. The exit code."""
    parser = argparse.ArgumentParser(prog="python -m sweepkit.trainer.report", description=__doc__)
    parser.add_argument("run", metavar="RUN_PATH", help="entity/project/id")
    parser.add_argument("--report", metavar="MODULE:FUNCTION", help="a report function of your own")
    options = parser.parse_args(argv)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            result = report(options.run, options.report)
    except SweepkitError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("sweepkit: interrupted; the report can be made again", file=sys.stderr)
        return 130
    print(json.dumps(result), flush=True)
    return 0


def _user_function(path: str) -> ReportFunction:
    function = importing.load(path, "the report function")
    if not callable(function):
        raise UsageError(f"the report function {path} cannot be called", "write def name(run, report): ...")
    return function


def _standard(run: wandb.Run) -> ReportFunction:
    if run.summary.get("trainer") == "sweepkit":
        from . import trained

        return trained.report
    from . import kept

    return kept.report


def _stored_run(path: str) -> Any:
    parts = [part for part in path.strip("/").split("/") if part != "runs"]
    if len(parts) != 3:
        raise UsageError(f"{path!r} is no run", "write it as entity/project/id")
    try:
        return wandb.Api().run("/".join(parts))
    except (wandb.errors.Error, ValueError) as error:
        if "not find" in str(error) or "not found" in str(error).lower():
            raise UsageError(f"there is no run {path}", "`sweepkit status SWEEP` lists a sweep's runs") from error
        raise Unreachable(f"wandb: {error}", "check WANDB_BASE_URL and WANDB_API_KEY") from error


def _leave_sweep() -> None:
    """Within a sweep's environment wandb would tie the run to it anew, and an id or name there would win."""
    own = {"WANDB_RUN_ID", "WANDB_NAME", "WANDB_RESUME", "WANDB_PROGRAM"}
    for name in [name for name in os.environ if name.startswith("WANDB_SWEEP_") or name in own]:
        del os.environ[name]


def _resume(stored: Any) -> wandb.Run:
    """The run, to be logged to; what it recorded of its own process (output, metadata, packages) stays as it is."""
    settings = wandb.Settings(
        console="off",
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    where = {"entity": stored.entity, "project": stored.project, "id": stored.id}
    try:
        return wandb.init(**where, resume="must", settings=settings)
    except wandb.errors.UsageError as error:
        raise UsageError(f"wandb: {error}") from error
    except wandb.errors.Error as error:
        raise Unreachable(f"wandb: {error}", "check WANDB_BASE_URL and WANDB_API_KEY") from error


def _collection(artifact: wandb.Artifact) -> str:
    return artifact.name.split(":")[0]


if __name__ == "__main__":
    sys.exit(main())
