"""The source data set -> data/voc, reports/dataset.json."""

from pathlib import Path

from pipelines.stage import run
from reprolens.config import load
from reprolens.convert import convert
from reprolens.files import write_json


def main() -> str:
    config = load(Path("config.yaml"))
    report = convert(config.data, config.seed, Path("data/voc"))
    write_json(Path("reports/dataset.json"), report)
    return (
        f"convert: {report['images']} images, {report['boxes']} boxes, {len(report['classes'])} classes, "
        f"{report['problems']} problems (reports/dataset.json)"
    )


if __name__ == "__main__":
    run(main)
