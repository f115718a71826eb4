"""The key ``scheduler:``: every slip is told with its place and its fix, and no code of the user's is run for it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from sweepkit.errors import UsageError
from sweepkit.sweeps import plan, scheduler_key, spec
from sweepkit.sweeps.agents.devices import Slot

GOOD = """\
program: train.py
method: custom
metric: {name: loss, goal: minimize}
run_cap: 10
scheduler:
  engine: optuna
  source: search.py
  search_space: space
  optimizer: study
"""
SOURCE = """
from helpers import imported
raise SystemExit("checking must not run this")
def space(trial, *, depth=3):
    return {}
def study(sweep): ...
def nothing(): ...
def two(trial, other): ...
def keyword(trial, *, needed): ...
def several(*trials): ...
async def later(trial): ...
assigned = lambda trial: {}
if True:
    def conditional(trial): return {}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("")
    Path("search.py").write_text(SOURCE)
    Path("broken.py").write_text("def space(trial):\nreturn {}\n")


def load(text: str) -> spec.Spec:
    return spec.parse(textwrap.dedent(text), Path("sweep.yaml"))


def with_key(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


SLIPS = {
    "an unknown engine": (with_key("optuna", "optuma"), "6:11", "allowed are wandb, optuna, ax", "`optuna`"),
    "no such source": (with_key("search.py", "serach.py"), "7:11", "no source serach.py", "`search.py`"),
    "no source near": (with_key("search.py", "zzz.txt"), "7:11", "no source zzz.txt", "is looked for in"),
    "no Python": (with_key("search.py", "broken.py"), "7:11", "broken.py:2: this is no Python", ""),
    "no such function": (with_key(": space", ": spaec"), "8:17", "search.py has no function spaec", "`space`"),
    "no function near": (with_key(": study", ": qqq"), "9:14", "has no function qqq", "its functions: space, study"),
    "no argument": (with_key(": study", ": nothing"), "9:14", "nothing in search.py, line 7, must take one", "(sweep)"),
    "two arguments": (with_key(": space", ": two"), "8:17", "must take one argument, a trial", "def two(trial):"),
    "a keyword that is needed": (with_key(": space", ": keyword"), "8:17", "must take one argument", ""),
    "asynchronous": (with_key(": space", ": later"), "8:17", "is asynchronous", "def"),
    "a function and no source": (with_key("  source: search.py\n", ""), "8:3", "function of `source`", ""),
    "no metric": (with_key("metric: {name: loss, goal: minimize}\n", ""), "5:3", "needs a `metric`", "metric:"),
    "no parameters": (with_key("  search_space: space\n", ""), "1:1", "needs the key `parameters`", ""),
    "a local controller": ("controller: {type: local}\n" + GOOD, "6:1", "exclude each other", "keep one"),
    "a distribution that Optuna has not": (
        with_key("  search_space: space\n", "") + "parameters: {x: {distribution: normal, mu: 0, sigma: 1}}\n",
        "9:17",
        "the engine optuna has no distribution normal",
        "search_space",
    ),
    "nested parameters": (
        with_key("  search_space: space\n", "") + "parameters: {o: {parameters: {lr: {min: 0.1, max: 1.0}}}}\n",
        "9:35",
        "o.lr: the engine optuna takes no nested parameters",
        "search_space",
    ),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_answered_with_its_place_and_its_fix(slip: str) -> None:
    text, where, message, hint = SLIPS[slip]
    with pytest.raises(UsageError) as caught:
        load(text)
    assert caught.value.message.startswith(f"sweep.yaml:{where}: "), caught.value.message
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["space", "several", "assigned", "imported", "conditional"])
def test_whatever_may_be_called_with_one_argument_is_taken(name: str) -> None:
    assert load(with_key(": space", f": {name}")).warnings == ()


def test_a_source_beside_the_yaml_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler looks for it in its own folder, so the sweep gets the whole path; in this one it stays as it is."""
    (tmp_path / "sweep.yaml").write_text(GOOD.replace("train.py", "../train.py"))
    assert spec.parse(GOOD, Path("sweep.yaml")).config["scheduler"]["source"] == "search.py"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = spec.load("../sweep.yaml").config["scheduler"]
    assert found == {"engine": "optuna", "source": str(tmp_path / "search.py"), "search_space": "space",
                     "optimizer": "study"}  # fmt: skip


def test_what_an_engine_passes_over_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_key, "find_spec", lambda name: None)
    text = with_key("optuna", "ax").replace("run_cap: 10\n", "").replace("  optimizer: study\n", "")
    told = [(each.line, each.message) for each in load(f"{text}parameters: {{x: {{min: 0.0, max: 1.0}}}}\n").warnings]
    assert told == [
        (5, "without `run_cap` the search goes on until it is stopped"),
        (5, "the engine ax needs the package ax, which is not here"),
        (7, "the engine ax takes no `search_space`"),
    ]
    both = load(f"{GOOD}parameters: {{epochs: {{value: 3}}}}\n").warnings
    assert "passes `parameters` over, those with one value too" in both[-1].message


def test_what_only_the_function_knows_is_neither_guessed_nor_held_fast() -> None:
    sweep = load(GOOD)
    assert (sweep.size(), sweep.count(), sweep.says) == (None, 10, "space in search.py")
    made = plan.plan(sweep, "embedded", "p", [Slot("cpu:0", {})], lambda: None)
    assert (made.commands, made.configurations) == ((), None)
    assert made.lines()[-1] == "configurations  as space in search.py says"
    with pytest.raises(UsageError, match="space in search.py says all that a trial is given") as caught:
        sweep.changed({"epochs": 2})
    assert caught.value.hint == "have it return the epochs that you want"
    assert sweep.changed(run_cap=3).count() == 3
