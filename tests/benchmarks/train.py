"""What training costs, as ratios within one run on one machine: `python tests/benchmarks/train.py [overhead ...]`.

- overhead: our loop against a bare torch loop on the same model, batches and arithmetic, pictures in memory
- loader: the share of the time that training waits for pictures, with 2 loader processes
- arithmetic: what the probe chooses against plain float32, on an ordinary and on a depthwise model
- accuracy: the val mAP of plain float32 and of the fastest arithmetic, over three seeds (slow)
- gpu: SSD300, RetinaNet and FCOS in bfloat16, with utilisation; only where there is a GPU
"""

import argparse
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "6000")  # as pipelines/stage.py does, before torch is loaded

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils.data import DataLoader, Dataset

from reprolens.config import Config
from reprolens.config.compose import compose
from reprolens.convert import convert
from reprolens.evaluation.predict import validation_metrics
from reprolens.loading import EpochBatches, Key, open_index, stack
from reprolens.loading.augment import build_augmentation
from reprolens.loading.detection import TrainingPictures
from reprolens.models import build
from reprolens.models.weights import random_weights, save_starting_weights
from reprolens.training.detection import losses, train_detector
from reprolens.training.hardware import Hardware, candidates, plain_hardware
from reprolens.training.loop import Batch, Task, train
from reprolens.training.optimizer import build_optimizer
from reprolens.training.probe import fastest
from reprolens.voc import Folder, read_folder

ROOT = Path(__file__).parents[2]
BCCD = ROOT.parent / "shared" / "data" / "bccd_voc" / "BCCD"
MODELS = {"fcos_resnet50_fpn": 224, "ssdlite320_mobilenet_v3_large": 320, "fcos_mobilenet_v2": 160}
"""Ordinary convolutions, depthwise ones, and the default; with the side of their pictures."""


def main() -> None:
    parts = {"overhead": overhead, "loader": loader, "arithmetic": arithmetic, "accuracy": accuracy, "gpu": gpu}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *parts], help="(all but accuracy)")
    chosen = parser.parse_args().parts or [name for name in parts if name != "accuracy"]
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            console.print(parts[name](Path(folder)))


def overhead(folder: Path) -> Table:
    """Time epochs of our loop and of a bare one in turns; both take the same batches from memory."""
    config, voc = _digits(folder, "trainer.max_epochs=1", "trainer.channels_last=true", "trainer.precision=fp32")
    size = (config.model.image_size[0], config.model.image_size[1])
    hardware = plain_hardware(config.trainer, size, len(voc.splits["train"]))
    pictures = TrainingPictures(open_index(voc), "train", size, build_augmentation(config.augment), 1)
    batches = [Batch(*stack([pictures[key] for key in keys])) for keys in EpochBatches(160, 16, 1, size)]
    rounds: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(4):
        for name, epoch in (("ours", _our_epoch), ("bare", _bare_epoch)):
            model = build(config.model, len(voc.classes)).to(memory_format=torch.channels_last)
            seconds = epoch(model, batches, config, hardware)
            if number:  # the first is to warm up
                rounds[name].append(160 / seconds)
    table = Table("loop", "img/s (median of 3)", "of bare", title="overhead: the default model, batch 16")
    bare = statistics.median(rounds["bare"])
    for name, speeds in rounds.items():
        table.add_row(name, f"{statistics.median(speeds):.1f}", f"{statistics.median(speeds) / bare:.3f}")
    return table


class _InMemory(Dataset[Batch]):
    """Ready batches, asked for by the keys of their first picture."""

    def __init__(self, batches: list[Batch]) -> None:
        self._batches = batches
        self._next = 0

    def __getitems__(self, keys: list[Key]) -> list[Batch]:
        self._next += 1
        return [self._batches[(self._next - 1) % len(self._batches)]]


def _our_epoch(model: nn.Module, batches: list[Batch], config: Config, hardware: Hardware) -> float:
    keys = EpochBatches(16 * len(batches), 16, 1, (160, 160))
    loader: DataLoader[Any] = DataLoader(_InMemory(batches), batch_sampler=keys, collate_fn=lambda found: found[0])
    _, report = train(model, Task(losses, lambda average: {"map": 0.0}, "map"), loader, config, hardware)
    return 16 * len(batches) / report["images_per_second"]


def _bare_epoch(model: nn.Module, batches: list[Batch], config: Config, hardware: Hardware) -> float:
    """Take the steps with nothing around them but what the result needs: clipping and the moving average included."""
    optimizer = build_optimizer(model, config.optimizer, config.transfer)
    average = [value.clone() for value in model.state_dict().values() if value.is_floating_point()]
    live = [value for value in model.state_dict().values() if value.is_floating_point()]
    model.train()
    began = time.monotonic()
    for images, targets, _ in batches:
        loss = torch.stack(list(model(images.float() / 255, targets).values())).sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.trainer.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        torch._foreach_lerp_(average, live, 0.01)
        loss.item()
    return time.monotonic() - began


