"""Packages that log to W&B by themselves: Lightning, Transformers, wandb-workspaces.

They are installed once into an environment of their own, which sees the packages of this one; CI installs them too.
"""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ..packages import python_with

PACKAGES = ("lightning>=2.5,<3", "transformers>=5,<6", "accelerate>=1.10,<2", "wandb-workspaces>=0.4,<0.5")
Make = Callable[..., Any]


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter of an environment with PACKAGES."""
    return python_with("programs", *PACKAGES)


@pytest.fixture
def program(python: Path, wandb_env: dict[str, str], tmp_path: Path) -> Make:
    """``program(code)``: run it with the packages; its last printed line, read as JSON."""

    def run(code: str) -> Any:
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        environment |= {"HF_HUB_OFFLINE": "1", "WANDB_CONFIG_DIR": str(tmp_path / "config")}
        code = "import json, os, torch, wandb\n" + textwrap.dedent(code)
        done = subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run


def test_lightnings_logger_and_its_checkpoints(program: Make) -> None:
    seen = program("""
        import lightning
        from lightning.pytorch.callbacks import ModelCheckpoint
        from lightning.pytorch.loggers import WandbLogger
        class Model(lightning.LightningModule):
            def __init__(self, lr=0.1):
                super().__init__(); self.save_hyperparameters(); self.layer = torch.nn.Linear(4, 1)
            def training_step(self, batch, _):
                loss = self.layer(batch[0]).pow(2).mean(); self.log("train_loss", loss); return loss
            def validation_step(self, batch, _): self.log("val_loss", self.layer(batch[0]).pow(2).mean())
            def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(32, 4)), batch_size=8)
        logger, model = WandbLogger(project="lightning", id="one", log_model="all"), Model()
        logger.watch(model, log="all", log_freq=2)
        keep = ModelCheckpoint(monitor="val_loss", save_top_k=2, mode="min")
        trainer = lightning.Trainer(max_epochs=3, logger=logger, callbacks=[keep], log_every_n_steps=2,
            enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
        trainer.fit(model, data, data); wandb.finish()
        run = wandb.Api().run("lightning/one")
        best = wandb.Api().artifact("lightning/model-one:best")
        again = Model.load_from_checkpoint(best.download(root="best") + "/model.ckpt", weights_only=False)
        print(json.dumps({"state": run.state, "config": run.config, "epoch": run.summary["epoch"],
            "keys": [key for key in ("train_loss", "val_loss") if key in run.summary], "lr": again.hparams.lr,
            "models": sorted(a.name for a in run.logged_artifacts() if a.type == "model"),
            "score": best.metadata["score"] > 0, "watched": "gradients/layer.weight" in run.history_keys["keys"]}))
    """)
    assert seen.pop("models") == ["model-one:v0", "model-one:v1", "model-one:v2"]
    assert seen == {
        "state": "finished", "config": {"lr": 0.1}, "epoch": 2, "keys": ["train_loss", "val_loss"], "lr": 0.1,
        "score": True, "watched": True,
    }  # fmt: skip


def test_transformers_trainer(program: Make) -> None:
    seen = program("""
        os.environ |= {"WANDB_PROJECT": "transformers", "WANDB_RUN_ID": "one", "WANDB_LOG_MODEL": "checkpoint"}
        from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
        config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, num_labels=2)
        data = [{"input_ids": torch.full((8,), n), "labels": torch.tensor(n % 2)} for n in range(16)]
        arguments = TrainingArguments("out", report_to="wandb", run_name="tiny", num_train_epochs=2, logging_steps=1,
            per_device_train_batch_size=8, eval_strategy="epoch", save_strategy="epoch", use_cpu=True,
            disable_tqdm=True, load_best_model_at_end=True)
        Trainer(BertForSequenceClassification(config), arguments, train_dataset=data, eval_dataset=data).train()
        wandb.finish()
        run = wandb.Api().run("transformers/one")
        aliases = {alias for artifact in run.logged_artifacts() for alias in artifact.aliases}
        print(json.dumps({"state": run.state, "name": run.name, "hidden": run.config["hidden_size"],
            "keys": [key for key in ("train/loss", "eval/loss") if key in run.summary],
            "steps": len([row for row in run.scan_history(keys=["train/loss"])]), "aliases": sorted(aliases)}))
    """)
    assert {"final_model", "latest", "epoch_1.0", "epoch_2.0"} <= set(seen.pop("aliases"))
    assert seen == {
        "state": "finished", "name": "tiny", "hidden": 16, "keys": ["train/loss", "eval/loss"], "steps": 4,
    }  # fmt: skip


def test_workspaces_and_reports_are_kept_and_given_back(program: Make) -> None:
    seen = program("""
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
        run = wandb.init(project="views"); run.log({"loss": 1}); run.finish()
        panels = [reports.LinePlot(x="Step", y=["loss"])]
        section = workspaces.Section(name="Losses", panels=panels, is_open=True)
        made = workspaces.Workspace(name="mine", entity=run.entity, project="views", sections=[section]); made.save()
        read = workspaces.Workspace.from_url(made.url)
        read.name = "renamed"; read.save()
        seen = [read.sections[0].name, read.sections[0].panels[0].y[0].name]
        seen += [workspaces.Workspace.from_url(made.url).name]
        read.save_as_new_view(); seen.append(read.url != made.url)
        grid = reports.PanelGrid(runsets=[reports.Runset(run.entity, "views")], panels=panels)
        report = reports.Report(entity=run.entity, project="views", title="Said", blocks=[reports.H1("Head"), grid])
        report.save(); report.title = "Said again"; report.save()
        again = reports.Report.from_url(report.url)
        seen += [again.title, again.blocks[0].text]
        seen.append([listed.display_name for listed in wandb.Api().reports(f"{run.entity}/views")])
        again.delete(); seen.append(len(wandb.Api().reports(f"{run.entity}/views")))
        print(json.dumps(seen))
    """)
    assert seen == ["Losses", "loss", "renamed", True, "Said again", "Head", ["Said again"], 0]
