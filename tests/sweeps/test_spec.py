"""A sweep's YAML: what is accepted, and what each slip is answered with: line, column, what is allowed, the fix."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sweepkit.distributions import DISTRIBUTIONS
from sweepkit.errors import UsageError
from sweepkit.sweeps import catalog, schema, spec

GOOD = """\
program: train.py
method: bayes
metric: {name: val_loss, goal: minimize}
run_cap: 10
parameters:
  lr: {distribution: log_uniform_values, min: 0.001, max: 0.1}
  width: {values: [16, 32]}
"""


@pytest.fixture(autouse=True)
def beside_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("print('training')")


def load(text: str) -> spec.Spec:
    Path("sweep.yaml").write_text(textwrap.dedent(text))
    return spec.load("sweep.yaml")


def refused(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        load(text)
    assert caught.value.exit_code == 2
    return caught.value


def test_a_spec_tells_what_the_yaml_says() -> None:
    sweep = load("name: mine\nproject: p\nentity: e\n" + GOOD)
    assert (sweep.name, sweep.method, sweep.project, sweep.entity) == ("mine", "bayes", "p", "e")
    assert sweep.metric == spec.Metric("val_loss", "minimize", None)
    assert (sweep.run_cap, sweep.count(), sweep.program) == (10, 10, "train.py")
    assert [parameter.name for parameter in sweep.space.parameters] == ["lr", "width"]
    assert sweep.config == yaml.safe_load(sweep.text)
    assert sweep.warnings == ()
    assert load(GOOD).name == "sweep"


def test_every_key_of_wandbs_schema_is_accepted() -> None:
    sweep = load(
        """\
        apiVersion: "1"
        kind: sweep
        name: all
        description: every key
        project: p
        entity: e
        program: train.py
        command: ["${env}", "${interpreter}", "${program}", "${args_no_boolean_flags}", "${envvar:HOME}", 3]
        method: random
        metric: {name: val_acc, goal: maximize, target: 0.99, impute: best, impute_while_running: latest}
        early_terminate: {type: hyperband, max_iter: 27, s: 2, eta: 3, strict: true}
        controller: {type: cloud, seed: 7, repeats: 2}
        run_cap: 5
        parameters: {lr: {values: [1]}}
        """
    )
    assert sweep.metric == spec.Metric("val_acc", "maximize", 0.99)
    Path("s.py").write_text("def f(trial): return {}")
    custom = "method: custom\nscheduler: {engine: optuna, source: s.py, search_space: f}\nmetric: {name: loss}\n"
    assert load(f"{custom}program: train.py").count() is None
    load("job: j\n" + GOOD.replace("program: train.py\n", ""))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("method: grid\nparameters: {a: {values: [1, 2, 2]}, b: {min: 1, max: 4}}", 8),
        ("method: grid\nrun_cap: 3\nparameters: {a: {values: [1, 2, 2]}, b: {min: 1, max: 4}}", 3),
        ("method: grid\ncontroller: {type: cloud, repeats: 3}\nparameters: {a: {values: [1, 2, 2]}}", 6),
        ("method: random\nparameters: {a: {values: [1, 2]}}", None),
        ("method: random\nrun_cap: 7\nparameters: {a: {values: [1, 2]}}", 7),
    ],
)
def test_a_sweep_is_counted(text: str, count: int | None) -> None:
    assert load("program: train.py\n" + text).count() == count


def broken(old: str, new: str) -> str:
    """The good sweep with one slip in it."""
    assert old in GOOD
    return GOOD.replace(old, new)


# text -> where, a part of the message, a part of the hint
SLIPS = {
    "a seed in the wrong place": ("seed: 7\n" + GOOD, "1:1", "unknown key 'seed'", "`controller: {type: cloud, seed: "),
    "a seed that is none": ("controller: {type: cloud, seed: -1}\n" + GOOD, "1:33", "whole number from 0", ""),
    "bayes has no order": (
        "controller: {type: cloud, shuffle: true}\n" + GOOD, "1:27", "order of a grid; bayes has none", "remove",
    ),
    "a seed of another's search": ("controller: {type: local, seed: 1}\n" + GOOD, "1:27", "elsewhere", "remove"),
    "no YAML": (broken("{values: [16, 32]}", "{values: [16, 32}"), "7:26", "no YAML", "brackets"),
    "a tab": (broken("  width:", "\twidth:"), "7:1", "no YAML", "no tabs"),
    "a strange character": (broken("train.py", "tr\x07in.py"), "1:12", "no YAML", ""),
    "empty": ("# nothing\n", "1:1", "empty", "library"),
    "a list": ("- 1\n", "1:1", "must be a mapping", "keys:"),
    "two documents": (GOOD + "---\n" + GOOD, "8:1", "no YAML", ""),
    "a key twice": (GOOD + "run_cap: 3\n", "8:1", "second time, after line 4", "remove one"),
    "a nested key twice": (broken("min: 0.001", "min: 1, min: 2"), "6:50", "second time", "remove one"),
    "a Python object": (broken("train.py", "!!python/object:os.X {}"), "1:10", "python/object", "remove the tag"),
    "no date": (broken("train.py", "2025-13-45"), "1:1", "no YAML", ""),
    "a misspelt key": (broken("parameters:", "paramaters:"), "5:1", "unknown key 'paramaters'", "`parameters`"),
    "a misspelt key of a parameter": (broken("values:", "vales:"), "7:11", "width: unknown key 'vales'", "`values`"),
    "a misspelt key of the metric": (broken("goal:", "gaol:"), "3:26", "unknown key 'gaol'", "`goal`"),
    "a key that W&B does not know": ("retries: 3\n" + GOOD, "1:1", "a sweep may have name,", ""),
    "no method": (broken("method: bayes\n", ""), "1:1", "needs the key `method`", "method"),
    "an unknown method": (broken("bayes", "baeys"), "2:9", "grid, random, bayes, custom", "`bayes`"),
    "method in capitals": (broken("bayes", "Bayes"), "2:9", "'Bayes'", "`bayes`"),
    "a list as method": (broken("bayes", "[grid]"), "2:9", "a list", ""),
    "bayes without metric": (broken("metric: {name: val_loss, goal: minimize}\n", ""), "2:9", "a `metric`", "goal"),
    "metric without name": (broken("name: val_loss, ", ""), "3:1", "needs the key `name`", "add"),
    "metric as text": (broken("{name: val_loss, goal: minimize}", "val_loss"), "3:9", "must be a mapping", "name"),
    "an unknown goal": (broken("minimize", "minimise"), "3:32", "minimize, maximize", "`minimize`"),
    "run_cap as text": (broken("run_cap: 10", "run_cap: ten"), "4:10", "whole number from 1", ""),
    "run_cap of zero": (broken("run_cap: 10", "run_cap: 0"), "4:10", "whole number from 1", ""),
    "run_cap of true": (broken("run_cap: 10", "run_cap: true"), "4:10", "whole number from 1", ""),
    "a name that is a number": ("name: 7\n" + GOOD, "1:7", "must be a text", "quotes"),
    "no parameters": (GOOD[: GOOD.index("parameters:")], "1:1", "needs the key `parameters`", "add"),
    "empty parameters": (GOOD[: GOOD.index("parameters:")] + "parameters: {}\n", "5:13", "empty", "at least one"),
    "a bare value": (broken("{values: [16, 32]}", "16"), "7:10", "width: 16 is no parameter", "width: {value: 16}"),
    "an unknown distribution": (broken("log_uniform_values", "log_unifrom"), "6:22", "allowed are", "`log_uniform`"),
    "min above max": (broken("0.001", "0.5"), "6:47", "min 0.5 is not less than max 0.1", "exchange"),
    "a number that is a text": (broken("0.001", "'1e-5'"), "6:47", "must be a number, not '1e-5'", "write 1.0e-05"),
    "values as text": (broken("[16, 32]", "abc"), "7:19", "must be a list", "[...]"),
    "empty values": (broken("[16, 32]", "[]"), "7:19", "`values` is empty", ""),
    "a date among values": (broken("[16, 32]", "[2025-01-02]"), "7:19", "a date", "quotes"),
    "not a number among values": (broken("[16, 32]", "[.nan]"), "7:19", "JSON cannot carry", ""),
    "an endless grid": (broken("bayes", "grid"), "6:22", "lr: a grid cannot walk", "list the values"),
    "a program that is not there": (broken("train.py", "trian.py"), "1:10", "no program trian.py", "`train.py`"),
    "no program": (broken("program: train.py\n", ""), "1:1", "needs the key `program`", "train.py"),
    "command as text": ("command: python train.py\n" + GOOD, "1:10", "must be a list", "${interpreter}"),
    "an unknown macro": ('command: ["${interpeter}"]\n' + GOOD, "1:11", "unknown macro", "${interpreter}"),
    "a mapping in the command": ("command: [{a: b}]\n" + GOOD, "1:11", "must be a text", "quotes"),
    "hyperband without steps": ("early_terminate: {type: hyperband}\n" + GOOD, "1:1", "`min_iter`", "min_iter: 3"),
    "hyperband without s": ("early_terminate: {type: hyperband, max_iter: 9}\n" + GOOD, "1:1", "needs `s`", "s: 2"),
    "a short hyperband": ("early_terminate: {type: hyperband, max_iter: 2, s: 1}\n" + GOOD, "1:46", "judged", ""),
    "hyperband with eta 1": ("early_terminate: {type: hyperband, min_iter: 1, eta: 1}\n" + GOOD, "1:54", "above 1", ""),
    "an unknown stopping rule": ("early_terminate: {type: median}\n" + GOOD, "1:25", "hyperband", ""),
    "custom without scheduler": (broken("bayes", "custom"), "2:9", "needs a `scheduler`", "bayes"),
    "metric and metrics": ("metrics: [{name: a}, {name: b}]\n" + GOOD, "1:1", "exclude each other", "keep one"),
    "an alias of itself": (broken("[16, 32]", "&a [*a]"), "7:19", "nested too deeply", ""),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_answered_with_its_place_and_its_fix(slip: str) -> None:
    text, where, message, hint = SLIPS[slip]
    error = refused(text)
    assert error.message.startswith(f"sweep.yaml:{where}: "), error.message
    assert message in error.message
    assert hint in (error.hint or "")


def test_a_slip_in_a_nested_parameter_has_its_place() -> None:
    nested = """\
        program: train.py
        method: random
        run_cap: 3
        parameters:
          optimizer:
            parameters:
              lr:
                min: 2.0
                max: 1.0
        """
    error = refused(nested)
    assert error.message.startswith("sweep.yaml:8:14: optimizer.lr: min 2.0 is not less")


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    Path("latin.yaml").write_bytes("name: Größe".encode("latin-1"))
    Path("folder").mkdir()
    for name, message, hint in (
        ("latin.yaml", "not UTF-8", "UTF-8"),
        ("folder", "is a folder", ""),
        ("missing.yaml", "there is no file missing.yaml", "library"),
        ("./latni.yaml", "there is no file", "latin.yaml"),
        ("quickstrat", "no sweep of that name", "did you mean `quickstart`?"),
        ("zzz", "no sweep of that name", "digits-grid"),
        ("z" * 5000, "no sweep of that name", "digits-grid"),
        ("~nobody-of-this-name/a.yaml", "there is no file", "digits-grid"),
        ("a\0b.yaml", "there is no file", "digits-grid"),
    ):
        with pytest.raises(UsageError) as caught:
            spec.load(name)
        assert message in caught.value.message
        assert hint in (caught.value.hint or "")


def test_a_program_of_an_impossible_name_is_only_missing() -> None:
    for name in ("z" * 5000, '"a\\0b"', "nowhere/train.**"):
        assert "there is no program" in refused(broken("train.py", name)).message


def test_a_deep_document_is_refused() -> None:
    assert "nested too deeply" in refused("a: " + "[" * 20_000).message
    assert "characters" in refused("a: " + "b" * 2_000_000).message


def test_anchors_and_merge_keys_work_and_keep_their_places() -> None:
    text = """\
        program: train.py
        method: random
        run_cap: 3
        parameters:
          a: &range {min: 1, max: 3}
          b: {<<: *range, max: 9}
        """
    sweep = load(text)
    assert [parameter.max for parameter in sweep.space.parameters] == [3, 9]
    error = refused(text.replace("max: 9", "max: 0"))
    assert "b: min 1 is not less than max 0" in error.message


def test_numbers_are_read_as_wandbs_servers_read_them() -> None:
    values = load(broken("[16, 32]", "[1e-4, 1E5, 1.5e3, .5e-1, -2.e+1, '1e-4', 1e, e5, 10]")).config["parameters"][
        "width"
    ]
    assert values == {"values": [1e-4, 1e5, 1500.0, 0.05, -20.0, "1e-4", "1e", "e5", 10]}
    assert yaml.safe_load(load(broken("0.001", "1e-5")).changed(run_cap=3).text)["parameters"]["lr"]["min"] == 1e-5


def test_a_program_is_needed_only_where_the_command_names_it() -> None:
    missing = GOOD.replace("train.py", "package.train")
    load(missing + 'command: ["${interpreter}", "-m", "${program}", "${args}"]\n')
    load(missing + 'command: ["${interpreter}", "-m", "elsewhere", "${args}"]\n')
    assert "no program package.train" in refused(missing + 'command: ["${interpreter}", "${program}"]\n').message
    load(GOOD + """command: ["bash", "-c", "cd ${HOME} && python train.py"]\n""")  # the shell's own variable


WARNED = {
    "log_uniform with values": (
        "lr: {distribution: log_uniform, min: 0.001, max: 0.1}",
        "6:22",
        "lr: log_uniform takes exponents of e, so min 0.001 and max 0.1 give values from 1.001 to 1.105",
        "log_uniform_values",
    ),
    "q_log_uniform with values": (
        "lr: {distribution: q_log_uniform, min: 2, max: 12}",
        "6:22",
        "q_log_uniform takes exponents",
        "q_log_uniform_values",
    ),
}


@pytest.mark.parametrize("case", WARNED)
def test_what_was_surely_not_meant_is_warned_of(case: str) -> None:
    parameter, where, message, fix = WARNED[case]
    sweep = load(GOOD.replace("lr: {distribution: log_uniform_values, min: 0.001, max: 0.1}", parameter))
    (warning,) = sweep.warnings
    assert f"{warning.line}:{warning.column}" == where
    assert message in warning.message
    assert fix in warning.fix


@pytest.mark.parametrize(
    "parameter",
    [
        "lr: {distribution: log_uniform, min: -9.2, max: -2.3}",
        "lr: {distribution: log_uniform, min: 0, max: 5}",
        "lr: {values: ['1e-2', \"0.1\"]}",
        "lr: {distribution: q_uniform, min: 0, max: 1, q: 0.1}",
    ],
)
def test_what_may_be_meant_is_not_warned_of(parameter: str) -> None:
    text = GOOD.replace("lr: {distribution: log_uniform_values, min: 0.001, max: 0.1}", parameter)
    assert load(text).warnings == ()


def test_a_search_without_end_and_an_accuracy_without_goal_are_warned_of() -> None:
    sweep = load(GOOD.replace("run_cap: 10\n", "").replace("val_loss, goal: minimize", "val_acc"))
    assert [(warning.line, warning.fix) for warning in sweep.warnings] == [
        (2, "add `run_cap: 20`"),
        (3, "add `goal: maximize`"),
    ]


def test_a_spec_can_be_changed_without_changing_what_it_came_from() -> None:
    nested = load(
        """\
        program: train.py
        method: grid
        parameters:
          epochs: {value: 8}
          optimizer: {parameters: {name: {values: [Adam, SGD]}, lr: {values: [0.1, 0.2, 0.3]}}}
        """
    )
    before = yaml.safe_dump(nested.config)
    changed = nested.changed({"epochs": 3, "optimizer.name": "SGD", "seed": 1}, run_cap=2)
    assert (nested.count(), changed.count(), changed.space.grid_size()) == (6, 2, 3)
    assert changed.space.configuration(changed.space.grid_at(2)) == {
        "epochs": 3,
        "seed": 1,
        "optimizer": {"name": "SGD", "lr": 0.3},
    }
    assert yaml.safe_load(changed.text) == changed.config
    assert yaml.safe_dump(nested.config) == before
    with pytest.raises(UsageError, match="run_cap"):
        nested.changed(run_cap=0)


snippets = st.sampled_from(
    [
        *GOOD.split(),
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        "&a ",
        "*a",
        "<<: ",
        "!!int ",
        "!x ",
        "|\n",
        "\n  ",
        "\n",
        "\t",
        "null",
        "1e-4",
        "'",
        '"',
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(snippets, max_size=25).map("".join)))
def test_any_text_is_a_spec_or_a_usage_error(text: str) -> None:
    try:
        sweep = spec.parse(text, Path("s.yaml"))
    except UsageError as error:
        assert error.message.startswith("s.yaml:")
        return
    assert sweep.method


scalars: Any = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["grid", "bayes", "train.py", "hyperband"])
)
trees: Any = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner)),
    max_leaves=6,
)
KEYS = [
    "method",
    "metric",
    "metrics",
    "parameters",
    "early_terminate",
    "command",
    "scheduler",
    "run_cap",
    "program",
    "kind",
    "job",
]
METRICS: Any = st.one_of(trees, st.just({"name": "val_loss"}))
PARAMETERS: Any = st.one_of(trees, st.just({"a": {"values": [1, 2]}}))


@given(
    st.fixed_dictionaries(
        {"method": st.one_of(trees, st.sampled_from(["grid", "random", "bayes", "custom"]))},
        optional=dict.fromkeys(KEYS[2:], trees) | {"metric": METRICS, "parameters": PARAMETERS},
    )
)
def test_any_tree_is_a_spec_or_a_usage_error(tree: dict[str, Any]) -> None:
    text = yaml.safe_dump(tree)
    try:
        spec.parse(text, Path("s.yaml")).count()
    except UsageError as error:
        assert error.message.startswith("s.yaml:")


def test_the_names_of_the_library_win_over_nothing_that_is_there() -> None:
    Path("quickstart").write_text(GOOD)
    assert spec.load("quickstart").path == Path("quickstart")
    Path("quickstart").unlink()
    assert spec.load("quickstart").path == catalog.LIBRARY / "quickstart.yaml"


PAGE = (Path(__file__).parent.parent.parent / "docs" / "sweep-yaml.md").read_text()


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_of_the_reference_are_sweeps(example: str) -> None:
    assert load(example).warnings == ()


def test_the_reference_names_every_key_macro_and_distribution() -> None:
    keys = [
        "name",
        "description",
        "project",
        "entity",
        "program",
        "command",
        "method",
        "metric",
        "metrics",
        "parameters",
    ]
    keys += ["early_terminate", "run_cap", "controller", "scheduler", "job", "image_uri", "apiVersion", "kind"]
    with pytest.raises(UsageError, match=f"a sweep may have {', '.join(keys)}"):
        load("x: 1\n" + GOOD)
    keys += ["goal", "target", "impute", "impute_while_running", "min_iter", "max_iter", "s", "eta", "strict"]
    keys += [*DISTRIBUTIONS, *(f"${{{macro}}}" for macro in schema.MACROS)]
    keys += ["value", "values", "probabilities", "min", "max", "q", "mu", "sigma", "a", "b"]
    assert [key for key in keys if f"`{key}`" not in PAGE] == []
