"""The detection task: a detector on a VOC folder, from its starting weights to the model that is kept."""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import accelerate
import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from reprolens.config import Config, LastLayers, Transfer
from reprolens.errors import TrainingError
from reprolens.loading import (
    EpochBatches,
    EvaluationPictures,
    Key,
    TrainingPictures,
    build_augmentation,
    evaluation_loader,
    open_index,
    picture_cache,
    stack,
    training_loader,
)
from reprolens.loading.index import Index
from reprolens.loading.masks import check_outlines, masks_digest
from reprolens.loading.sampling import SIZE_STEP
from reprolens.models.checkpoint import plain
from reprolens.models.freezing import ever_trainable, set_trainable
from reprolens.models.mask_rcnn import TASK
from reprolens.models.preprocessing import Preprocessing
from reprolens.models.registry import build, get
from reprolens.models.weights import Match, load_starting_weights
from reprolens.training.checkpoint import UNFINISHED, discard_oldest, load_checkpoint, locked
from reprolens.training.failures import explained
from reprolens.training.fingerprint import fingerprint, run_folder
from reprolens.training.hardware import Hardware, candidates, choose_device, plain_hardware
from reprolens.training.loop import Batch, Task, train
from reprolens.training.probe import fastest, fits_gpu, largest_batch, measurements
from reprolens.training.processes import agreed, place
from reprolens.voc import Folder

Gather = Callable[[list[Any]], list[Any]]
Measure = Callable[[nn.Module, Iterable[Any], tuple[str, ...], Gather], Mapping[str, float]]
"""`(model, batches of this process's share of the val split, class names, gather)` to named metrics, `map` among them:
the evaluator, from above. `gather` joins the lists of all processes."""
Follow = Callable[[str], AbstractContextManager[Callable[[], None]]]
"""A training's fingerprint to a context that lasts as long as it does, and gives what to call after every epoch."""


def unfollowed(fingerprint: str) -> AbstractContextManager[Callable[[], None]]:
    """Tell nobody how a training goes."""
    return nullcontext(lambda: None)


@dataclass(frozen=True)
class Trained:
    """The weights kept, the report for reports/train.json, the folder of checkpoints: discard it once both are safe.

    `preprocessing` is what the weights expect of a picture.
    """

    state: dict[str, Tensor]
    report: dict[str, Any]
    checkpoints: Path | None
    preprocessing: Preprocessing


def train_detector(
    config: Config,
    folder: Folder,
    initial: Path,
    history: Path,
    measure: Measure,
    checkpoints: Path | None = None,
    follow: Follow = unfollowed,
) -> Trained:
    """Train the configured detector, or go on where a run of the same fingerprint in `checkpoints` stopped.

    With `checkpoints`, `follow` is entered by the first process for the length of the training.

    Raises WeightsError for bad starting weights, TrainingError if training cannot start or go on, DataError if the
    model learns from outlines and objects of the train split have none.
    """
    _set_deterministic(config.trainer.deterministic)
    accelerate.utils.set_seed(config.seed)  # Python's, numpy's and torch's generators
    model = build(config.model, len(folder.classes))
    match = load_starting_weights(initial, model, config.model, folder.classes)
    learning = ever_trainable(model, config.transfer, match)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in learning)
    index = open_index(folder)
    device = choose_device(config.trainer)
    rank, world = place()
    _refuse_impossible(config, len(folder.splits["train"]), len(learning), world)
    outlined = _learns_from_outlines(config)
    if outlined:
        check_outlines(folder, index.records("train"), "train")
    if checkpoints is None:
        return _train(config, index, model, match, history, measure, None, None, lambda: None)
    data = index.digest() + (masks_digest(folder, index.records("train")) if outlined else "")
    parts = fingerprint(config, data, initial, device, world)
    run, reason = run_folder(checkpoints, parts) if rank == 0 else (Path(), "")
    run = agreed(run, cpu=device.type == "cpu")
    with locked(run) if rank == 0 else nullcontext():
        saved = load_checkpoint(run)
        if rank == 0:
            discard_oldest(checkpoints, UNFINISHED)
            if saved is None and reason:
                print(f"train: starts fresh: {reason}", file=sys.stderr)
        with follow(run.name) if rank == 0 else unfollowed(run.name) as epoch_over:
            trained = _train(config, index, model, match, history, measure, run, saved, epoch_over)
        return replace(trained, report=trained.report | {"fingerprint": run.name})


def losses(model: nn.Module, images: Tensor, targets: list[dict[str, Tensor]]) -> Mapping[str, Tensor]:
    """Return a detector's losses, which it computes itself."""
    return model(images, targets)


