"""What holds of every model, whatever its family."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.config.compose import compose
from reprolens.evaluation import DetectionEvaluator, Detections, Truth
from reprolens.export.gate.numbers import difference
from reprolens.loading import Key, TrainingPictures, build_augmentation, open_index, stack
from reprolens.models import build, load_trained, names, save_trained
from reprolens.models.freezing import backbone_stages
from reprolens.models.registry import get
from reprolens.voc import Folder

CLASSES = 10
LEARNING_RATES = {
    "fasterrcnn_resnet50_fpn": 5e-4,
    "retinanet_resnet50_fpn": 5e-4,
    "retinanet_resnet50_fpn_v2": 5e-4,
    "yolox_nano": 5e-3,
}
"""Of models that do not learn at 2e-3."""


# One process builds a model once, for all of its tests.
@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names()])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str, lively: Callable[[str], nn.Module]) -> Iterator[nn.Module]:
    yield lively(name)


def _pictures(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(3, height, width, generator=generator) for height, width in sizes]


def _targets(*counts: int, masks: bool = False) -> list[dict[str, Tensor]]:
    """Return targets with that many objects a picture, all within its first 48 pixels."""
    generator = torch.Generator().manual_seed(5)
    targets = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * 24
        boxes = torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=generator) * 16], dim=1)
        targets.append({"boxes": boxes, "labels": torch.randint(1, CLASSES + 1, (count,), generator=generator)})
        if masks:
            targets[-1]["masks"] = _filled(boxes, 64)
    return targets


def _found(model: nn.Module, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
    with torch.inference_mode():
        return model.eval()(pictures)


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_losses_and_the_gradients_of_all_parameters_are_finite(
    name: str, model: nn.Module, counts: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    model.zero_grad()
    losses = model.train()(_pictures((64, 64), (64, 64)), _targets(*counts, masks=_has_masks(name)))
    sum(losses.values()).backward()
    assert all(bool(torch.isfinite(loss)) for loss in losses.values()), losses
    # Without any object the regression of some families has no say in the loss, and no gradient.
    gradients = {
        key: p.grad for key, p in model.named_parameters() if p.requires_grad and (sum(counts) or p.grad is not None)
    }
    assert [key for key, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []


def test_predictions_lie_in_the_pixels_of_the_picture_given_and_name_classes_only(model: nn.Module) -> None:
    sizes = [(50, 80), (97, 41), (64, 64)]
    for (height, width), found in zip(sizes, _found(model, _pictures(*sizes)), strict=True):
        boxes, scores, labels = found["boxes"], found["scores"], found["labels"]
        assert len(boxes) == len(scores) == len(labels) > 0
        assert boxes.shape[1] == 4
        assert boxes.min() >= 0
        assert boxes[:, [0, 2]].max() <= width + 1e-3
        assert boxes[:, [1, 3]].max() <= height + 1e-3
        assert boxes[:, 2].max() > 0.7 * width  # not in the pixels of a smaller picture
        assert boxes[:, 3].max() > 0.7 * height
        assert labels.min() >= 1
        assert labels.max() <= CLASSES
        assert scores.min() >= 0
        assert scores.max() <= 1
        assert (scores.diff() <= 0).all()


def test_at_a_size_that_no_stride_divides_boxes_lie_in_the_picture_too(
    name: str, options: Callable[..., Model]
) -> None:
    if get(name).fixed_size:
        return  # it has one size only
    torch.manual_seed(0)
    model = build(options(name, image_size=[50, 70], score_threshold=0.0), CLASSES)
    for (height, width), found in zip(
        [(50, 70), (100, 140)], _found(model, _pictures((50, 70), (100, 140))), strict=True
    ):
        assert len(found["boxes"]) > 0
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"] <= torch.tensor([width, height, width, height]) + 1e-3).all()


def test_an_untrained_model_names_the_background_at_no_threshold(name: str, options: Callable[..., Model]) -> None:
    torch.manual_seed(0)
    model = build(options(name, score_threshold=0.0, detections_per_image=300), CLASSES)
    [found] = _found(model, _pictures((64, 64)))
    assert len(found["labels"]) > 0
    assert found["labels"].min() >= 1


def test_a_picture_in_a_batch_gives_what_it_gives_alone(model: nn.Module) -> None:
    pictures = _pictures((64, 64), (80, 50), (64, 64))
    together = [_detections(found) for found in _found(model, pictures)]
    alone = [_detections(_found(model, [picture])[0]) for picture in pictures]
    # Pixels, and the share of detections without a partner; of two proposals that are as good, either may go on.
    near, alone_at_most = (0.2, 0.05) if hasattr(model, "roi_heads") else (0.01, 0.0)
    for first, second in zip(together, alone, strict=True):
        gap = difference(first, second, 0.0, len(first), 1e-4)
        assert gap.unmatched <= alone_at_most * len(first), gap
        assert (gap.box < near, gap.score < 1e-4) == (True, True), gap


def test_a_saved_model_predicts_the_same_bits(
    name: str, model: nn.Module, options: Callable[..., Model], tmp_path: Path
) -> None:
    classes = tuple("abcdefghij")
    save_trained(tmp_path / "model.pt", model.state_dict(), options(name), classes)
    loaded = load_trained(tmp_path / "model.pt")
    if hasattr(model, "rpn"):  # the tests' models look at fewer proposals
        loaded.module.rpn._post_nms_top_n = model.rpn._post_nms_top_n
    assert (loaded.options, loaded.classes, loaded.module.training) == (options(name), classes, False)
    pictures = _pictures((64, 64), (50, 80))
    for first, second in zip(_found(model, pictures), _found(loaded.module, pictures), strict=True):
        assert all(torch.equal(first[key], second[key]) for key in ("boxes", "scores", "labels"))


def test_the_stages_of_the_backbone_are_disjoint_and_begin_at_the_picture(model: nn.Module) -> None:
    stages = backbone_stages(model)
    parameters = [parameter for stage in stages for parameter in stage.parameters()]
    assert len(stages) >= 3
    assert len({id(parameter) for parameter in parameters}) == len(parameters)
    assert parameters[0] is next(iter(model.get_submodule("backbone").parameters())) or parameters[0].shape[1] == 3
    assert {id(p) for p in parameters} <= {id(p) for p in model.get_submodule("backbone").parameters()}


@pytest.mark.slow
def test_every_model_learns_four_pictures_by_heart(name: str, digits: Folder, options: Callable[..., Model]) -> None:
    choice = options(name)
    if get(name).fixed_size:  # VGG at 300 or 512 pixels would take half an hour here; its head learns the same way
        choice = replace(choice, backbone="mobilenet_v2")
    torch.manual_seed(0)
    model = build(choice, CLASSES)
    images, targets = _four(digits, choice)
    if _has_masks(name):
        targets = [{**target, "masks": _filled(target["boxes"], images.shape[-1])} for target in targets]
    if hasattr(model, "roi_heads"):  # fewer boxes are sampled for the second stage, which takes nearly all the time
        model.roi_heads.fg_bg_sampler.batch_size_per_image = 24
    rate = LEARNING_RATES.get(name, 2e-3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    steps = 240 if name.startswith("yolox") else 120  # its targets of classes are IoUs, which have to grow first
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    history: list[float] = []
    while len(history) < steps:
        loss = torch.stack(list(model.train()(images, targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        history.append(float(loss.detach()))
        if sum(history[-5:]) / 5 < 0.1 * history[0]:
            return
        if len(history) % 20 == 0 and _average_precision(model, images, targets) == 1:
            return
    raise AssertionError(f"loss {history[::10]}, AP50 {_average_precision(model, images, targets)}")


def _four(digits: Folder, options: Model) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """Return four pictures at the model's size as one batch, and their targets."""
    none = compose(Path(__file__).parents[2], ["augment=none"]).augment
    height, width = options.image_size
    pictures = TrainingPictures(open_index(digits), "train", (height, width), build_augmentation(none), 0)
    images, targets, _ = stack([pictures[Key(1, index, height, width, False)] for index in range(4)])
    return images.float() / 255, targets


