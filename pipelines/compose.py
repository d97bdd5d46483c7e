"""params.yaml, conf/ -> config.yaml: the whole experiment, composed, resolved and checked."""

from pathlib import Path

from pipelines.stage import run
from reprolens.config.compose import compose, to_yaml
from reprolens.files import write_text


def main() -> str:
    config = compose(Path())
    write_text(Path("config.yaml"), to_yaml(config))
    return f"compose: {config.model.name} on {config.data.format}, seed {config.seed}"


if __name__ == "__main__":
    run(main)
