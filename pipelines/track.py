"""Every report, weights/model.pt, export/ -> one Weights & Biases run, reports/run.json, reports/index.html."""

from pathlib import Path

from pipelines.stage import run
from reprolens.config import load
from reprolens.files import write_json
from reprolens.tracking.identity import identify
from reprolens.tracking.page import write_page
from reprolens.tracking.publish import publish


def main() -> str:
    config = load(Path("config.yaml"))
    published = publish(Path(), config)
    write_json(Path("reports/run.json"), published)
    page = write_page(Path(), identify(Path(), config).config, published)
    if published["mode"] == "disabled":
        return f"track: no W&B run (tracking: disabled), {page}"
    where = published.get("url") or f"{published['folder']} (wandb leet wandb/ shows it)"
    return f"track: {published['name']}, {where}, {page}"


if __name__ == "__main__":
    run(main)