def loader(folder: Path) -> Table:
    """Train for two epochs with 2 loader processes and quote the second epoch's row."""
    table = Table("data set", "augment", "img/s", "waits for data", title="loader: 2 loader processes")
    recipes = [("digits 160", []), ("digits 160", ["augment=mosaic"]), ("digits 160", ["trainer.cache=none"])]
    if BCCD.is_dir():
        blood = ["experiment=bccd", f"data.path={BCCD}", "trainer.max_epochs=2"]
        recipes += [("bccd 320", blood), ("bccd 320", [*blood, "augment=mosaic"])]
    for name, overrides in recipes:
        config, voc = _data(folder / name.split()[0], ["trainer.max_epochs=2", "trainer.workers=2", *overrides])
        rows = _history(config, voc, folder)
        augment = " ".join(item.split(".")[-1] for item in overrides if item.startswith(("augment", "trainer.c")))
        table.add_row(name, augment or "its own", rows[-1]["images_per_second"], f"{float(rows[-1]['data_wait']):.1%}")
    return table


def arithmetic(folder: Path) -> Table:
    """Measure every arithmetic that this machine has on three models, and show which the probe takes."""
    table = Table("model", "arithmetic", "ms a step", "speed-up", "chosen", title="arithmetic: batch 8")
    for name, side in MODELS.items():
        config, voc = _data(
            folder / "digits", [f"model={name}", f"model.image_size=[{side},{side}]", "trainer.batch_size=8"]
        )
        pictures = TrainingPictures(open_index(voc), "train", (side, side), build_augmentation(config.augment), 1)
        images, targets, _ = stack([pictures[Key(1, index, side, side, False)] for index in range(8)])
        model = build(config.model, len(voc.classes))
        plain = plain_hardware(config.trainer, (side, side), 100)
        chosen = fastest(candidates(plain, config.trainer), model, losses, images.float() / 255, targets, None)
        first = chosen.measured[plain.arithmetic]
        for kind, seconds in chosen.measured.items():
            mark = "*" if kind == chosen.arithmetic else ""
            table.add_row(name, kind, f"{seconds * 1000:.0f}", f"{first / seconds:.2f}", mark)
    return table


def accuracy(folder: Path) -> Table:
    """Train the default shortly over three seeds in plain float32, channels-last float32 and bfloat16."""
    table = Table("arithmetic", *(f"seed {seed}" for seed in (1, 2, 3)), "mean", title="accuracy: val mAP, 4 epochs")
    for name, overrides in {
        "fp32 contiguous": ["trainer.precision=fp32", "trainer.channels_last=false"],
        "fp32 channels-last": ["trainer.precision=fp32", "trainer.channels_last=true"],
        "bf16 channels-last": ["trainer.precision=bf16", "trainer.channels_last=true"],
    }.items():
        found = []
        for seed in (1, 2, 3):
            config, voc = _data(folder / "digits", ["trainer.max_epochs=4", *overrides])
            rows = _history(replace(config, seed=seed), voc, folder, published=True)
            found.append(float(rows[-1]["val/map"]))
        table.add_row(name, *(f"{value:.3f}" for value in found), f"{statistics.mean(found):.3f}")
    return table


def gpu(folder: Path) -> Table:
    """Train SSD300, RetinaNet and FCOS for two epochs in bfloat16; the second epoch's speed, and the GPU's load."""
    table = Table("model", "precision", "img/s", "waits for data", "GPU busy", title="gpu")
    if not torch.cuda.is_available():
        table.add_row("(no GPU here)", "", "", "", "")
        return table
    for name, side in {"ssd300_vgg16": 300, "retinanet_resnet50_fpn_v2": 512, "fcos_resnet50_fpn": 512}.items():
        for precision in ("fp32", "bf16"):
            size = [f"model={name}", f"model.image_size=[{side},{side}]", "trainer.max_epochs=2", "trainer.workers=8"]
            config, voc = _data(folder / "digits", [*size, f"trainer.precision={precision}"])
            with _gpu_load() as load:
                rows = _history(config, voc, folder)
            busy = f"{statistics.median(load[len(load) // 2 :]):.0f} %" if load else "?"
            wait = f"{float(rows[-1]['data_wait']):.1%}"
            table.add_row(name, precision, rows[-1]["images_per_second"], wait, busy)
    return table


@contextmanager
def _gpu_load() -> Iterator[list[float]]:
    """Collect the GPU's utilisation in percent while the block runs."""
    samples: list[float] = []
    over = threading.Event()

    def sample() -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not over.wait(0.2):
            samples.append(float(subprocess.run(query, capture_output=True, text=True).stdout.split()[0]))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def _digits(folder: Path, *overrides: str) -> tuple[Config, Folder]:
    return _data(folder / "digits", list(overrides))


def _data(root: Path, overrides: list[str]) -> tuple[Config, Folder]:
    """Return a configuration of the default experiment and its data set, converted at the first call."""
    config = compose(ROOT, [f"data.path={ROOT}/data/digits", "trainer.checkpoint_minutes=null", *overrides])
    if not root.is_dir():
        convert(config.data, config.seed, root)
    return config, read_folder(root)


def _history(config: Config, voc: Folder, folder: Path, published: bool = False) -> list[dict[str, str]]:
    """Train and return the rows of the history."""
    import csv

    from reprolens.training.pretrain import starting_weights

    initial, history = folder / "initial.pt", folder / "history.csv"
    save_starting_weights(initial, starting_weights(config, voc) if published else random_weights())
    measure: Callable[..., Any] = validation_metrics if published else (lambda *given: {"map": 0.0})
    train_detector(config, voc, initial, history, measure)
    with history.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
