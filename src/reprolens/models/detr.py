"""What detectors of the transformers library have in common here: RT-DETRv2 and D-FINE in torchvision's convention.

The networks and the terms of their losses are the library's. `model.backbone.` of its checkpoints is `backbone.` here,
the rest of their `model.` is `head.`. What differs from the library:

- values are drawn as in the authors' code. The library expects weights to be loaded and draws all of a detector's
  weights near 0, RT-DETRv2's BatchNorms among them, from which nothing is learned;
- BatchNorms of the backbone are trained, as the authors do in the smaller models; freezing has settings of its own;
- a small picture has as many queries as it has places for them, where the library fails;
- the denoising query that stands for no object is the constant zero, which it is in the authors' code too, and not a
  row behind those of the classes.

The queries of training depend on the objects (denoising: Zhang et al., 2022, arXiv:2203.03605), so the network runs in
`losses` and in `decode`, and what stands for its raw outputs are the pictures. No suppression is needed: every object
is matched with one query in training. It is switched off by `nms_threshold: 1.0`.
"""

import contextlib
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import box_convert

from reprolens.config import Model
from reprolens.errors import ConfigError
from reprolens.models.one_stage import OneStage, Target
from reprolens.models.registry import Size

QUERIES = 300
"""How many boxes a picture gives, if it has as many places on its maps."""

KINDS = {
    "loss_vfl": "classification",
    "loss_bbox": "box_distance",
    "loss_giou": "box_overlap",
    "loss_fgl": "box_edges",
    "loss_ddf": "distillation",
}
"""The library's kinds of losses; each is the sum over the decoder's layers, the encoder and the denoising queries."""

SWITCH = "TRANSFORMERS_DISABLE_TORCH_CHECK"

Layer = dict[str, Tensor]
"""What a layer says of the queries: `logits (N, A, K)`, `pred_boxes (N, A, 4)`, cx cy w h from 0 to 1, and more."""


