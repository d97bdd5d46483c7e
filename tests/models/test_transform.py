"""How a picture enters the network."""

import pytest
import torch

from reprolens.models.preprocessing import UNCHANGED, Preprocessing
from reprolens.models.transform import FixedSizeTransform


@pytest.fixture
def transform() -> FixedSizeTransform:
    """Return a transform to 32 x 64 that does not normalise."""
    return FixedSizeTransform((32, 64), UNCHANGED, 32)


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


def test_masks_are_resized_with_their_picture(transform: FixedSizeTransform) -> None:
    mask = torch.zeros(2, 16, 20, dtype=torch.uint8)
    mask[0, 4:8, 5:15] = 1  # 4 rows and 10 columns of 16 x 20 are 8 rows and 32 columns of 32 x 64
    target = {"boxes": torch.tensor([[5.0, 4.0, 15.0, 8.0], [0.0, 0.0, 1.0, 1.0]]), "masks": mask}
    nothing = {"boxes": torch.zeros(0, 4), "masks": torch.zeros(0, 16, 20, dtype=torch.uint8)}
    _, [resized, empty] = transform([torch.rand(3, 16, 20)] * 2, [target, nothing])
    expected = torch.zeros(32, 64, dtype=torch.uint8)
    expected[8:16, 16:48] = 1
    assert torch.equal(resized["masks"], torch.stack([expected, torch.zeros_like(expected)]))
    assert empty["masks"].shape == (0, 32, 64)
    assert mask.shape == (2, 16, 20)  # the caller's own stay


@pytest.mark.parametrize("paste", [True, False])
def test_predicted_masks_are_pasted_into_their_picture_unless_told_otherwise(
    paste: bool, transform: FixedSizeTransform
) -> None:
    transform.eval().paste = paste
    found = {"boxes": torch.tensor([[16.0, 8.0, 48.0, 16.0]]), "masks": torch.ones(1, 1, 28, 28)}
    [found] = transform.postprocess([found], [(32, 64)], [(16, 20)])
    assert found["boxes"][0].tolist() == [5, 4, 15, 8]
    assert found["masks"].shape == ((1, 1, 16, 20) if paste else (1, 1, 28, 28))
    assert found["masks"][0, 0, 5, 8] == 1


def test_normalisation_is_taken_over() -> None:
    half = Preprocessing((0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
    [pixels] = FixedSizeTransform((32, 32), half, 32)([torch.full((3, 32, 32), 0.5)])[0].tensors
    assert pixels[:, 0, 0].tolist() == [0.0, 1.0, 0.25]
