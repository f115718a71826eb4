"""The report on a run of a user's own script that has no report function: what the run itself kept."""

from __future__ import annotations

from pathlib import PurePosixPath

import wandb

from .report import Report

#: What files of trained models are called.
MODEL_FILES = {
    ".bin",
    ".ckpt",
    ".h5",
    ".joblib",
    ".keras",
    ".npz",
    ".onnx",
    ".pb",
    ".pickle",
    ".pkl",
    ".pt",
    ".pth",
    ".safetensors",
    ".tflite",
}
_WANDBS_OWN = ("artifact/", "code/", "media/", "wandb-", "logs/")


def report(run: wandb.Run, report: Report) -> None:
    """Promote the model files, the saved code and the logged artifacts of ``run``; say what there was nothing of."""
    names = [name for name in report.files() if not name.startswith(_WANDBS_OWN)]
    models = [name for name in names if _is_model(PurePosixPath(name))]
    sources = [name for name in report.files() if name.startswith("code/")]
    stem = _program(run)
    logged = report.logged()
    if models:
        files = report.download(models, "model")
        metadata = {"run": run.id, "config": {k: v for k, v in run.config.items() if not k.startswith("_")}}
        report.artifact(f"{stem}-model", "model", files, metadata=metadata, aliases=["best"])
    elif not any(artifact.type == "model" for artifact in logged):
        report.leave_out("model: the run kept no file of a model (call wandb.save or run.log_artifact in the script)")
    if sources:
        report.artifact(f"{stem}-code", "code", report.download(sources, "code"))
    elif not any(artifact.type == "code" for artifact in logged):
        report.leave_out("code: the run saved none (wandb.init(settings=wandb.Settings(save_code=True)) does)")
    for artifact in logged:
        report.keep(artifact, aliases=["best"] if artifact.type == "model" and not models else [])
    if not any(artifact.type == "dataset" for artifact in logged):
        report.leave_out("dataset: the run logged none")
    report.leave_out("case tables: a report function can make them (--report module:function)")


def _is_model(name: PurePosixPath) -> bool:
    return name.suffix.lower() in MODEL_FILES or name.stem.lower() in ("model", "weights", "checkpoint")


def _program(run: wandb.Run) -> str:
    """A name for the artifacts of a run: its project's, with what artifact names may hold."""
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in run.project or "run")
    return kept.strip("-") or "run"
