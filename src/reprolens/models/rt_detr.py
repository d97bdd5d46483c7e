"""RT-DETRv2: a real-time detection transformer (Lv et al., 2024, arXiv:2407.17140), through the transformers library.

A ResNet-vd, a hybrid encoder of one transformer layer and a convolutional pyramid, and a decoder whose queries are the
best places of the encoder's maps. See `detr` for what differs from the library.
"""

from typing import Any

from torch import nn

from reprolens.config import Model
from reprolens.models.detr import Detr, draw_values, need_library
from reprolens.models.preprocessing import UNCHANGED
from reprolens.models.registry import Size, register


class RTDetr(Detr):
    """RT-DETRv2; its losses are varifocal, L1 and generalised IoU (Zhao et al., 2023, arXiv:2304.08069, 4.3)."""

    def criterion(self) -> Any:
        """Return RT-DETR's loss."""
        from transformers.loss.loss_rt_detr import RTDetrLoss

        return RTDetrLoss(self.head.config)


@register(
    "rtdetr_v2_r18",
    paper="arXiv:2407.17140",
    licence="Apache-2.0",
    weights="hf/PekingU/rtdetr_v2_r18vd",
    weights_licence="Apache-2.0",
    preprocessing=UNCHANGED,
    extra="transformers",
)
def build_rtdetr_v2_r18(classes: int, size: Size, options: Model) -> nn.Module:
    """Build RT-DETRv2-S, on ResNet-18-vd."""
    need_library(options.name)
    from transformers import RTDetrResNetConfig

    backbone = RTDetrResNetConfig(
        out_indices=[2, 3, 4], layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512]
    )
    return _build(
        classes, options, backbone, encoder_in_channels=[128, 256, 512], hidden_expansion=0.5, decoder_layers=3
    )


@register(
    "rtdetr_v2_r50",
    paper="arXiv:2407.17140",
    licence="Apache-2.0",
    weights="hf/PekingU/rtdetr_v2_r50vd",
    weights_licence="Apache-2.0",
    preprocessing=UNCHANGED,
    extra="transformers",
)
def build_rtdetr_v2_r50(classes: int, size: Size, options: Model) -> nn.Module:
    """Build RT-DETRv2-L, on ResNet-50-vd."""
    need_library(options.name)
    from transformers import RTDetrResNetConfig

    return _build(classes, options, RTDetrResNetConfig(out_indices=[2, 3, 4]), decoder_layers=6)


def _build(classes: int, options: Model, backbone: Any, **settings: Any) -> RTDetr:
    from transformers import RTDetrV2Config, RTDetrV2ForObjectDetection

    config = RTDetrV2Config(num_labels=classes, backbone_config=backbone, freeze_backbone_batch_norms=False, **settings)
    library = RTDetrV2ForObjectDetection(config)
    draw_values(library)
    return RTDetr(library, options)
