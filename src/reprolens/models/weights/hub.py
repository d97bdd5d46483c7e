"""Detectors of the transformers library that somebody put on the Hugging Face hub, under our names."""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reprolens.config import Model
from reprolens.errors import WeightsError, first_line
from reprolens.models.registry import build
from reprolens.models.weights.fetch import unreachable

_PATIENCE = 5
"""Seconds to wait for the hub to answer at all."""


def hub_weights(name: str, options: Model) -> tuple[dict[str, Tensor], tuple[str, ...], Path]:
    """Return the weights `hf/USER/MODEL` of the Hugging Face hub for a model of this kind.

    They are the tensors under our names, the class names in index order (none where the repository does not say them),
    and the file in the hub's cache. Raises WeightsError if they cannot be had or are of another model.
    """
    from safetensors import SafetensorError

    settings, file = (_hub_file(name, part) for part in ("config.json", "model.safetensors"))
    try:
        said = json.loads(settings.read_text(encoding="utf-8"))
        # The library leaves its two default names out of the file.
        named = said.get("id2label", {index: f"LABEL_{index}" for index in range(2)})
        labels = {int(index): str(label) for index, label in named.items()}
        kind = str(said["model_type"])
    except (ValueError, KeyError, AttributeError, TypeError):
        raise WeightsError(f"{settings}: no settings of a detector, such as model_type; remove it") from None
    detector: Any = build(options, max(1, len(labels)))
    config = detector.head.config
    if kind != config.model_type or sorted(labels) != list(range(len(labels))):
        raise WeightsError(f"pretrain.weights: {name} is a {kind} of {len(labels)} classes, no {options.name}")
    with _quiet():
        try:
            library, report = detector.library.from_pretrained(
                file.parent,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise WeightsError(f"{file}: damaged ({next(iter(str(error).splitlines()), error)}); remove it") from None
    missing = [key for key in report["missing_keys"] if not key.endswith("num_batches_tracked")]
    if missing or report["mismatched_keys"] or report["unexpected_keys"]:
        raise WeightsError(f"pretrain.weights: {name} is another {kind} than {options.name}")
    state = type(detector)(library, options).state_dict()
    unnamed = all(label == f"LABEL_{index}" for index, label in labels.items())
    return state, () if unnamed else tuple(labels[index] for index in range(len(labels))), file


def _hub_file(name: str, part: str) -> Path:
    """Return the path of a repository's file in the hub's cache, bringing it there first if need be."""
    import huggingface_hub

    repository = name.removeprefix("hf/")
    with asking() as silent:
        try:
            return Path(huggingface_hub.hf_hub_download(repository, part))
        except Exception as error:  # the hub raises many kinds, for names and for the network
            raise WeightsError(
                f"{name}: {part} cannot be had from the Hugging Face hub ({silent or first_line(error)}); bring "
                f"{repository} into {huggingface_hub.constants.HF_HUB_CACHE}, or choose another pretrain"
            ) from None


@contextlib.contextmanager
def asking() -> Iterator[str | None]:
    """Let the hub's client be asked; give why the hub does not answer, None if it does.

    The client writes a line for each of its many tries, and between them it waits, for half a minute in all. So where
    nothing answers, it is told that it is offline: then it looks into its cache only.
    """
    from huggingface_hub import constants

    log, offline = logging.getLogger("huggingface_hub"), constants.HF_HUB_OFFLINE
    level = log.level
    silent = None if offline else unreachable(constants.ENDPOINT, _PATIENCE)
    log.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = offline or silent is not None
    try:
        yield f"{constants.ENDPOINT}: {silent}" if silent else None
    finally:
        log.setLevel(level)
        constants.HF_HUB_OFFLINE = offline


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from writing its loading report and its bar; what matters of it is looked at."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
