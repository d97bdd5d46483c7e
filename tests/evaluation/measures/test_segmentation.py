"""Laws of the segmentation measure: it equals the VOC development kit's loop and hotcoco's, void pixels left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reprolens.errors import DataError
from reprolens.evaluation.measures.segmentation import SegmentationEvaluator, SegmentationResults

DATA = Path(__file__).parents[3].parent / "shared" / "data"
NAMES = ("background", "a", "b", "c", "d")
Masks = list[tuple[np.ndarray, np.ndarray]]


def _random(pictures: int, classes: int = 5, seed: int = 0) -> Masks:
    """Pairs of a predicted and a true mask of different sizes; a class is missing from some, one from all."""
    random = np.random.default_rng(seed)
    masks = []
    for _ in range(pictures):
        size = random.integers(5, 30, 2)
        truth = random.integers(0, random.integers(1, classes), size)
        prediction = np.where(random.random(size) < 0.7, truth, random.integers(0, classes - 1, size))
        masks.append((prediction.astype(np.uint8), np.where(random.random(size) < 0.1, 255, truth).astype(np.uint8)))
    return masks


def _measured(masks: Masks, names: tuple[str, ...] = NAMES, **options: Any) -> SegmentationResults:
    evaluator = SegmentationEvaluator(names, **options)
    for number, (prediction, truth) in enumerate(masks):
        evaluator.update(number, prediction, truth)
    return evaluator.compute()


def _voc(masks: Masks, classes: int) -> tuple[np.ndarray, list[float]]:
    """Return confusion and IoUs as VOCevalseg.m works them out, pixel by pixel; NaN where it divides by zero."""
    confusion = np.zeros((classes, classes), np.int64)
    for prediction, truth in masks:
        for found, real in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
            if real < 255:
                confusion[real, found] += 1
    accuracies = []
    for index in range(classes):
        union = confusion[index].sum() + confusion[:, index].sum() - confusion[index, index]
        accuracies.append(confusion[index, index] / union if union else np.nan)
    return confusion, accuracies


def test_ious_and_confusion_are_those_of_the_voc_development_kit() -> None:
    masks = _random(8)
    results = _measured(masks)
    confusion, accuracies = _voc(masks, 5)
    assert np.array_equal(results.confusion, confusion)
    assert np.isnan(accuracies[4]) and results.metrics["iou/d"] is None  # in no picture
    assert [results.metrics[f"iou/{name}"] for name in NAMES[:4]] == pytest.approx(accuracies[:4], abs=1e-15)
    assert results.metrics["miou"] == pytest.approx(np.mean(accuracies[:4]), abs=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_all_means_are_those_of_hotcoco(seed: int) -> None:
    from hotcoco.semantic import SemanticEval

    masks = _random(6, seed=seed)
    oracle = SemanticEval(list(NAMES))
    for prediction, truth in masks:
        oracle.update(truth, prediction)
    metrics, expected = _measured(masks).metrics, oracle.results()
    for key, other in (
        ("miou", "mIoU"),
        ("mean_accuracy", "mAcc"),
        ("pixel_accuracy", "aAcc"),
        ("frequency_weighted_iou", "fwIoU"),
    ):
        assert metrics[key] == pytest.approx(expected[other], abs=1e-12)
    for entry in expected["per_class"]:
        for key, value in ((f"iou/{entry['name']}", entry["IoU"]), (f"accuracy/{entry['name']}", entry["Acc"])):
            assert metrics[key] == (pytest.approx(value, abs=1e-12) if value >= 0 else None)


def test_void_pixels_do_not_count_whatever_is_predicted_there() -> None:
    truth = np.array([[0, 1, 255], [1, 255, 0]])
    right = np.array([[0, 1, 0], [1, 0, 0]])
    odd = np.where(truth == 255, 255, right)
    results = [_measured([(prediction, truth)]) for prediction in (right, odd)]
    assert results[0].metrics == results[1].metrics
    assert (results[0].metrics["miou"], results[0].metrics["pixels"], results[0].metrics["pixels/void"]) == (1, 4, 2)


def test_another_index_or_none_can_be_void() -> None:
    truth = np.array([[0, 1, -1]])
    assert _measured([(np.array([[0, 1, 3]]), truth)], ignore_index=-1).metrics["pixel_accuracy"] == 1
    with pytest.raises(DataError, match="0: the true mask holds -1"):
        _measured([(np.array([[0, 1, 3]]), truth)], ignore_index=None)


def test_the_background_is_a_class_like_the_others() -> None:
    truth, prediction = np.array([[0, 0, 0, 1]]), np.array([[0, 0, 0, 0]])
    metrics = _measured([(prediction, truth)], ("background", "thing")).metrics
    assert (metrics["iou/background"], metrics["iou/thing"], metrics["miou"]) == (3 / 4, 0, 3 / 8)


def test_the_masks_may_be_of_any_whole_type() -> None:
    masks = _random(3)
    expected = _measured(masks).metrics
    for first, second in ((np.int64, np.uint16), (np.uint64, np.uint8), (np.uint8, np.int32)):
        assert _measured([(one.astype(first), two.astype(second)) for one, two in masks]).metrics == expected
    black = [(one > 1, (two > 1) & (two < 255)) for one, two in masks]
    assert 0 < (_measured(black, ("no", "yes")).metrics["miou"] or 0) < 1


def test_intervals_are_those_of_resampled_pictures() -> None:
    from reprolens.evaluation.measures.bootstrap import draw, quantiles

    masks = _random(12)
    results = [_measured(masks, resamples=60, seed=seed).metrics for seed in (3, 3, 4)]
    assert results[0] == results[1] != results[2]
    drawn = draw(12, range(60), 3)
    repeated = [_measured([masks[image] for image in np.repeat(np.arange(12), row)]).metrics for row in drawn]
    for key in ("miou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou"):
        value = results[0][key]
        first, last = quantiles(np.array([metrics[key] for metrics in repeated], float))
        low, high = max(0.0, min(value, 2 * value - last)), min(1.0, max(value, 2 * value - first))
        assert (results[0][f"{key}/low"], results[0][f"{key}/high"]) == pytest.approx((low, high), abs=1e-12)
        assert list(results[0])[list(results[0]).index(key) + 1] == f"{key}/low"


def test_without_pictures_or_with_void_alone_everything_is_undefined() -> None:
    evaluator = SegmentationEvaluator(NAMES, resamples=10)
    evaluator.update("x", np.zeros((2, 2), int), np.zeros((2, 2), int))
    evaluator.reset()
    void = np.full((2, 3), 255)
    for results, images in ((evaluator.compute(), 0), (_measured([(void, void)], resamples=5), 1)):
        metrics = dict(results.metrics)
        assert (metrics.pop("images"), metrics.pop("pixels"), metrics.pop("pixels/void")) == (images, 0, 6 * images)
        assert set(metrics.values()) == {None}


@pytest.mark.parametrize(
    ("id", "prediction", "truth", "words"),
    [
        ("x", [[0]], [[0]], "x: evaluated twice"),
        ("y", [[0, 0]], [[0], [0]], r"y: the predicted and the true mask are not of one size: 1x2 and 2x1"),
        ("y", [0], [0], "y: the predicted and the true mask are not of one size"),
        ("y", [[5]], [[0]], "y: the predicted mask holds 5, outside 0 to 4"),
        ("y", [[-1]], [[0]], "y: the predicted mask holds -1"),
        ("y", [[0]], [[7]], "y: the true mask holds 7"),
    ],
)
def test_bad_input_names_the_picture_and_adds_nothing(id: str, prediction: list, truth: list, words: str) -> None:
    evaluator = SegmentationEvaluator(NAMES)
    evaluator.update("x", [[0, 1]], [[0, 0]])
    before = evaluator.compute().metrics
    with pytest.raises(DataError, match=words):
        evaluator.update(id, prediction, truth)
    assert evaluator.compute().metrics == before


def test_scores_instead_of_indices_are_refused() -> None:
    with pytest.raises(ValueError, match="must hold whole numbers"):
        _measured([(np.array([[0.2]]), np.array([[0]]))])


def test_a_threshold_segments_membranes_as_well_as_a_plain_count_of_pixels_says() -> None:
    folder = DATA / "membrane_seg" / "data" / "membrane" / "train"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    masks = []
    for path in sorted((folder / "label").glob("*.png"))[:8]:
        picture = np.asarray(Image.open(folder / "image" / path.name).convert("L"))
        masks.append(
            ((picture > 90).astype(np.uint8), (np.asarray(Image.open(path).convert("L")) > 127).astype(np.uint8))
        )
    metrics = _measured(masks, ("membrane", "cell"), resamples=100).metrics
    found, real = (np.concatenate([pair[place].ravel() for pair in masks]).astype(bool) for place in (0, 1))
    ious = [(found & real).sum() / (found | real).sum(), (~found & ~real).sum() / (~found | ~real).sum()]
    assert metrics["miou"] == pytest.approx(np.mean(ious), abs=1e-12)
    assert metrics["pixel_accuracy"] == pytest.approx((found == real).mean(), abs=1e-12)
    low, value, high = (metrics[key] or 0.0 for key in ("miou/low", "miou", "miou/high"))
    assert 0.5 < low < value < high < 0.9
