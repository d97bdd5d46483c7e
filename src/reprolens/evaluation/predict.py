"""What a detector finds in the pictures of a split."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from reprolens.config import Evaluate
from reprolens.errors import DataError
from reprolens.evaluation.measures.detections import Detections, truth_of
from reprolens.evaluation.measures.evaluator import DetectionEvaluator, Results
from reprolens.evaluation.picture import Picture
from reprolens.loading import EvaluationPictures, evaluation_loader, open_index
from reprolens.models import TrainedModel
from reprolens.progress import track
from reprolens.voc import Folder, Record


@torch.inference_mode()
def detect(
    model: nn.Module, batches: Iterable[tuple[list[Tensor], list[Record]]]
) -> Iterator[tuple[Record, Detections]]:
    """Yield each picture's record with what `model` finds in it; the model is put into evaluation mode.

    `batches`: pictures `(3, H, W)` float, 0 to 1, and their records, as `loading.evaluation_loader` gives them.
    """
    model.eval()
    device = next(model.parameters()).device
    for images, records in batches:
        for record, found in zip(records, model([image.to(device) for image in images]), strict=True):
            boxes, scores, labels = (found[name].cpu().numpy() for name in ("boxes", "scores", "labels"))
            yield record, Detections(boxes, scores, labels - 1)  # torchvision's 0 is the background


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
    for record, detections in gather(list(detect(model, batches))):
        evaluator.update(record.id, detections, truth_of(record, classes), (record.width, record.height))
    metrics = evaluator.compute().metrics
    return {"map50": metrics["voc12/map50"] or 0.0, "map": metrics["coco/ap"] or 0.0}


def evaluate_split(
    trained: TrainedModel, folder: Folder, options: Evaluate, seed: int
) -> tuple[Results, list[Picture]]:
    """Return how good a trained model is on a split, and every picture with what it found.

    The results have a breakdown of the errors. `seed` decides the pictures that the intervals' resamples draw.

    Raises DataError if the model was trained for other classes than the folder's.
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
    pictures = []
    for record, detections in detect(trained.module, batches):
        evaluator.update(record.id, detections, truth_of(record, folder.classes), (record.width, record.height))
        pictures.append(Picture(record, folder.image(record), detections))
    return evaluator.compute(), pictures
