"""Cascade R-CNN: what each stage learns on, and what the three make of a box together. All numbers by hand."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from reprolens.config import Model
from reprolens.models.cascade_rcnn import (
    STAGES,
    CascadeHeads,
    Stage,
    assign,
    build_cascade_rcnn_resnet50_fpn,
    refine,
    stage_losses,
)

OPTIONS = Model("cascade_rcnn_resnet50_fpn", None, [64, 64], 0.05, 0.5, 100)
SQUARE = {"boxes": torch.tensor([[0.0, 0.0, 100.0, 100.0]]), "labels": torch.tensor([7])}


def _heads(classes: int = 2) -> CascadeHeads:
    """Return stages for maps of four channels that see nothing: what they say is their biases alone, at first 0."""
    torch.manual_seed(0)
    heads = CascadeHeads(4, classes, OPTIONS)
    for predictor in heads.box_predictor:
        torch.nn.init.zeros_(predictor.cls_score.weight)
        torch.nn.init.zeros_(predictor.bbox_pred.weight)
    return heads


def _features() -> dict[str, Tensor]:
    return {str(level): torch.rand(1, 4, 32 >> level, 32 >> level) for level in range(4)}


def test_parameters_are_the_published_ones() -> None:
    with torch.device("meta"):
        model = build_cascade_rcnn_resnet50_fpn(80, (64, 64), OPTIONS)
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    stem = tuple(f"backbone.body.{part}." for part in ("conv1", "bn1", "layer1"))
    frozen = sum(count for name, count in counts.items() if name.startswith(stem))
    assert sum(counts.values()) == 69_394_766
    assert sum(counts.values()) - frozen == 69_169_422  # mmdetection's 69.17 M, without what it never trains


def test_a_stage_asks_for_more_overlap_than_the_one_before() -> None:
    boxes = torch.tensor([[0.0, 0, 100, share] for share in (40, 55, 65, 75)])  # IoUs of 0.40 to 0.75
    labels = [assign(boxes, SQUARE, stage.iou)[0].tolist() for stage in STAGES]
    assert labels == [[0, 7, 7, 7], [0, 0, 7, 7], [0, 0, 0, 7]]


def test_a_box_belongs_to_the_object_that_it_overlaps_most() -> None:
    target = {"boxes": torch.tensor([[0.0, 0, 10, 10], [2.0, 0, 12, 10]]), "labels": torch.tensor([1, 2])}
    labels, truth = assign(torch.tensor([[0.5, 0, 10.5, 10], [1.6, 0, 11.6, 10]]), target, 0.5)
    assert labels.tolist() == [1, 2]
    assert torch.equal(truth, target["boxes"])


def test_without_objects_all_is_background() -> None:
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    labels, truth = assign(torch.rand(3, 4), nothing, 0.5)
    assert labels.tolist() == [0, 0, 0]
    assert truth.shape == (3, 4)


@pytest.mark.parametrize(("stage", "expected"), list(zip(STAGES, ([1, 0, 0], [2, 0, 0], [3, 0, 0]), strict=True)))
def test_codes_grow_with_the_weights_of_the_stage(stage: Stage, expected: list[float]) -> None:
    coder = BoxCoder(stage.box_weights)
    codes = coder.encode_single(torch.tensor([[1.0, 0, 11, 20]]), torch.tensor([[0.0, 0, 10, 20]]))
    assert codes[0, :3].tolist() == pytest.approx(expected)  # a tenth of the width to the right
    wider = coder.encode_single(torch.tensor([[-5.0, 0, 15, 20]]), torch.tensor([[0.0, 0, 10, 20]]))
    assert wider[0].tolist() == pytest.approx([0, 0, stage.box_weights[2] * math.log(2), 0])


def test_refined_boxes_are_moved_by_their_codes_and_cut_to_their_picture() -> None:
    boxes = [torch.tensor([[10.0, 10, 30, 50]]), torch.tensor([[0.0, 0, 20, 20]])]
    codes = torch.tensor([[2.0, 0, 0, 10 * math.log(2)], [-10.0, 0, 0, 0]])
    moved, cut = refine(codes, boxes, BoxCoder((20.0, 20.0, 10.0, 10.0)), [(200, 200), (64, 64)])
    assert moved[0].tolist() == pytest.approx([12, -10 + 10, 32, 70])  # twice as high: from -10 on, cut at 0
    assert cut[0].tolist() == pytest.approx([0, 0, 10, 20])


def test_losses_of_a_stage_are_those_worked_out_by_hand() -> None:
    codes = torch.tensor([[0.5, 0, 0, 2.0], [9.0, 9, 9, 9]])  # the second is background, so its codes do not matter
    classification, regression = stage_losses(torch.zeros(2, 3), codes, torch.tensor([2, 0]), torch.zeros(2, 4))
    assert float(classification) == pytest.approx(math.log(3))
    assert float(regression) == pytest.approx((0.5**2 / 2 + 2.0 - 0.5) / 2)


def test_the_losses_of_the_stages_count_one_half_and_a_quarter() -> None:
    target = {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])}
    _, losses = _heads().train()(_features(), [torch.tensor([[8.0, 8, 41, 40]])], [(128, 128)], [target])
    found = [float(losses[f"loss_classifier_{place}"].detach()) for place in (1, 2, 3)]
    assert found == pytest.approx([math.log(3), 0.5 * math.log(3), 0.25 * math.log(3)])
    # One of the two boxes, the true one, has nothing to learn, and the other is 33 wide instead of 32.
    right, narrower = -0.5 / 33, math.log(32 / 33)
    for place, stage in enumerate(STAGES, 1):
        first, third = stage.box_weights[0] * right, stage.box_weights[2] * narrower
        expected = stage.loss_weight * (first**2 / 2 + third**2 / 2) / 2
        assert float(losses[f"loss_box_reg_{place}"].detach()) == pytest.approx(expected, rel=1e-4)


def test_a_stage_learns_on_the_boxes_that_the_one_before_made() -> None:
    heads, target = _heads().train(), {"boxes": torch.tensor([[10.0, 10, 50, 50]]), "labels": torch.tensor([1])}
    first = heads.box_predictor[0].bbox_pred.bias
    with torch.no_grad():
        first.copy_(torch.tensor([10 * 0.3, 0, 0, 0]))  # every box goes 12 to the right
    _, losses = heads(_features(), [torch.tensor([[0.0, 10, 40, 50]])], [(128, 128)], [target])
    # The proposal, 10 left of the object, and the true box are positive in the first stage; moved, the first is 2 right
    # of the object, the other with an IoU of 28 / 52 background in those that follow.
    expected = [(0.5**2 / 2 + 3 - 0.5) / 2, 0.5 * (1**2 / 2) / 2, 0.25 * (1.5 - 0.5) / 2]
    regression = [losses[f"loss_box_reg_{place}"] for place in (1, 2, 3)]
    assert [float(loss.detach()) for loss in regression] == pytest.approx(expected, rel=1e-4)
    [gradient] = torch.autograd.grad(regression[1] + regression[2], first, allow_unused=True)
    assert gradient is None  # what a later stage thinks of a box does not move it


def test_a_detection_has_the_box_of_the_last_stage_and_the_mean_score_of_all() -> None:
    heads = _heads().eval()
    logits = [[0.0, 1.0, 2.0], [0.5, 3.0, 0.0], [0.0, 0.0, 1.0]]
    with torch.no_grad():
        for predictor, bias in zip(heads.box_predictor, logits, strict=True):
            predictor.cls_score.bias.copy_(torch.tensor(bias))
            predictor.bbox_pred.bias.copy_(torch.tensor([1.0, 0, 0, 0]))  # right by 1/10, then 1/20, then 1/30
        [found], losses = heads(_features(), [torch.tensor([[0.0, 0, 60, 40]])], [(128, 128)])
    means = torch.stack([torch.tensor(bias).softmax(0) for bias in logits]).mean(0)
    best = sorted(((float(means[label]), label) for label in (1, 2)), reverse=True)
    assert losses == {}
    assert found["labels"].tolist() == [label for _, label in best]
    assert found["scores"].tolist() == pytest.approx([score for score, _ in best])
    for box in found["boxes"]:
        assert box.tolist() == pytest.approx([11, 0, 71, 40], abs=1e-4)


def test_boxes_of_a_class_that_overlap_are_suppressed_and_weak_ones_left_out() -> None:
    heads = _heads(1).eval()
    with torch.no_grad():
        proposals = torch.tensor([[0.0, 0, 60, 40], [1.0, 0, 61, 40], [70.0, 70, 90, 90]])
        [found], _ = heads(_features(), [proposals], [(128, 128)])
        assert len(found["boxes"]) == 2  # all scores are 0.5
        heads.score_thresh = 0.6
        [found], _ = heads(_features(), [proposals], [(128, 128)])
    assert {name: len(values) for name, values in found.items()} == {"boxes": 0, "labels": 0, "scores": 0}
