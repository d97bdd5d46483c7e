"""A class keeps what its name knows: its rows of the head follow it to any index, in every family of models."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.models import build, names
from reprolens.models.background import NEVER
from reprolens.models.heads import ClassRows, class_rows, head_by_name
from reprolens.models.one_stage import OneStage
from reprolens.models.registry import get
from reprolens.models.weights import Match, StartingWeights, load_starting_weights, save_starting_weights

OLD = ("a", "b", "c")
DEFAULT = "fcos_mobilenet_v2"
CLASS_MAJOR = "fasterrcnn_mobilenet_v3_large_fpn"
SIDE = 64
LIVELY: dict[str, Any] = {"score_threshold": 0.0}  # so that there are boxes to draw masks in

KINDS = (
    CLASS_MAJOR,
    "cascade_rcnn_resnet50_fpn",
    DEFAULT,
    "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
    "yolov3_tiny",
    "yolox_nano",
)
"""A model of each kind of head. Those of the transformers library choose what to look at by their classes; what becomes
of theirs is in test_detr.py."""


@dataclass(frozen=True)
class Trained:
    """A model of the classes OLD whose heads have been moved from their first values, and its weights/initial.pt.

    `seen` is what each of its heads, by name, is given for one picture.
    """

    model: nn.Module
    options: Model
    initial: Path
    seen: dict[str, tuple[Any, ...]]

    def used_for(self, classes: tuple[str, ...]) -> tuple[nn.Module, Match]:
        """Return a new model for `classes` with this one as starting weights."""
        model = build(self.options, len(classes))
        return model, load_starting_weights(self.initial, model, self.options, classes)

    @torch.inference_mode()
    def by_label(self, model: nn.Module) -> list[Tensor]:
        """Return what the heads of a model like this one say of each label, the background first: `(anything, 1 ..)`.

        That is the label's logit or score, and where every class has boxes or masks of its own, what they are.
        """
        said = list[list[Tensor]]()
        for name, given in self.seen.items():
            output: Any = model.eval().get_submodule(name)(*given)
            if isinstance(model, OneStage):  # no background: nothing is said of it
                scores = model.decode(output, (SIDE, SIDE))[1].flatten(0, 1)
                said.append([torch.zeros_like(scores[:, 0]), *scores.unbind(1)])
            elif isinstance(output, dict):  # torchvision's dense detectors
                said.append(list(output["cls_logits"].flatten(0, 1).unbind(1)))
            elif isinstance(output, Tensor):  # masks
                said.append(list(output.unbind(1)))
            else:
                logits, boxes = output
                said.append(list(logits.unbind(1)))
                if boxes.shape[1] > 4:
                    said.append(list(boxes.unflatten(-1, (-1, 4)).unbind(1)))
        return [torch.cat([part.flatten() for part in parts]) for parts in zip(*said, strict=True)]


def _heads(model: nn.Module) -> list[str]:
    """Return the names of the modules that speak of classes."""
    if not hasattr(model, "roi_heads"):
        return ["head"]
    predictors = ["roi_heads.box_predictor"]
    if isinstance(model.get_submodule(predictors[0]), nn.ModuleList):
        predictors = [f"{predictors[0]}.{stage}" for stage in range(3)]
    masks = getattr(model.roi_heads, "mask_predictor", None) is not None
    return [*predictors, *(["roi_heads.mask_predictor"] if masks else [])]


def _train(options: Model, folder: Path) -> Trained:
    torch.manual_seed(99)
    model = build(options, len(OLD)).eval()
    state = model.state_dict()
    for key in class_rows(options):
        state[key].copy_(torch.where(state[key] == NEVER, state[key], torch.randn_like(state[key])))
    save_starting_weights(folder / "initial.pt", StartingWeights(state, OLD, {}))
    seen: dict[str, tuple[Any, ...]] = {}
    for name in _heads(model):
        model.get_submodule(name).register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given}))
    with torch.inference_mode():
        model([torch.rand(3, SIDE, SIDE)])
    return Trained(build_again(model, options), options, folder / "initial.pt", seen)


def build_again(model: nn.Module, options: Model) -> nn.Module:
    """Return the model without its hooks."""
    again = build(options, len(OLD))
    again.load_state_dict(model.state_dict())
    return again


@pytest.fixture(scope="module", params=KINDS)
def any_model(
    request: pytest.FixtureRequest, options: Callable[..., Model], tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    return _train(options(request.param, **LIVELY), tmp_path_factory.mktemp("any"))


@pytest.fixture(scope="module", params=[DEFAULT, CLASS_MAJOR])
def either(
    request: pytest.FixtureRequest, options: Callable[..., Model], tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    return _train(options(request.param), tmp_path_factory.mktemp("either"))


@pytest.fixture(scope="module")
def default(options: Callable[..., Model], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return _train(options(DEFAULT), tmp_path_factory.mktemp("default"))


def test_every_family_has_its_kinds_of_head_here() -> None:
    families = {get(name).build.__module__ for name in names() if get(name).extra is None}
    assert {get(name).build.__module__ for name in KINDS} == families


def _same(first: Tensor, second: Tensor) -> None:
    """Assert that two say the same, up to the order of sums, which depends on how many rows a matrix has."""
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_known_classes_say_the_same_at_other_indices_and_new_ones_what_they_say_untrained(any_model: Trained) -> None:
    classes = ("c", "d", "a", "e")
    model = build(any_model.options, len(classes))
    untrained = copy.deepcopy(model)
    match = load_starting_weights(any_model.initial, model, any_model.options, classes)
    old, state = any_model.model.state_dict(), model.state_dict()
    assert match.partial == match.by_class
    assert (match.mismatched, match.new) == ((), ())
    assert set(match.kept) == set(state) - set(match.partial)
    assert [key for key in match.kept if not torch.equal(state[key], old[key])] == []
    assert match.head == "name"
    assert (match.classes_kept, match.classes_new, match.classes_dropped) == (("c", "a"), ("d", "e"), ("b",))

    was, now = any_model.by_label(any_model.model), any_model.by_label(model)
    assert (
        min(float((was[i] - was[j]).abs().max()) for i in range(4) for j in range(i)) > 1e-3
    )  # they can be told apart
    for here, there in ((0, 0), (1, 3), (3, 1)):
        _same(now[here], was[there])
    rest = {key: value for key, value in old.items() if key not in match.by_class}
    untrained.load_state_dict(rest, strict=False)
    for key, rows in class_rows(any_model.options).items():  # box and objectness of an anchor come with it
        own = untrained.state_dict()[key]
        leading = (rows.dimension + 1, torch.arange(rows.leading))
        rows.grouped(own).index_copy_(*leading, rows.grouped(old[key]).index_select(*leading))
    fresh = any_model.by_label(untrained)
    for index in (2, 4):
        _same(now[index], fresh[index])


def test_the_same_classes_in_the_same_order_are_the_same_model_to_the_bit(any_model: Trained) -> None:
    model, match = any_model.used_for(OLD)
    state = model.state_dict()
    assert [key for key, value in any_model.model.state_dict().items() if not torch.equal(value, state[key])] == []
    for now, before in zip(any_model.by_label(model), any_model.by_label(any_model.model), strict=True):
        assert torch.equal(now, before)
    assert set(match.kept) == set(state)
    assert (match.partial, match.mismatched, match.new) == ((), (), ())
    assert (match.classes_kept, match.classes_new, match.classes_dropped) == (OLD, (), ())


@pytest.mark.parametrize(
    "classes", [("c", "a", "b"), ("b",), ("x", "c", "y", "a", "z", "b", "w"), ("B", "c ", "")], ids="-".join
)
def test_rows_go_by_name_whatever_the_number_of_classes(classes: tuple[str, ...], either: Trained) -> None:
    model, match = either.used_for(classes)
    now, was = either.by_label(model), either.by_label(either.model)
    common = tuple(entry for entry in classes if entry in OLD)
    _same(now[0], was[0])
    for entry in common:
        _same(now[1 + classes.index(entry)], was[1 + OLD.index(entry)])
    assert match.classes_kept == common
    assert match.classes_new == tuple(entry for entry in classes if entry not in OLD)
    assert match.classes_dropped == tuple(entry for entry in OLD if entry not in classes)
    assert match.mismatched == ()


def test_rows_of_known_classes_are_the_old_ones_to_the_bit(default: Trained) -> None:
    state = default.used_for(("x", "c", "a", "y"))[0].state_dict()
    for key in ("head.classification_head.cls_logits.weight", "head.classification_head.cls_logits.bias"):
        was = default.model.state_dict()[key]
        assert torch.equal(state[key][[0, 2, 3]], was[[0, 3, 1]])


def test_the_size_and_the_thresholds_of_a_model_have_no_say_in_its_classes(options: Callable[..., Model]) -> None:
    for name in (DEFAULT, CLASS_MAJOR, "retinanet_resnet50_fpn_v2"):
        other = options(name, image_size=[96, 128], score_threshold=0.3, nms_threshold=0.9, detections_per_image=7)
        assert class_rows(other) == class_rows(options(name))


def test_looking_for_the_tensors_of_classes_leaves_chance_alone(options: Callable[..., Model]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    class_rows(options("ssdlite320_mobilenet_v3_large"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("known", [(), OLD])
def test_weights_that_let_the_background_speak_leave_it_silent(
    known: tuple[str, ...], options: Callable[..., Model], tmp_path: Path
) -> None:
    small = options(DEFAULT)
    state = {key: value.clone() for key, value in build(small, 3).state_dict().items()}
    bias = "head.classification_head.cls_logits.bias"
    state[bias] = torch.tensor([4.0, 1.0, 2.0, 3.0])  # as torchvision's own weights have it
    save_starting_weights(tmp_path / "initial.pt", StartingWeights(state, known, {}))
    model = build(small, 3)
    load_starting_weights(tmp_path / "initial.pt", model, small, ("c", "b", "a"))
    expected = [NEVER, 3, 2, 1] if known else [NEVER, 1, 2, 3]
    assert model.state_dict()[bias].tolist() == expected


# ---- weights that do not say their classes, or say what cannot be


def test_weights_without_names_are_kept_whole_where_they_fit_and_said_to_be_by_position(
    default: Trained, tmp_path: Path
) -> None:
    save_starting_weights(tmp_path / "initial.pt", StartingWeights(default.model.state_dict(), (), {}))
    model = build(default.options, 3)
    match = load_starting_weights(tmp_path / "initial.pt", model, default.options, ("c", "b", "a"))
    assert all(torch.equal(value, default.model.state_dict()[key]) for key, value in model.state_dict().items())
    assert (match.head, match.classes_kept, match.classes_new) == ("position", (), ("c", "b", "a"))
    assert (match.partial, match.mismatched) == ((), ())


@pytest.mark.parametrize("known", [(), ("a", "b"), ("a", "b", "c", "d")])
def test_a_head_that_its_names_do_not_explain_is_left_out_and_listed(
    known: tuple[str, ...], default: Trained, tmp_path: Path
) -> None:
    save_starting_weights(tmp_path / "initial.pt", StartingWeights(default.model.state_dict(), known, {}))
    model = build(default.options, 4 if not known else 3)
    fresh = {key: value.clone() for key, value in model.state_dict().items()}
    classes = ("a", "b", "c", "d")[: 4 if not known else 3]
    match = load_starting_weights(tmp_path / "initial.pt", model, default.options, classes)
    assert match.mismatched == match.by_class != ()
    assert (match.head, match.partial, match.classes_kept, match.classes_new) == ("none", (), (), classes)
    assert match.classes_dropped == known
    assert all(torch.equal(model.state_dict()[key], fresh[key]) for key in match.by_class)


def test_classes_of_a_model_of_another_family_are_not_called_kept(
    options: Callable[..., Model], default: Trained
) -> None:
    small = options("ssdlite320_mobilenet_v3_large")
    match = load_starting_weights(default.initial, build(small, 3), small, OLD)
    assert (match.head, match.classes_kept, match.classes_new, match.classes_dropped) == ("none", (), OLD, OLD)


def test_only_a_part_of_a_head_may_be_there(options: Callable[..., Model], tmp_path: Path) -> None:
    old = _train(options(CLASS_MAJOR), tmp_path)
    state = {key: value for key, value in old.model.state_dict().items() if "box_predictor.bbox_pred" not in key}
    save_starting_weights(tmp_path / "initial.pt", StartingWeights(state, OLD, {}))
    model, match = old.used_for(("c", "b"))
    assert match.new == tuple(f"roi_heads.box_predictor.bbox_pred.{kind}" for kind in ("bias", "weight"))
    assert (match.head, match.classes_kept) == ("name", ("c", "b"))
    now, was = old.by_label(model), old.by_label(old.model)
    proposals = len(now[1]) // 5  # a logit each, then four coordinates
    _same(now[1][:proposals], was[3][:proposals])


# ---- layouts of families to come


@pytest.mark.parametrize(
    ("rows", "shape"),
    [
        (ClassRows(0, 1, 0, 1), (2, 4)),  # YOLOX: a row a class, no background
        (ClassRows(0, 3, 5, 1), (21, 4)),  # YOLOv3: box, objectness and classes, for each of three anchors
        (ClassRows(0, 1, 1, 4), (12, 4)),  # Faster R-CNN's boxes
        (ClassRows(1, 1, 1, 1), (4, 3)),  # a transposed convolution: its output is the second dimension
    ],
)
def test_every_layout_takes_what_leads_and_what_is_known(rows: ClassRows, shape: tuple[int, int]) -> None:
    given = torch.arange(shape[0] * shape[1]).reshape(shape).double()
    own = -torch.ones(rows.shape(given.shape, 3)).double()
    joined = head_by_name({"x": given}, {"x": own}, {"x": rows}, ("p", "q"), ("q", "n", "p"))["x"]
    there, here = rows.grouped(given), rows.grouped(joined)
    axis, lead = rows.dimension + 1, rows.leading
    picked = torch.tensor([*range(lead), lead + 1, lead])
    placed = torch.tensor([*range(lead), lead, lead + 2])
    assert torch.equal(here.index_select(axis, placed), there.index_select(axis, picked))
    assert (here.select(axis, lead + 1) == -1).all()
    assert (own == -1).all()
