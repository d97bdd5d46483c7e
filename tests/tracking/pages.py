"""Pages of runs, parsed as a browser parses them, for the tests of what they show."""

import csv
import json
from pathlib import Path
from typing import Any

import yaml
from lxml import html
from PIL import Image

from reprolens.tracking.page import render_page

RUN = {"id": "00ff", "name": "ssd-digits", "mode": "offline", "project": "p", "folder": "wandb/offline-run-1-00ff"}


def analyse(root: Path, word: str = "3") -> None:
    plots, samples, sheets = (root / "reports" / name for name in ("plots", "samples", "sheets"))
    counts = [(word, word, 36), (word, "background", 1), (word, "8", 3), ("background", "8", 2), ("8", "8", 30)]
    write_table(plots / "confusion.csv", ["truth", "prediction", "count"], counts)
    write_table(plots / "errors.csv", ["error", "count", "cost"], [("cls", 7, 0.0125), ("miss", 2, 0.05), (word, 0, 0)])
    entries = json.loads((samples / "samples.json").read_text())
    entries = [entry | {"kind": "sample"} for entry in entries if entry.get("kind", "sample") == "sample"]
    (samples / "worst-0.jpg").write_bytes((samples / "0.jpg").read_bytes())
    worst = entries[0] | {"image": "worst-0.jpg", "id": f"worst {word}", "kind": "worst", "why": f"1 missed {word}"}
    entries = [*entries, worst]
    (samples / "samples.json").write_text(json.dumps(entries))
    sheets.mkdir(exist_ok=True)
    for name in ("data", "augmentation"):
        Image.effect_noise((900, 700), 60).convert("RGB").save(sheets / f"{name}.jpg", quality=90)


def write_table(path: Path, header: list[str], rows: list[tuple[Any, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def composed(root: Path) -> dict[str, Any]:
    made = yaml.safe_load((root / "config.yaml").read_text())
    return made | {
        "dvc": {"data": "a" * 32, "model": "c" * 32, "stages": {"train": "d" * 32}},
        "git": {"revision": "1234567890", "dirty": True},
        "environment": {"python": "3.11.9", "gpu": None},
    }


def page_of(root: Path, run: dict[str, str] | None = None) -> Any:
    return html.fromstring(render_page(root, composed(root), RUN if run is None else run))


def texts(page: Any, path: str) -> list[str]:
    return [" ".join(" ".join(element.itertext()).split()) for element in page.xpath(path)]
