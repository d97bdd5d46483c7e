"""How a picture enters the network."""

import pytest
import torch
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from reprolens.models.transform import FixedSizeTransform


@pytest.fixture
def transform() -> FixedSizeTransform:
    """Return a transform to 32 x 64 that does not normalise."""
    return FixedSizeTransform((32, 64), GeneralizedRCNNTransform(1, 1, [0.0] * 3, [1.0] * 3))


def test_every_picture_becomes_one_size_and_its_boxes_follow(transform: FixedSizeTransform) -> None:
    box = {"boxes": torch.tensor([[2.0, 4.0, 10.0, 8.0]]), "labels": torch.tensor([1])}
    batch, targets = transform([torch.rand(3, 16, 20), torch.rand(3, 100, 33)], [box, box])
    assert batch.tensors.shape == (2, 3, 32, 64)
    assert batch.image_sizes == [(32, 64), (32, 64)]
    assert targets is not None
    assert targets[0]["boxes"][0].tolist() == pytest.approx([6.4, 8, 32, 16])
    assert box["boxes"].tolist() == [[2, 4, 10, 8]]  # the caller's own stay


def test_predictions_go_back_to_where_boxes_came_from(transform: FixedSizeTransform) -> None:
    box = torch.tensor([[2.0, 4.0, 10.0, 8.0]])
    _, targets = transform([torch.rand(3, 16, 20)], [{"boxes": box}])
    assert targets is not None
    [found] = transform.eval().postprocess([{"boxes": targets[0]["boxes"]}], [(32, 64)], [(16, 20)])
    assert torch.allclose(found["boxes"], box)


def test_a_picture_of_the_right_size_passes_untouched(transform: FixedSizeTransform) -> None:
    picture = torch.rand(3, 32, 64)
    assert torch.equal(transform([picture])[0].tensors[0], picture)


def test_a_large_picture_is_averaged_not_sampled(transform: FixedSizeTransform) -> None:
    stripes = torch.zeros(3, 320, 640)
    stripes[:, :, ::3] = 1
    [small] = transform([stripes])[0].tensors
    assert (small[:, 2:-2, 2:-2] - 1 / 3).abs().max() < 0.03


def test_normalisation_is_taken_over() -> None:
    original = GeneralizedRCNNTransform(1, 1, [0.5, 0.25, 0.0], [0.5, 0.25, 2.0])
    [pixels] = FixedSizeTransform((32, 32), original)([torch.full((3, 32, 32), 0.5)])[0].tensors
    assert pixels[:, 0, 0].tolist() == [0.0, 1.0, 0.25]
