"""weights/initial.pt: what of it enters a model, what comes with it, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.saying import of_file
from reprolens.config import Model
from reprolens.errors import WeightsError
from reprolens.models import build, save_trained
from reprolens.models.preprocessing import IMAGENET, UNCHANGED, Preprocessing
from reprolens.models.weights import (
    StartingWeights,
    file_weights,
    load_starting_weights,
    random_weights,
    report,
    save_starting_weights,
)

DEFAULT = "fcos_mobilenet_v2"
CAFFE = Preprocessing((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), 255.0, "BGR")


def test_a_head_for_other_classes_is_left_out_and_listed(options: Callable[..., Model], tmp_path: Path) -> None:
    source, target = build(options(DEFAULT), 3), build(options(DEFAULT), 5)
    path = tmp_path / "other.pth"
    torch.save(source.state_dict(), path)
    save_starting_weights(tmp_path / "initial.pt", file_weights(of_file(path), options(DEFAULT)))
    fresh = {key: value.clone() for key, value in target.state_dict().items()}
    match = load_starting_weights(tmp_path / "initial.pt", target, options(DEFAULT), ("a", "b", "c", "d", "e"))
    heads = {f"head.classification_head.cls_logits.{kind}" for kind in ("weight", "bias")}
    assert set(match.mismatched) == heads
    assert match.new == ()
    own = target.state_dict()
    assert all(torch.equal(own[key], fresh[key]) for key in heads)
    assert all(torch.equal(own[key], value) for key, value in source.state_dict().items() if key not in heads)


def test_a_trained_model_gives_the_classes_that_a_new_data_set_shares(
    options: Callable[..., Model], tmp_path: Path
) -> None:
    source, target = build(options(DEFAULT), 3), build(options(DEFAULT), 2)
    bias = "head.classification_head.cls_logits.bias"
    source.state_dict()[bias][1:] = torch.tensor([1.0, 2.0, 3.0])
    save_trained(tmp_path / "model.pt", source.state_dict(), options(DEFAULT), ("x", "y", "z"))
    larger = options(DEFAULT, image_size=[96, 96], score_threshold=0.4)
    weights = file_weights(of_file(tmp_path / "model.pt"), larger)
    save_starting_weights(tmp_path / "initial.pt", weights)
    fresh = float(target.state_dict()[bias][1])
    match = load_starting_weights(tmp_path / "initial.pt", target, larger, ("new", "y"))
    assert (match.classes_kept, match.classes_new, match.classes_dropped) == (("y",), ("new",), ("x", "z"))
    assert target.state_dict()[bias][1:].tolist() == [fresh, 2.0]


def test_random_weights_leave_the_model_as_the_seed_made_it(options: Callable[..., Model], tmp_path: Path) -> None:
    save_starting_weights(tmp_path / "initial.pt", random_weights())
    model = build(options(DEFAULT), 2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    match = load_starting_weights(tmp_path / "initial.pt", model, options(DEFAULT), ("a", "b"))
    assert (match.kept, match.mismatched, set(match.new)) == ((), (), set(before))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_the_same_starting_weights_give_the_same_bytes(tmp_path: Path) -> None:
    weights = StartingWeights({"a": torch.arange(3.0)}, ("x",), {"source": "file"}, CAFFE)
    for name in ("initial.pt", "again.pt"):
        save_starting_weights(tmp_path / name, weights)
    assert (tmp_path / "initial.pt").read_bytes() == (tmp_path / "again.pt").read_bytes()


def test_what_the_pretrain_stage_did_not_write_is_refused(options: Callable[..., Model], tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "initial.pt")
    with pytest.raises(WeightsError, match="not written by the pretrain stage"):
        load_starting_weights(tmp_path / "initial.pt", build(options(DEFAULT), 2), options(DEFAULT), ("a", "b"))


# ---- what the weights expect of a picture


def _preprocessing(model: torch.nn.Module) -> Preprocessing:
    return model.get_submodule("transform").preprocessing  # type: ignore[return-value]


@pytest.mark.parametrize(("part", "expected"), [("backbone.", CAFFE), ("head.", IMAGENET)])
def test_what_enters_the_backbone_brings_its_preprocessing_and_a_head_alone_does_not(
    part: str, expected: Preprocessing, options: Callable[..., Model], tmp_path: Path
) -> None:
    state = {key: value for key, value in build(options(DEFAULT), 2).state_dict().items() if key.startswith(part)}
    save_starting_weights(tmp_path / "initial.pt", StartingWeights(state, (), {}, CAFFE))
    model = build(options(DEFAULT), 2)
    load_starting_weights(tmp_path / "initial.pt", model, options(DEFAULT), ("a", "b"))
    assert _preprocessing(model) == expected


@pytest.mark.parametrize("name", [DEFAULT, "ssdlite320_mobilenet_v3_large"])
def test_weights_that_do_not_say_it_leave_the_models_own(
    name: str, options: Callable[..., Model], tmp_path: Path
) -> None:
    save_starting_weights(tmp_path / "initial.pt", StartingWeights(build(options(name), 2).state_dict(), (), {}))
    model = build(options(name), 2)
    own = _preprocessing(model)
    load_starting_weights(tmp_path / "initial.pt", model, options(name), ("a", "b"))
    assert _preprocessing(model) == own


def test_another_preprocessing_is_another_file(tmp_path: Path) -> None:
    """A training's fingerprint covers the bytes of weights/initial.pt, so it covers the preprocessing, too."""
    for name, said in (("a.pt", None), ("b.pt", UNCHANGED), ("c.pt", CAFFE)):
        save_starting_weights(tmp_path / name, StartingWeights({}, (), {}, said))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 3


def test_an_initial_file_of_before_has_no_preprocessing(options: Callable[..., Model], tmp_path: Path) -> None:
    state = build(options(DEFAULT), 2).state_dict()
    content = {"format": "reprolens-initial-1", "classes": [], "origin": {}, "state_dict": state}
    torch.save(content, tmp_path / "initial.pt")
    model = build(options(DEFAULT), 2)
    assert load_starting_weights(tmp_path / "initial.pt", model, options(DEFAULT), ("a", "b")).new == ()
    assert _preprocessing(model) == IMAGENET


@pytest.mark.parametrize(
    "said", [{}, {"mean": [0, 0], "std": [1, 1]}, {"mean": [0, 0, 0], "std": [1, 1, 0]}, "BGR", {"mean": 1, "std": 2}]
)
def test_a_preprocessing_that_is_none_is_refused(said: object, options: Callable[..., Model], tmp_path: Path) -> None:
    content = {"format": "reprolens-initial-1", "classes": [], "preprocessing": said, "state_dict": {}}
    torch.save(content, tmp_path / "initial.pt")
    with pytest.raises(WeightsError, match=r"initial\.pt: damaged, what it says of preprocessing"):
        load_starting_weights(tmp_path / "initial.pt", build(options(DEFAULT), 2), options(DEFAULT), ("a", "b"))


def test_the_report_says_what_the_weights_expect() -> None:
    said = report(StartingWeights({"a": torch.zeros(1)}, (), {"source": "file"}, CAFFE))
    assert said == {
        "source": "file",
        "tensors": 1,
        "preprocessing/mean": [103.53, 116.28, 123.675],
        "preprocessing/std": [1.0, 1.0, 1.0],
        "preprocessing/range": 255.0,
        "preprocessing/order": "BGR",
    }
    assert report(random_weights()) == {"source": "random", "tensors": 0}
