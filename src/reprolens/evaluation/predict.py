"""What a detector finds in the pictures of a split."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from reprolens.config import Evaluate
from reprolens.errors import DataError
from reprolens.evaluation.measures.detections import Detections, Masks, Truth, truth_of
from reprolens.evaluation.measures.evaluator import DetectionEvaluator, Results
from reprolens.evaluation.picture import Picture
from reprolens.loading import EvaluationPictures, evaluation_loader, open_index
from reprolens.loading.masks import object_masks, object_numbers
from reprolens.models import TrainedModel
from reprolens.models.mask_rcnn import TASK, paste, small_masks, without_masks
from reprolens.models.registry import get
from reprolens.progress import track
from reprolens.voc import Folder, Record


@torch.inference_mode()
def detect(
    model: nn.Module, batches: Iterable[tuple[list[Tensor], list[Record]]], masks: bool = True
) -> Iterator[tuple[Record, Detections]]:
    """Yield each picture's record with what `model` finds in it; the model is put into evaluation mode.

    `batches`: pictures `(3, H, W)` float, 0 to 1, and their records, as `loading.evaluation_loader` gives them. With
    `masks` the detections have the outlines that the model draws, if it does; without, they are not even computed.
    """
    model.eval()
    device = next(model.parameters()).device
    for images, records in batches:
        with small_masks(model) if masks else without_masks(model) as small:
            predictions = model([image.to(device) for image in images])
        for image, record, given in zip(images, records, predictions, strict=True):
            found = {name: value.cpu() for name, value in given.items()}
            boxes, scores, labels = (found[name].numpy() for name in ("boxes", "scores", "labels"))
            drawn = _drawn(found, (image.shape[1], image.shape[2]), bool(small)) if masks else None
            yield record, Detections(boxes, scores, labels - 1, drawn)  # torchvision's 0 is the background


def validation_metrics(
    model: nn.Module,
    batches: Iterable[tuple[list[Tensor], list[Record]]],
    classes: tuple[str, ...],
    gather: Callable[[list[tuple[Record, Detections]]], list[tuple[Record, Detections]]] = list,
) -> dict[str, float]:
    """Return `map50` (VOC12) and `map` (COCO AP) of `model` on the pictures of `batches`; 0 where undefined.

    Where several processes have a share of the pictures each, `gather` joins what they found.
    """
    evaluator = DetectionEvaluator(classes)
    for record, detections in gather(list(detect(model, batches, masks=False))):
        evaluator.update(record.id, detections, truth_of(record, classes), (record.width, record.height))
    metrics = evaluator.compute().metrics
    return {"map50": metrics["voc12/map50"] or 0.0, "map": metrics["coco/ap"] or 0.0}


def evaluate_split(
    trained: TrainedModel, folder: Folder, options: Evaluate, seed: int
) -> tuple[Results, list[Picture]]:
    """Return how good a trained model is on a split, and every picture with what it found.

    The results have a breakdown of the errors, and COCO's numbers of masks if the model draws some and every object of
    the split has an outline. `seed` decides the pictures that the intervals' resamples draw.

    Raises DataError if the model was trained for other classes than the folder's, or a mask of the split is damaged.
    """
    if trained.classes != folder.classes:
        raise DataError(f"{folder.root}: its classes are not the model's; run dvc repro train")
    trained.module.to("cuda" if torch.cuda.is_available() else "cpu")
    batches = track(
        evaluation_loader(EvaluationPictures(open_index(folder), options.split), options.batch_size), "evaluate"
    )
    evaluator = DetectionEvaluator(
        folder.classes,
        options.score_threshold,
        options.bootstrap,
        seed,
        breakdown=True,
        cases=options.cases,
        label_errors=max(options.cases, options.label_errors),
    )
    pictures, masks = [], get(trained.options.name).task == TASK
    for record, detections in detect(trained.module, batches):
        truth = _outlined_truth(folder, record) if masks else truth_of(record, folder.classes)
        evaluator.update(record.id, detections, truth, (record.width, record.height))
        pictures.append(Picture(record, folder.image(record), detections))
    return evaluator.compute(), pictures


def _drawn(found: dict[str, Tensor], size: tuple[int, int], small: bool) -> Masks | None:
    """Return the outlines that a model drew in a picture of `size` (height, width), or None if it draws none.

    Its masks are `(N, 1, H, W)`, or, if `small`, `(N, 1, m, m)` in their boxes; one at a time is brought to the
    picture, because all together may take gigabytes.
    """
    if "masks" not in found:
        return None
    pairs = zip(found["masks"], found["boxes"], strict=True)
    return tuple(_encoded((paste(mask, box, size) if small else mask[0] > 0.5).numpy()) for mask, box in pairs)


def _outlined_truth(folder: Folder, record: Record) -> Truth:
    """Return what is in a picture, with the objects' outlines: their own, else what SegmentationObject/ shows of them.

    An index's records leave the outlines out, so the annotation is read once more.
    """
    truth = truth_of(folder.record(record.id), folder.classes, masks=True)
    if truth.masks is not None or truth.crowd.any():  # a crowd's pixels are void in such a file
        return truth
    numbers = object_numbers(folder, record)
    masks = object_masks(numbers, range(1, len(truth) + 1), (record.height, record.width))
    if not masks.any((1, 2)).all():
        return truth
    return replace(truth, masks=tuple(_encoded(mask) for mask in masks))


def _encoded(mask: np.ndarray) -> bytes:
    """Return a mask `(H, W)` as `Masks` has it."""
    from hotcoco import mask as run_lengths

    return bytes(run_lengths.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"])
