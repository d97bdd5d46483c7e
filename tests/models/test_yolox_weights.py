"""Checkpoints of YOLOX's own code: read whole, whatever else they hold, and refused where they do not fit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.errors import WeightsError
from reprolens.models import build
from reprolens.models.yolox_weights import read_checkpoint

Options = Callable[..., Model]


def _official(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a model under the names of YOLOX's own code."""
    return {
        name.replace("backbone.body.", "backbone.backbone.").replace("backbone.neck.", "backbone."): tensor
        for name, tensor in model.state_dict().items()
    }


def test_a_checkpoint_of_the_original_trainer_is_read_whole(options: Options, tmp_path: Path) -> None:
    """It holds the optimizer and a numpy number, too."""
    theirs, ours = build(options("yolox_nano"), 80), build(options("yolox_nano"), 80)
    content = {"start_epoch": 300, "model": _official(theirs), "best_ap": np.float64(0.4), "optimizer": {"state": {}}}
    torch.save(content, tmp_path / "yolox_nano.pth")
    torch.save(content["model"], tmp_path / "plain.pth")
    for file in ("yolox_nano.pth", "plain.pth"):
        found = read_checkpoint(tmp_path / file, ours)
        assert found is not None
        ours.load_state_dict(found)
        loaded = ours.state_dict()
        assert all(torch.equal(tensor, loaded[name]) for name, tensor in theirs.state_dict().items())


def test_a_checkpoint_for_other_classes_keeps_its_heads(options: Options, tmp_path: Path) -> None:
    torch.save({"model": _official(build(options("yolox_nano"), 80))}, tmp_path / "yolox_nano.pth")
    found = read_checkpoint(tmp_path / "yolox_nano.pth", build(options("yolox_nano"), 3))
    assert found is not None
    assert found["head.cls_preds.2.weight"].shape == (80, 64, 1, 1)


def test_a_checkpoint_of_parallel_training_is_read_whole(options: Options, tmp_path: Path) -> None:
    theirs, ours = _official(build(options("yolox_nano"), 80)), build(options("yolox_nano"), 80)
    torch.save({"model": {f"module.{name}": tensor for name, tensor in theirs.items()}}, tmp_path / "parallel.pth")
    found = read_checkpoint(tmp_path / "parallel.pth", ours)
    assert found is not None and found.keys() == ours.state_dict().keys()


@pytest.mark.parametrize("count", [100, 400])
def test_a_checkpoint_that_is_cut_off_is_refused(count: int, options: Options, tmp_path: Path) -> None:
    state = _official(build(options("yolox_nano"), 80))
    torch.save({"model": dict(list(state.items())[:count])}, tmp_path / "cut.pth")
    with pytest.raises(WeightsError, match=rf"cut\.pth: cut off, it holds {count} of the model's {len(state)} tensors"):
        read_checkpoint(tmp_path / "cut.pth", build(options("yolox_nano"), 80))


def test_a_checkpoint_of_another_yolox_is_refused_by_name(options: Options, tmp_path: Path) -> None:
    torch.save({"model": _official(build(options("yolox_tiny"), 80))}, tmp_path / "latest.pth")
    with pytest.raises(WeightsError, match=r"latest\.pth: weights of yolox_tiny, which is another model"):
        read_checkpoint(tmp_path / "latest.pth", build(options("yolox_nano"), 80))


def test_a_model_with_another_backbone_is_told_so(options: Options, tmp_path: Path) -> None:
    torch.save({"model": _official(build(options("yolox_nano"), 80))}, tmp_path / "yolox_nano.pth")
    with pytest.raises(WeightsError, match=r"yolox_nano\.pth: .* own backbone only; set model\.backbone to null"):
        read_checkpoint(tmp_path / "yolox_nano.pth", build(options("yolox_nano", backbone="resnet18"), 80))


def test_other_files_are_left_to_others(options: Options, tmp_path: Path) -> None:
    model = build(options("yolox_nano"), 2)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "own.pt")
    (tmp_path / "damaged.pth").write_bytes(b"PK\x03\x04 no more")
    assert read_checkpoint(tmp_path / "own.pt", model) is None
    assert read_checkpoint(tmp_path / "damaged.pth", model) is None
