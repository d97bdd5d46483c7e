"""Published weights, a file, training on other pictures, or nothing -> weights/initial.pt, reports/pretrain.json."""

from pathlib import Path

from pipelines.stage import run
from reprolens.config import load
from reprolens.files import write_json
from reprolens.models.weights import report, save_starting_weights
from reprolens.training.pretrain import starting_weights
from reprolens.voc import read_folder


def main() -> str:
    config = load(Path("config.yaml"))
    weights = starting_weights(config, read_folder(Path("data/voc")))
    save_starting_weights(Path("weights/initial.pt"), weights)
    write_json(Path("reports/pretrain.json"), report(weights))
    name = weights.origin.get("name") or weights.origin.get("file") or "none"
    count = f"{len(weights.state)} of {weights.given}" if weights.given is not None else len(weights.state)
    return f"pretrain: {weights.origin['source']}, {name}, {count} tensors"


if __name__ == "__main__":
    run(main)
