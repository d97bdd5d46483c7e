"""Every report, weights/model.pt, export/ -> one Weights & Biases run, reports/run.json."""

from pathlib import Path

from pipelines.stage import run
from reprolens.config import load
from reprolens.files import write_json
from reprolens.tracking import publish


def main() -> str:
    published = publish(Path(), load(Path("config.yaml")))
    write_json(Path("reports/run.json"), published)
    if published["mode"] == "disabled":
        return "track: disabled"
    where = published.get("url") or f"{published['folder']} (wandb leet wandb/ shows it)"
    return f"track: {published['name']}, {where}"


if __name__ == "__main__":
    run(main)
