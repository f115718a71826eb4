"""Hyperparameters: every spelling and form of arguments is understood, and nothing wrong passes in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.errors import UsageError
from sweepkit.trainer import config
from sweepkit.trainer.config import Hyperparameters

values = st.one_of(
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none(), st.lists(st.integers())
)


def test_the_defaults_are_the_documented_ones() -> None:
    hyper = config.read({})
    assert (hyper.task, hyper.batch_size, hyper.epochs, hyper.hidden_layer_width) == ("mnist", 512, 15, 64)
    assert (hyper.lr, hyper.dropout_p, hyper.optim_type, hyper.seed) == (1e-4, 0.1, "Adam", 0)
    assert config.PROJECT == "wandb_demo"


@pytest.mark.parametrize(
    "given",
    [
        {"width": 32, "dropout": 0.5, "optimizer": "SGD", "lr": 0.1},
        {"hidden_layer_width": 32, "dropout_p": 0.5, "optim_type": "SGD", "lr": 0.1},
        {"model": {"width": 32, "dropout": 0.5}, "optimizer": {"name": "SGD", "lr": 0.1}},
        {"width": 32.0, "dropout": "0.5", "optimizer": "SGD", "lr": 0.1, "_wandb": {"t": 1}},
    ],
)
def test_all_spellings_mean_the_same(given: dict[str, Any]) -> None:
    config.check_names(given)
    assert config.read(given) == Hyperparameters(hidden_layer_width=32, dropout_p=0.5, optim_type="SGD", lr=0.1)


@given(st.dictionaries(st.sampled_from(config.NAMES), values, min_size=1))
def test_arguments_come_through_as_wandb_writes_them(given: dict[str, Any]) -> None:
    assert config.read_arguments([f"--{key}={value}" for key, value in given.items()]) == given
    assert config.read_arguments([f"{key}={value}" for key, value in given.items()]) == given
    assert config.read_arguments([json.dumps(given)]) == given


def test_other_forms_of_arguments(tmp_path: Path) -> None:
    nested = {"optimizer": {"name": "Adam", "lr": 0.01}}
    file = tmp_path / "args.json"
    file.write_text(json.dumps(nested))
    assert config.read_arguments([str(file)]) == nested
    assert config.read_arguments([f"--optimizer={nested['optimizer']}"]) == nested
    assert config.read_arguments(["--batch-size", "64", "--flag"]) == {"batch_size": 64, "flag": True}
    with pytest.raises(UsageError, match="oops"):
        config.read_arguments(["oops"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": "fast"}, "lr='fast'"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"epochs": 1.5}, "epochs=1.5"),
        ({"dropout": 1.5}, "dropout_p=1.5"),
        ({"data_fraction": 0}, "data_fraction=0"),
        ({"width": True}, "hidden_layer_width=True"),
        ({"width": 32, "hidden_layer_width": 64}, "same hyperparameter"),
    ],
)
def test_wrong_values_are_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config.read(given)


def test_a_misspelt_name_is_answered_with_the_right_one() -> None:
    with pytest.raises(UsageError) as caught:
        config.check_names({"widht": 3})
    assert "Did you mean 'width'?" in str(caught.value.hint)


def test_the_record_of_a_run_has_each_value_once_in_the_given_spelling() -> None:
    given = {"width": 32, "optimizer": {"name": "SGD", "lr": 0.1}}
    added = config.missing(given, config.read(given))
    assert not set(added) & {"hidden_layer_width", "optim_type", "lr"}
    assert added["batch_size"] == 512
