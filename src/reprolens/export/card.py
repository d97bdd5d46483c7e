"""What goes beside an exported model: the names of its classes, and a model card."""

from pathlib import Path
from typing import Any

from reprolens.files import write_text
from reprolens.models import TrainedModel
from reprolens.models.registry import get

_CARD = """\
# {name}, {count} classes

An object detector in ONNX: a picture goes in, boxes, scores and labels come out; resizing, normalisation and
non-maximum suppression are inside.

| | |
|---|---|
| model | {name} ([paper]({paper})), {parameters:.2f} M parameters, sees {height} x {width} pixels |
| code's licence | {licence} |
| starting weights | {weights} |
| classes | {classes} |
| trained on | {train} pictures, best of {epochs} epochs by AP on {val} pictures |
| file | `model.onnx`, {size:.1f} MB, ONNX opset {opset} |

## How good it is

On the {split} split, {images} pictures with {boxes} boxes{seen}:

| measure | value | 95 % interval |
|---|---|---|
{metrics}

| class | boxes in train | AP at IoU 0.5 (VOC12) |
|---|---|---|
{per_class}

The file was run with onnxruntime beside the torch model on {parity_images} test pictures: {parity_detections}
detections agree, boxes to {box_difference:.3g} pixels and scores to {score_difference:.2g}. One picture takes
{onnx_ms} ms with onnxruntime and {torch_ms} ms with torch on the exporting machine's CPU.

## How to run it

```python
import numpy as np, onnxruntime
from PIL import Image

model = onnxruntime.InferenceSession("model.onnx")
labels = open("labels.txt", encoding="utf-8").read().splitlines()
image = np.asarray(Image.open("picture.jpg").convert("RGB"))
boxes, scores, classes = model.run(["boxes", "scores", "labels"], {{"image": image}})
for box, score, index in zip(boxes, scores, classes):
    print(labels[index], round(float(score), 3), box.round(1))  # box: x0 y0 x1 y1 in pixels of the picture
```

## Limits

It knows the classes above and nothing else, in pictures like those it was trained on. Scores rank detections; they are
not calibrated probabilities. Detections below a score of {score_threshold} are left out.
"""


def write_card(folder: Path, trained: TrainedModel, reports: dict[str, dict[str, Any]]) -> None:
    """Write labels.txt and README.md, the model card, into `folder`.

    `reports` holds the contents of reports/dataset.json, pretrain.json, train.json, evaluation.json and export.json
    under these names without suffix.
    """
    data, train, evaluation, export = (reports[name] for name in ("dataset", "train", "evaluation", "export"))
    entry = get(trained.options.name)
    boxes_in_train = {item["name"]: item["train"] for item in data["classes"]}
    text = _CARD.format(
        name=entry.name,
        count=len(trained.classes),
        paper=f"https://arxiv.org/abs/{entry.paper.removeprefix('arXiv:')}",
        licence=entry.licence,
        parameters=train["parameters"] / 1e6,
        height=trained.options.image_size[0],
        width=trained.options.image_size[1],
        weights=_weights(reports["pretrain"]),
        classes=", ".join(trained.classes),
        train=data["images/train"],
        val=data["images/val"],
        epochs=train["epochs"],
        size=export["size_mb"],
        opset=export["opset"],
        split=evaluation["split"],
        seen=", the pictures that it was trained on" if evaluation["split"] == "train" else " that training never saw",
        images=evaluation["images"],
        boxes=evaluation["boxes"],
        metrics="\n".join(
            f"| {label} | {_number(evaluation[key])} | {_interval(evaluation, key)} |"
            for label, key in _MEASURES.items()
        ),
        per_class="\n".join(
            f"| {name} | {boxes_in_train[name]} | {_number(evaluation[f'voc12/ap50/{name}'])} |"
            for name in trained.classes
        ),
        parity_images=export["parity/images"],
        parity_detections=export["parity/detections"],
        box_difference=export["parity/max_box_difference"],
        score_difference=export["parity/max_score_difference"],
        onnx_ms=export["latency_ms/onnxruntime"],
        torch_ms=export["latency_ms/torch"],
        score_threshold=trained.options.score_threshold,
    )
    write_text(folder / "labels.txt", "".join(f"{name}\n" for name in trained.classes))
    write_text(folder / "README.md", text)


_MEASURES = {
    "mAP at IoU 0.5, VOC12 (all points)": "voc12/map50",
    "mAP at IoU 0.5, VOC07 (11 points)": "voc07/map50",
    "AP, COCO (IoU 0.50 to 0.95)": "coco/ap",
    "AP at IoU 0.75, COCO": "coco/ap75",
}


def _weights(origin: dict[str, Any]) -> str:
    name = origin.get("name") or origin.get("file")
    return f"{name} ({origin['licence']})" if name else "none: trained from random values"


def _interval(evaluation: dict[str, Any], key: str) -> str:
    """Return the interval by bootstrap over pictures; nothing where there is none (evaluate.bootstrap: 0)."""
    low, high = evaluation.get(f"{key}/low"), evaluation.get(f"{key}/high")
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
