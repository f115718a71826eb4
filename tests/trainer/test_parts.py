"""The model, the optimizers, checkpoints, names and tasks, each on its own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from sweepkit.errors import SweepkitError, UsageError
from sweepkit.trainer import cases, checkpoint, compute, naming, tasks
from sweepkit.trainer.compute import Computing
from sweepkit.trainer.config import Hyperparameters
from sweepkit.trainer.model import SmallCNN, make_optimizer, optimizer_class
from sweepkit.trainer.train import channel_statistics, evaluate, step
from torch.nn import functional


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32), (2, 4)])
def test_the_model_takes_images_of_every_size(channels: int, side: int) -> None:
    model = SmallCNN(channels, 10, width=4, dropout=0.1)
    images = torch.randint(0, 256, (5, channels, side, side), dtype=torch.uint8)
    assert model(images).shape == (5, 10)


def test_every_optimizer_of_torch_takes_a_step_or_says_why_not() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(8, 1, 8, 8), torch.randint(0, 3, (8,))
    names = {name for name, kind in vars(torch.optim).items() if isinstance(kind, type)} - {"Optimizer", "SparseAdam"}
    refused = set()
    for name in sorted(names):
        model = SmallCNN(1, 3, width=2, dropout=0.0)
        try:
            optimizer = make_optimizer(model, Hyperparameters(optim_type=name.lower(), lr=0.01))
        except UsageError as error:
            assert name in error.message
            refused.add(name)
            continue
        assert torch.isfinite(step(model, optimizer, x, y, Computing(torch.device("cpu"))))
    assert refused <= {"Muon"}  # takes matrices only


# In bfloat16 (8 bits) another pixel may be the largest of a pool: then the gradient goes another way.
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.2)])
def test_a_step_in_each_precision_has_the_gradient_of_float32(precision: str, tolerance: float) -> None:
    torch.manual_seed(0)
    x, y = torch.randint(0, 256, (70, 1, 12, 12), dtype=torch.uint8), torch.randint(0, 10, (70,))
    model = SmallCNN(1, 10, 16, 0.0, torch.tensor([127.5]), torch.tensor([73.9]))
    expected = functional.cross_entropy(model(x), y)
    wanted = torch.cat([each.flatten() for each in torch.autograd.grad(expected, list(model.parameters()))])
    expected = expected.detach()
    loss = step(model, torch.optim.SGD(model.parameters(), lr=0.0), x, y, Computing(x.device, precision))
    found = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])
    assert float(loss) == pytest.approx(float(expected), rel=tolerance)
    assert float((found - wanted).norm() / wanted.norm()) < tolerance
    together = evaluate(model, x, y, Computing(x.device))
    assert evaluate(model, x, y, Computing(x.device, precision)) == pytest.approx(together, abs=tolerance)


def test_bf16_is_chosen_where_the_hardware_has_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert [compute.resolve(asked, cpu) for asked in ("bf16", "fp32")] == ["bf16", "fp32"]
    flags = Path("/proc/cpuinfo")
    if flags.is_file() and hasattr(torch.cpu, "_is_avx512_bf16_supported"):
        has = any(flag in flags.read_text() for flag in ("avx512_bf16", "amx_tile"))
        assert compute.resolve("auto", cpu) == ("bf16" if has else "fp32")
    for check in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):  # another machine's torch, or an old one
        monkeypatch.delattr(torch.cpu, check, raising=False)
    assert compute.resolve("auto", cpu) == "fp32"


def test_an_unknown_optimizer_is_answered_with_the_valid_names() -> None:
    with pytest.raises(UsageError) as caught:
        optimizer_class("Adamm")
    assert "AdamW" in str(caught.value.hint)
    assert "Did you mean 'Adam'?" in str(caught.value.hint)
    with pytest.raises(UsageError, match="Adam takes no momentum"):
        make_optimizer(SmallCNN(1, 2, 2, 0.0), Hyperparameters(momentum=0.9))
    sgd = make_optimizer(SmallCNN(1, 2, 2, 0.0), Hyperparameters(optim_type="SGD"))
    assert sgd.param_groups[0]["momentum"] == 0.9


def test_statistics_normalise_each_channel() -> None:
    mean, std = channel_statistics(torch.stack([torch.arange(16.0), torch.full((16,), 3.0)]).reshape(1, 2, 4, 4))
    assert mean.tolist() == [7.5, 3.0]
    assert std.tolist() == pytest.approx([4.6098, 1.0], abs=1e-4)
    images = torch.randint(0, 256, (50, 3, 5, 5), dtype=torch.uint8)
    for counted, computed in zip(channel_statistics(images), channel_statistics(images.float()), strict=True):
        assert counted.tolist() == pytest.approx(computed.tolist(), rel=1e-6)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "a" / "last.pt", {"weights": torch.arange(100.0), "epoch": 3})
    content = checkpoint.load(tmp_path / "a" / "last.pt")
    assert content["epoch"] == 3
    assert torch.equal(content["weights"], torch.arange(100.0))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["last.pt"]  # no temporary file stays


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "pickle"])
def test_a_damaged_checkpoint_is_told_in_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"weights": torch.arange(1000.0)})
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x55
    pickle = b"cos\nsystem\n(S'touch hacked'\ntR."
    broken = {"empty": b"", "cut": whole[:-100], "flipped": bytes(flipped), "text": b"not found", "pickle": pickle}
    path.write_bytes(broken[damage])
    with pytest.raises(checkpoint.CheckpointError, match="is damaged"):
        checkpoint.load(path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SweepkitError, match="cannot write the checkpoint"):
        checkpoint.save(tmp_path / "file" / "last.pt", {})
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        checkpoint.save(path, {"epoch": 2, "bad": lambda: None})
    assert checkpoint.load(path)["epoch"] == 1


def test_names_have_the_time_then_numbers_then_texts() -> None:
    moment = time.strptime("2026-11-23 23:52", "%Y-%m-%d %H:%M")
    assert naming.describe(moment, {"lr": 0.01, "optimizer": "Adam", "width": 32}) == "1123-2352 lr=0.01 width=32 Adam"


def test_digits_are_there_without_network_and_the_same_each_time(tmp_path: Path) -> None:
    task = tasks.find("digits")
    whole = tasks.load(task, tmp_path, 1.0, 0)
    assert whole.train_x.shape == (1437, 1, 8, 8)
    assert whole.val_x.shape == (360, 1, 8, 8)
    assert (whole.train_x.dtype, int(whole.train_x.max())) == (torch.uint8, 255)
    part, again, other = (tasks.load(task, tmp_path, 0.2, seed) for seed in (1, 1, 2))
    assert len(part.train_x) == 287
    assert torch.equal(part.train_x, again.train_x)
    assert not torch.equal(part.train_y, other.train_y)
    assert torch.equal(part.val_x, other.val_x)  # every trial is judged by the same images
    assert task.draw(whole.val_x[0]).size == (80, 80)


def test_digits_are_those_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    ours = tasks.load(tasks.find("digits"), tmp_path, 1.0, 0)
    x = torch.cat([ours.train_x, ours.val_x]).double().mul(16 / 255).round()
    theirs = load_digits()
    assert int(x.sum()) == int(theirs.data.sum())
    assert torch.bincount(torch.cat([ours.train_y, ours.val_y])).tolist() == [
        int((theirs.target == digit).sum()) for digit in range(10)
    ]


def test_a_dataset_that_is_not_there_names_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")  # a network that refuses, wherever the test runs
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(UsageError) as caught:
        tasks.load(tasks.find("mnist"), tmp_path, 0.2, 0)
    assert f"mnist is not in {tmp_path}" in caught.value.message
    assert "MNIST/raw/ with train-images-idx3-ubyte" in str(caught.value.hint)
    assert "--data-root" in str(caught.value.hint)


def test_mnist_is_read_where_it_lies(tmp_path: Path, own_cache: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, size in (("train", 20), ("t10k", 5)):
        images = torch.arange(size * 28 * 28).to(torch.uint8).numpy().tobytes()
        head = b"".join(number.to_bytes(4, "big") for number in (0x803, size, 28, 28))
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + images)
        labels = bytes(index % 10 for index in range(size))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes((0x801).to_bytes(4, "big") + size.to_bytes(4, "big") + labels)
    data = tasks.load(tasks.find("mnist"), tmp_path, 0.5, 0)
    assert data.train_x.shape == (10, 1, 28, 28)
    assert data.val_y.tolist() == [0, 1, 2, 3, 4]
    whole = tasks.load(tasks.find("mnist"), tmp_path, 1.0, 0)
    assert whole.train_x.flatten().tolist() == list(torch.arange(20 * 28 * 28).to(torch.uint8))
    assert whole.train_y.tolist() == [index % 10 for index in range(20)]
    assert len(list((own_cache / "sweepkit" / "datasets").glob("mnist-*.pt"))) == 1
    (raw / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03cut")
    with pytest.raises(UsageError, match="are damaged"):
        tasks.load(tasks.find("mnist"), tmp_path, 0.5, 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "unknown task 'mnits'"),
        ("no_such_module:Task", "no module named 'no_such_module'"),
        ("missing.py:Task", "there is no file missing.py"),
        ("json:nothing", "json has no 'nothing'"),
        ("json:JSONDecoder", "lacks name, classes, in_channels, load, draw"),
    ],
)
def test_a_task_that_is_not_there_is_told_by_name(name: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        tasks.find(name)
    assert message in caught.value.message


def test_good_and_bad_cases_are_the_first_ones() -> None:
    truth, predicted = torch.tensor([0, 1, 1, 0, 1]), torch.tensor([0, 0, 1, 0, 0])
    assert cases.choose(truth, predicted, kept=2) == ([0, 2], [1, 4])
    assert cases.confusion(truth, predicted, 2).tolist() == [[2, 0], [2, 1]]