def _average_precision(model: nn.Module, images: Tensor, targets: list[dict[str, Tensor]]) -> float | None:
    """Return mAP at IoU 0.5 (VOC12) of the very pictures that were learnt."""
    evaluator = DetectionEvaluator(tuple(map(str, range(CLASSES))))
    with torch.inference_mode():
        for place, (found, target) in enumerate(zip(model.eval()(images), targets, strict=True)):
            none = np.zeros(len(target["labels"]), dtype=bool)
            truth = Truth(target["boxes"].numpy(), target["labels"].numpy() - 1, none, none)
            evaluator.update(str(place), _detections(found), truth, (images.shape[3], images.shape[2]))
    return evaluator.compute().metrics["voc12/map50"]


def _has_masks(name: str) -> bool:
    return get(name).task == "instance segmentation"


def _filled(boxes: Tensor, side: int) -> Tensor:
    """Return boxes `(N, 4)` as masks `(N, side, side)`."""
    rows, columns = torch.arange(side)[:, None], torch.arange(side)
    x0, y0, x1, y1 = (edge[:, None, None] for edge in boxes.unbind(1))
    return ((rows >= y0) & (rows < y1) & (columns >= x0) & (columns < x1)).to(torch.uint8)


def _detections(found: dict[str, Tensor]) -> Detections:
    return Detections(found["boxes"].numpy(), found["scores"].numpy(), found["labels"].numpy() - 1)
