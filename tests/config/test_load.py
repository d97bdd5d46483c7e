"""Laws of config.yaml: it gives back what was composed, and says what is wrong with it."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from reprolens.config import load
from reprolens.config.compose import compose, to_yaml
from reprolens.config.load import validate
from reprolens.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIG = compose(ROOT)

# "${" begins an interpolation, "???" is OmegaConf's word for a missing value, and PyYAML folds the rarer line ends.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x85\u2028\u2029")
TEXTS = st.text(CHARACTERS).filter(lambda text: "${" not in text and text != "???")


def _read(text: str) -> DictConfig:
    node = OmegaConf.create(text)
    assert isinstance(node, DictConfig)
    return node


@settings(max_examples=25, deadline=None)
@given(TEXTS, st.lists(TEXTS))
@example("on", ["017", "1e-3", "null", "~", "", "1:30", "- a", "{a: b}", "# no", "a: b", "a\nb\n\n", "\ufeff"])
def test_every_text_comes_back_from_the_file(text: str, tags: list[str]) -> None:
    tracking = dataclasses.replace(CONFIG.tracking, name=text, tags=tags)
    config = dataclasses.replace(CONFIG, tracking=tracking)
    assert validate(_read(to_yaml(config))) == config


@settings(max_examples=25, deadline=None)
@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False), st.integers(0, 2**32 - 1))
@example(5e-324, 0)
@example(1e16, 2**32 - 1)
def test_every_number_comes_back_from_the_file_bit_for_bit(lr: float, seed: int) -> None:
    config = dataclasses.replace(CONFIG, seed=seed, optimizer=dataclasses.replace(CONFIG.optimizer, lr=lr))
    read = validate(_read(to_yaml(config)))
    assert read == config
    assert read.optimizer.lr.hex() == lr.hex()


def test_load_gives_back_what_was_composed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(CONFIG))
    assert load(tmp_path / "config.yaml") == CONFIG


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["not found", "dvc repro compose"]),
        (b"", ["seed", "is missing"]),
        (b"- 1\n", ["is not a mapping"]),
        (b"seed: [1\n", ["cannot be read as YAML"]),
        (b"\xff\xfe\x00", ["cannot be read as YAML"]),
        (b"seed: 1\ncolour: red\n", ["colour", "unknown key"]),
        (b"seed: one\n", ["seed", "'one' is not a whole number"]),
    ],
)
def test_a_damaged_config_is_named_in_one_line(content: bytes | None, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == [], message
