"""What tests of weights say again and again: where a file is, and what a message must name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from reprolens.config import Expected, FileWeights, Model, Published
from reprolens.errors import WeightsError
from reprolens.models.weights import file_weights

NOTHING = Expected(None, None, None, None)
"""A user who says nothing of what weights expect."""


def of_file(path: Path, expects: Expected = NOTHING) -> FileWeights:
    return FileWeights("file", str(path), expects)


def published(weights: str, expects: Expected = NOTHING) -> Published:
    return Published("published", weights, expects)


def names(message: str, *parts: object) -> None:
    """Assert that a message is one line, and names all of `parts`."""
    assert [part for part in parts if str(part) not in message] == [], message
    assert "\n" not in message


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Return whether two states are the same to the bit."""
    return first.keys() == second.keys() and all(bool((first[key] == second[key]).all()) for key in first)


def state_on_file(state: dict[str, Tensor], path: Path) -> Path:
    """Write a state dict in the format that the file's name says, and return its path."""
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def refused(path: Path, choice: Model) -> str:
    """Return the one line with which the weights at `path` are refused, which names it."""
    with pytest.raises(WeightsError) as caught:
        file_weights(of_file(path), choice)
    names(str(caught.value), path)
    return str(caught.value)