def _train(
    config: Config,
    index: Index,
    model: nn.Module,
    match: Match,
    history: Path,
    measure: Measure,
    checkpoints: Path | None,
    saved: dict[str, Any] | None,
    epoch_over: Callable[[], None],
) -> Trained:
    rank, world = place()
    trainer, augment = config.trainer, config.augment
    size = (config.model.image_size[0], config.model.image_size[1])
    cache = picture_cache(index, "train", size, str(trainer.cache), trainer.cache_mb)
    augmentation, outlined = build_augmentation(augment), _learns_from_outlines(config)
    pictures = TrainingPictures(index, "train", size, augmentation, config.seed, cache, outlined)
    hardware = _choose_hardware(config, model, pictures, saved)
    mixed = int(trainer.max_epochs * (1 - augment.mix_off))
    scales = (augment.multi_scale[0], augment.multi_scale[1])
    batches = EpochBatches(len(pictures), hardware.batch_size, config.seed, size, scales, mixed, rank, world)
    if trainer.accumulate > len(batches):
        raise TrainingError(f"trainer.accumulate: {trainer.accumulate}, but an epoch has only {len(batches)} batches")
    loader = training_loader(pictures, batches, hardware.workers)
    loader.collate_fn = lambda samples: Batch(*stack(samples))
    validation = evaluation_loader(EvaluationPictures(index, "val"), hardware.batch_size, hardware.workers, rank, world)
    gather: Gather = gather_object if world > 1 else list
    task = Task(
        losses,
        lambda average: measure(average, validation, index.folder.classes, gather),
        "map",
        lambda module, epoch: _begin_epoch(module, config.transfer, match, epoch, mixed if augment.mosaic else 0),
    )
    state, report = train(model, task, loader, config, hardware, history, checkpoints, saved, epoch_over)
    transform: Any = model.get_submodule("transform")
    said = {f"preprocessing/{part}": value for part, value in plain(transform.preprocessing).items()}
    return Trained(state, report | _transferred(match) | said, checkpoints, transform.preprocessing)


def _begin_epoch(model: nn.Module, transfer: Transfer, match: Match, epoch: int, mosaics: int) -> None:
    """Set what of the model differs from epoch to epoch; it depends on the epoch alone, so a resumed run does the same.

    The heads of YOLOX have a loss more, `use_l1`, in the epochs that follow the first `mosaics`, which are of mosaics
    (arXiv:2107.08430, section 2.1, and its code).
    """
    set_trainable(model, transfer, match, epoch)
    head: Any = getattr(model, "head", None)
    if hasattr(head, "use_l1"):
        head.use_l1 = epoch > mosaics


def _choose_hardware(
    config: Config, model: nn.Module, pictures: TrainingPictures, saved: dict[str, Any] | None
) -> Hardware:
    """Return what the run computes with: what its checkpoint says, else the user's choice, else the fastest."""
    trainer = config.trainer
    most = max(1.0, config.augment.multi_scale[1])
    height, width = (
        round(side * most / SIZE_STEP) * SIZE_STEP if most > 1 else side for side in config.model.image_size
    )
    plain = plain_hardware(trainer, (height, width), len(pictures))
    if saved is not None:  # other arithmetic would not give the same bits
        return Hardware(**saved["hardware"] | {"device": plain.device, "workers": plain.workers})

    def sample(count: int) -> tuple[Tensor, list[Any]]:
        keys = [Key(0, index % len(pictures), height, width, False) for index in range(count)]
        images, targets, _ = stack([pictures[key] for key in keys])
        return images.float() / 255, targets

    hardware = plain
    if place()[0] == 0:
        images, targets = sample(min(plain.batch_size, 8))
        with explained(tuple(images.shape)):
            hardware = fastest(candidates(plain, trainer), model, losses, images, targets, measurements())
        if trainer.batch_size == "auto" and plain.device.type == "cuda":
            batch = largest_batch(lambda count: fits_gpu(hardware, model, losses, *sample(count)), len(pictures))
            hardware = replace(hardware, batch_size=batch)
    return replace(agreed(hardware, cpu=plain.device.type == "cpu"), device=plain.device)


def _refuse_impossible(config: Config, pictures: int, trained: int, world: int) -> None:
    """Raise TrainingError for what the configuration cannot mean, before anything long begins."""
    transfer = config.transfer
    if trained == 0:
        raise TrainingError(
            "transfer: the starting weights cover the whole model, so nothing is left to train; use full"
        )
    compilers = (os.environ.get("CXX", "g++"), "g++", "clang++")
    if config.trainer.compile and not any(map(shutil.which, compilers)):
        raise TrainingError("trainer.compile: wants a C++ compiler (g++ or clang++); there is none, so set false")
    if pictures == 0:
        raise TrainingError("the train split has no pictures; see reports/dataset.json")
    if pictures < 2 * world:
        raise TrainingError(
            f"trainer.processes: {world} need at least {2 * world} train pictures, there are {pictures}"
        )
    if config.augment.multi_scale != [1.0, 1.0] and get(config.model.name).fixed_size:
        raise TrainingError(f"augment.multi_scale: {config.model.name} works at one size only; set it to [1.0, 1.0]")
    if isinstance(transfer, LastLayers) and transfer.unfreeze_every and world > 1:
        raise TrainingError(
            "transfer.unfreeze_every: works in one process only; set trainer.processes: 1, or null here"
        )


def _learns_from_outlines(config: Config) -> bool:
    return get(config.model.name).task == TASK


def _set_deterministic(wanted: bool) -> None:
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS may add in any order
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    torch.backends.cudnn.benchmark = not wanted


def _transferred(match: Match) -> dict[str, Any]:
    """Return what reports/train.json says of the starting weights."""
    return {
        "weights/kept": len(match.kept),
        "weights/partial": len(match.partial),
        "weights/mismatched": len(match.mismatched),
        "weights/new": len(match.new),
        "head": match.head,
        "classes_kept": list(match.classes_kept),
        "classes_new": list(match.classes_new),
        "classes_dropped": list(match.classes_dropped),
        "partial_tensors": list(match.partial),
        "mismatched_tensors": list(match.mismatched),
        "new_tensors": list(match.new),
    }