class Detr(OneStage):
    """A detector of the transformers library; `library` is its `...ForObjectDetection`, which is taken apart."""

    head: Any

    def __init__(self, library: nn.Module, options: Model) -> None:
        network: Any = library.model
        backbone = network.backbone
        del network.backbone
        super().__init__(backbone, network, options)
        # The network's own forward calls its backbone, which must not be registered twice: names are by `backbone.`.
        network.__dict__["backbone"] = backbone
        network.denoising_class_embed = LabelEmbedding(network.denoising_class_embed.weight.detach()[:-1])
        self.library = type(library)

    def criterion(self) -> Any:
        """Return the library's loss: a function of outputs and labels to many named losses, already weighted."""
        raise AssertionError("every family has a loss of its own")

    def layers(self, found: Any) -> list[Layer]:
        """Return what the decoder's layers say, in order; the library's outputs are `(N, layers, A, ...)`."""
        return [
            {"logits": logits, "pred_boxes": boxes}
            for logits, boxes in zip(
                found.intermediate_logits.unbind(1), found.intermediate_reference_points.unbind(1), strict=True
            )
        ]

    def raw(self, images: Tensor) -> Tensor:
        """Return the pictures `(N, 3, h, w)` as they are: see the file's first lines."""
        return images

    def losses(self, outputs: Tensor, targets: list[Target], size: Size) -> dict[str, Tensor]:
        """Return the losses of pictures `outputs (N, 3, h, w)`, a sum for each of `KINDS` that the family has."""
        labels = [
            {"class_labels": target["labels"] - 1, "boxes": _normalised(target["boxes"], size)} for target in targets
        ]
        found = self._run(outputs, labels)
        layers = [{key: value.float() for key, value in layer.items()} for layer in self.layers(found)]
        encoder = {"logits": found.enc_topk_logits.float(), "pred_boxes": found.enc_topk_bboxes.float()}
        whole = torch.stack([layer[key].sum() for layer in (*layers, encoder) for key in encoder]).sum()
        if not whole.isfinite():  # the library stops at such boxes with a bare ValueError
            return {"classification": whole * torch.nan}
        # Without any object there are no denoising queries; a parameter without a gradient would stop DDP.
        nothing = 0.0 * self.head.denoising_class_embed.weight.sum()
        with torch.autocast(outputs.device.type, enabled=False):
            named = self.criterion()(_arranged(layers, encoder, found.denoising_meta_values), labels)
            sums: dict[str, Tensor] = defaultdict(lambda: nothing)
            for name, value in named.items():
                kind = KINDS[re.sub(r"_(aux|dn)_\d+$", "", name)]
                sums[kind] = sums[kind] + value
        return dict(sums)

    def decode(self, outputs: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        """Return boxes `(N, A, 4)` in pixels and scores `(N, A, K)` of pictures `outputs (N, 3, h, w)`."""
        last = self.layers(self._run(outputs, None))[-1]
        boxes = box_convert(last["pred_boxes"].float(), "cxcywh", "xyxy")
        sides = torch.tensor([size[1], size[0]] * 2, dtype=boxes.dtype, device=boxes.device)
        return boxes * sides, last["logits"].float().sigmoid()

    def _run(self, images: Tensor, labels: list[Target] | None) -> Any:
        """Return the library's outputs for pictures `(N, 3, h, w)`, with denoising queries if there are labels."""
        strides = self.head.config.feat_strides
        places = sum((images.shape[-2] // stride) * (images.shape[-1] // stride) for stride in strides)
        self.head.config.num_queries = min(QUERIES, places)
        with contextlib.ExitStack() as stack:
            if torch.compiler.is_exporting() or images.is_meta:
                stack.enter_context(_unchecked())
            if torch.compiler.is_exporting():
                stack.enter_context(_of_any_batch(sys.modules[self.library.__module__]))
            return self.head(images, labels=labels, return_dict=True)


class LabelEmbedding(nn.Module):
    """`labels` from 0 to K, integers of any shape, to rows of `weight (K, C)`; K, which is no class, to zeros."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def forward(self, labels: Tensor) -> Tensor:
        return functional.embedding(labels, functional.pad(self.weight, (0, 0, 0, 1)))


def _normalised(boxes: Tensor, size: Size) -> Tensor:
    """Return boxes x0 y0 x1 y1 in pixels of `size` as cx cy w h in shares of it, both `(M, 4)`."""
    sides = torch.tensor([size[1], size[0]] * 2, dtype=torch.float32, device=boxes.device)
    return box_convert(boxes.float() / sides, "xyxy", "cxcywh")


def _arranged(layers: Sequence[Layer], encoder: Layer, denoising: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the outputs as the library's losses take them: the last layer's, beside them the others' and denoising's.

    Denoising queries stand before the others, as `denoising["dn_num_split"]` says.
    """
    if denoising is None:
        return {**layers[-1], "auxiliary_outputs": [*layers[:-1], encoder]}
    split = [{key: value.split(denoising["dn_num_split"], 1) for key, value in layer.items()} for layer in layers]
    noisy, usual = ([{key: pair[part] for key, pair in layer.items()} for layer in split] for part in (0, 1))
    return {
        **usual[-1],
        "auxiliary_outputs": [*usual[:-1], encoder],
        "dn_auxiliary_outputs": noisy,
        "denoising_meta_values": denoising,
    }


@contextlib.contextmanager
def _unchecked() -> Iterator[None]:
    """Leave out the library's checks of its own shapes, by its own switch: neither ONNX nor the meta device has any."""
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SWITCH]
        else:
            os.environ[SWITCH] = before


@contextlib.contextmanager
def _of_any_batch(module: Any) -> Iterator[None]:
    """Let `len` of a tensor in the library's `module` be its size, which an export keeps open; `len` fixes it."""
    module.len = lambda values: values.shape[0] if isinstance(values, Tensor) else len(values)
    try:
        yield
    finally:
        del module.len


def need_library(name: str) -> None:
    """Raise ConfigError if the transformers library, or what its losses need, is not installed."""
    try:
        import scipy.optimize  # noqa: F401
        import transformers  # noqa: F401
    except ImportError:
        raise ConfigError(f"model.name: {name} needs the extra: pip install 'reprolens[transformers]'") from None


def draw_values(library: Any) -> None:
    """Draw the values of all but the backbone again, as the authors' code does: torch's own, then what is special."""
    network = library.model
    inside = {id(module) for module in network.backbone.modules()}
    outside = [module for module in library.modules() if id(module) not in inside]
    plain = (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.LayerNorm)
    for module in outside:
        if isinstance(module, plain):
            module.reset_parameters()
    for module in outside:
        if not isinstance(module, plain):
            library._init_weights(module)  # the prior of the classes, the first boxes, where deformable attention looks
    network.denoising_class_embed.reset_parameters()
    first_boxes = [network.enc_bbox_head, getattr(network.decoder, "pre_bbox_head", None)]
    for head in filter(None, first_boxes):
        nn.init.zeros_(head.layers[-1].weight)
        nn.init.zeros_(head.layers[-1].bias)
