"""What holds of every model, whatever its family."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.config.compose import compose
from reprolens.evaluation import Detections
from reprolens.export.parity import difference
from reprolens.loading import Key, TrainingPictures, build_augmentation, open_index, stack
from reprolens.models import build, load_trained, names, save_trained
from reprolens.models.freezing import backbone_stages
from reprolens.voc import Folder

CLASSES = 10


@pytest.fixture(scope="module", params=names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(name: str, lively: Callable[[str], nn.Module]) -> Iterator[nn.Module]:
    yield lively(name)


def _pictures(*sizes: tuple[int, int]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(3, height, width, generator=generator) for height, width in sizes]


def _targets(*counts: int) -> list[dict[str, Tensor]]:
    """Return targets with that many objects a picture, all within its first 48 pixels."""
    generator = torch.Generator().manual_seed(5)
    targets = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * 24
        boxes = torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=generator) * 16], dim=1)
        targets.append({"boxes": boxes, "labels": torch.randint(1, CLASSES + 1, (count,), generator=generator)})
    return targets


def _found(model: nn.Module, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
    with torch.inference_mode():
        return model.eval()(pictures)


@pytest.mark.parametrize("counts", [(3, 0), (0, 0)])
def test_losses_and_the_gradients_of_all_parameters_are_finite(model: nn.Module, counts: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model.zero_grad()
    losses = model.train()(_pictures((64, 64), (64, 64)), _targets(*counts))
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
    for first, second in zip(together, alone, strict=True):
        gap = difference(first, second, 0.0, len(first), 1e-4)
        assert (gap.unmatched, gap.box < 0.01, gap.score < 1e-4) == (0, True, True), gap


def test_a_saved_model_predicts_the_same_bits(
    name: str, model: nn.Module, options: Callable[..., Model], tmp_path: Path
) -> None:
    classes = tuple("abcdefghij")
    save_trained(tmp_path / "model.pt", model.state_dict(), options(name), classes)
    loaded = load_trained(tmp_path / "model.pt")
    assert (loaded.options, loaded.classes, loaded.module.training) == (options(name), classes, False)
    pictures = _pictures((64, 64), (50, 80))
    for first, second in zip(_found(model, pictures), _found(loaded.module, pictures), strict=True):
        assert all(torch.equal(first[key], second[key]) for key in ("boxes", "scores", "labels"))


def test_the_stages_of_the_backbone_are_disjoint_and_begin_at_the_picture(model: nn.Module) -> None:
    stages = backbone_stages(model)
    parameters = [parameter for stage in stages for parameter in stage.parameters()]
    assert len(stages) >= 5
    assert len({id(parameter) for parameter in parameters}) == len(parameters)
    assert parameters[0] is next(iter(model.get_submodule("backbone").parameters())) or parameters[0].shape[1] == 3
    assert {id(p) for p in parameters} <= {id(p) for p in model.get_submodule("backbone").parameters()}


def test_the_default_model_learns_four_pictures_by_heart(digits: Folder, options: Callable[..., Model]) -> None:
    torch.manual_seed(0)
    model = build(options("fcos_mobilenet_v2"), CLASSES).train()
    none = compose(Path(__file__).parents[2], ["augment=none"]).augment
    pictures = TrainingPictures(open_index(digits), "train", (64, 64), build_augmentation(none), 0)
    images, targets, _ = stack([pictures[Key(1, index, 64, 64, False)] for index in range(4)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for _ in range(60):
        losses = model(images.float() / 255, targets)
        loss = sum(losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(float(losses["classification"].detach()))
    assert sum(history[-5:]) / 5 < 0.1 * history[0], history


def _detections(found: dict[str, Tensor]) -> Detections:
    return Detections(found["boxes"].numpy(), found["scores"].numpy(), found["labels"].numpy() - 1)
