"""The source data set -> data/voc, reports/dataset.json."""

import os
from pathlib import Path

import yaml

from pipelines.stage import run
from reprolens.config import Data, Labelled, load
from reprolens.convert import convert
from reprolens.convert.archive import holds_pictures
from reprolens.errors import ConfigError
from reprolens.files import write_json


def main() -> str:
    config = load(Path("config.yaml"))
    _check_watched(config.data)
    report = convert(config.data, config.seed, Path("data/voc"))
    write_json(Path("reports/dataset.json"), report)
    return (
        f"convert: {report['images']} images, {report['boxes']} boxes, {len(report['classes'])} classes, "
        f"{report['problems']} problems (reports/dataset.json)"
    )


def _check_watched(data: Data) -> None:
    """Raise ConfigError if pictures lie where DVC would not see that they change."""
    if not isinstance(data, Labelled):
        return
    path = Path(data.path)
    pictures = path if data.images is None else Path(data.images)
    if data.images is None and path.is_file() and not holds_pictures(path):
        pictures = path.parent
    dependencies = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]["convert"]["deps"]
    watched = [path.resolve(), *(Path(each).resolve() for each in dependencies)]
    if not any(pictures.resolve().is_relative_to(each) for each in watched):
        inside = not os.path.relpath(pictures).startswith("..")
        raise ConfigError(
            f"data.{'path' if data.images is None else 'images'}: DVC would not see the pictures in {pictures} change; "
            f"add the line `- {pictures if inside else pictures.resolve()}` to the deps of convert in dvc.yaml"
        )


if __name__ == "__main__":
    run(main, restore="convert")
