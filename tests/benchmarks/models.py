"""The detectors beside each other: what each learns in the same time, how fast it is, and what re-parameterising gains.

    python tests/benchmarks/models.py                        # digits, 2 minutes a model, then repvgg
    python tests/benchmarks/models.py shelf --minutes 5 --data bccd --models yolox_nano fcos_mobilenet_v2
    python tests/benchmarks/models.py shelf --backbone none    # each on its own, all from random values
    python tests/benchmarks/models.py repvgg

All detectors of `shelf` see pictures of one size (but for those laid out for another), stand on one backbone with its
ImageNet weights (but for those that take no other; they begin at random values), and take as many whole epochs of the
default recipe as fit into the time by a short measurement; mAP is that of the test split.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "6000")  # as pipelines/stage.py does, before torch is loaded

import torch
from rich.console import Console
from rich.table import Table

from reprolens.config import Config
from reprolens.config.compose import compose
from reprolens.convert import convert
from reprolens.evaluation.predict import detect, evaluate_split, validation_metrics
from reprolens.loading import EvaluationPictures, evaluation_loader, open_index
from reprolens.models import TrainedModel, build, names
from reprolens.models.registry import get
from reprolens.models.reparameterize import reparameterize
from reprolens.models.weights import save_starting_weights
from reprolens.training.detection import train_detector
from reprolens.training.pretrain import starting_weights
from reprolens.voc import Folder, read_folder

ROOT = Path(__file__).parents[2]
BCCD = ROOT.parent / "shared" / "data" / "bccd_voc" / "BCCD"
SIDES = {"digits": 160, "bccd": 320}
PACKAGED = {"mobilenet_v2": "MobileNet_V2_Weights.IMAGENET1K_V1"}
"""Weights that are installed with the tests, where others would have to be downloaded."""
QUICK = (
    "fcos_mobilenet_v2",
    "yolox_nano",
    "yolox_tiny",
    "yolov3_tiny",
    "ssdlite320_mobilenet_v3_large",
    "retinanet_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "cascade_rcnn_resnet50_fpn",
    "dfine_n",
    "rtdetr_v2_r18",
)
"""What two cores can teach something in minutes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], "shelf", "repvgg"], help="(both)")
    parser.add_argument("--data", choices=SIDES, default="digits")
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, for each detector")
    parser.add_argument("--models", nargs="+", default=list(QUICK), metavar="NAME", help="names, or all")
    parser.add_argument("--backbone", default="mobilenet_v2", metavar="NAME", help="for all that take one, or none")
    options = parser.parse_args()
    backbone = None if options.backbone == "none" else options.backbone
    console = Console(width=140)
    chosen = names() if options.models == ["all"] else options.models
    with tempfile.TemporaryDirectory() as folder:
        if "shelf" in (options.parts or ["shelf"]):
            console.print(shelf(Path(folder), options.data, chosen, options.minutes, backbone))
        if "repvgg" in (options.parts or ["repvgg"]):
            console.print(repvgg())


def shelf(folder: Path, data: str, chosen: Iterable[str], minutes: float, backbone: str | None) -> Table:
    """Train every detector for the same time and measure it."""
    table = Table(title=f"{data}: {minutes:g} minutes of training each, {torch.get_num_threads()} threads")
    for title in (
        "detector",
        "from",
        "size",
        "parameters",
        "epochs",
        "mAP50 (VOC12)",
        "AP (COCO)",
        "train img/s",
        "infer img/s",
    ):
        table.add_column(title, justify="left" if title in ("detector", "from") else "right", no_wrap=True)
    for name in chosen:
        config, voc = _experiment(folder, data, name, backbone)
        speed = float(_trained(config, voc, folder, max_steps=3)[1]["images_per_second"])
        epochs = max(1, int(minutes * 60 * speed / len(voc.splits["train"])))
        trained, report = _trained(config, voc, folder, max_epochs=epochs, max_minutes=1.5 * minutes)
        results, _ = evaluate_split(trained, voc, replace(config.evaluate, bootstrap=0), 1)
        height, width = config.model.image_size
        table.add_row(
            name,
            config.model.backbone or "random",
            f"{width} x {height}",
            f"{report['parameters'] / 1e6:.2f} M",
            str(report["epochs"]),
            f"{results.metrics['voc12/map50']:.3f}",
            f"{results.metrics['coco/ap']:.3f}",
            f"{report['images_per_second']:.1f}",
            f"{_inference_speed(trained, voc):.1f}",
        )
        Console(stderr=True).print(f"{name}: {results.metrics['voc12/map50']:.3f}")
    return table


def repvgg() -> Table:
    """Time detectors on RepVGG as trained and folded, in turns, and see that both say the same."""
    table = Table(title=f"RepVGG folded: FCOS at 320 x 320, batch 4, {torch.get_num_threads()} threads, medians of 15")
    for title in ("backbone", "parameters", "folded", "ms a batch", "folded", "speed-up", "greatest difference"):
        table.add_column(title, justify="right")
    images = torch.rand(4, 3, 320, 320, generator=torch.Generator().manual_seed(1))
    for backbone in ("repvgg_a0", "repvgg_a1", "repvgg_b0"):
        config = compose(ROOT, ["model=fcos_resnet50_fpn", f"model.backbone={backbone}", "model.image_size=[320,320]"])
        torch.manual_seed(1)
        plain = build(config.model, 20).eval()
        forms = {"plain": plain, "folded": reparameterize(plain)}
        times: dict[str, list[float]] = {form: [] for form in forms}
        with torch.inference_mode():
            features = {form: list(model.get_submodule("backbone")(images).values()) for form, model in forms.items()}
            for number in range(17):
                for form, model in forms.items():
                    began = time.perf_counter()
                    model.get_submodule("backbone")(images)
                    if number >= 2:  # the first two are to warm up
                        times[form].append(time.perf_counter() - began)
        before, after = (statistics.median(times[form]) * 1000 for form in forms)
        gap = max(float((a - b).abs().max()) for a, b in zip(*features.values(), strict=True))
        sizes = [f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M" for model in forms.values()]
        table.add_row(backbone, *sizes, f"{before:.0f}", f"{after:.0f}", f"{before / after:.2f}", f"{gap:.1g}")
    return table


def _experiment(folder: Path, data: str, name: str, backbone: str | None) -> tuple[Config, Folder]:
    """Return the recipe of a detector and its data set, converted at the first call."""
    side = SIDES[data]
    start = ["pretrain=random"]
    if backbone and get(name).backbones:
        weights = PACKAGED.get(backbone, "auto")
        start = [f"model.backbone={backbone}", f"pretrain.weights={weights}"]
    size = [] if get(name).fixed_size else [f"model.image_size=[{side},{side}]"]
    source = [f"data.path={ROOT}/data/digits"] if data == "digits" else ["experiment=bccd", f"data.path={BCCD}"]
    config = compose(ROOT, [*source, f"model={name}", *start, *size, "trainer.checkpoint_minutes=null"])
    if not (folder / data).is_dir():
        convert(config.data, config.seed, folder / data)
    return config, read_folder(folder / data)


def _trained(config: Config, voc: Folder, folder: Path, **trainer: float) -> tuple[TrainedModel, dict[str, float]]:
    config = replace(config, trainer=replace(config.trainer, evaluate_every=1000, **trainer))  # type: ignore[arg-type]
    initial = folder / "initial.pt"
    save_starting_weights(initial, starting_weights(config, voc))
    trained = train_detector(config, voc, initial, folder / "history.csv", validation_metrics)
    module = build(config.model, len(voc.classes))
    module.load_state_dict(trained.state)
    return TrainedModel(module.eval(), config.model, voc.classes), trained.report


def _inference_speed(trained: TrainedModel, voc: Folder) -> float:
    """Return pictures a second, from decoded pictures to boxes, in batches of 8."""
    batches = list(evaluation_loader(EvaluationPictures(open_index(voc), "test"), 8))[:8]
    speeds = []
    for _ in range(3):
        began = time.perf_counter()
        found = sum(1 for _ in detect(trained.module, batches))
        speeds.append(found / (time.perf_counter() - began))
    return statistics.median(speeds)


if __name__ == "__main__":
    main()
