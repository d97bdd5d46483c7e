"""D-FINE (Peng et al., 2024, arXiv:2410.13842), through the transformers library.

RT-DETR on HGNetV2 whose decoder refines distributions of where a box's edges lie; earlier layers learn from the last
one's. See `detr` for what differs from the library; beside it, a layer's boxes are supervised together with its own
distributions, the last layer's too, as the authors do. The library (5.23) pairs each layer's boxes with the next one's
distributions. As in the library, all layers are matched apart, without the authors' union of matches.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from reprolens.config import Model
from reprolens.models.detr import Detr, Layer, draw_values, need_library
from reprolens.models.preprocessing import UNCHANGED
from reprolens.models.registry import Builder, Size, register


class DFine(Detr):
    """D-FINE; beside RT-DETR's losses it has the fine-grained localisation's and the distillation's (section 4)."""

    def __init__(self, library: nn.Module, options: Model) -> None:
        super().__init__(library, options)
        decoder = self.head.decoder
        for name in ("up", "reg_scale"):  # constants, which the library holds as parameters
            value = getattr(decoder, name).detach()
            delattr(decoder, name)
            decoder.register_buffer(name, value)

    def criterion(self) -> Any:
        """Return D-FINE's loss."""
        from transformers.loss.loss_d_fine import DFineLoss

        return DFineLoss(self.head.config).to(self.head.decoder.up.device)

    def layers(self, found: Any) -> list[Layer]:
        """Return what the decoder's layers say; in training, a first one's boxes without distributions before them."""
        layers = super().layers(found)
        for layer in layers:
            layer["pred_boxes"] = layer["pred_boxes"].clamp(0, 1)
        if not self.training:
            return layers
        corners = found.intermediate_predicted_corners.unbind(1)
        for layer, edges, places in zip(layers[1:], corners, found.initial_reference_points.unbind(1), strict=True):
            layer |= {
                "pred_corners": edges,
                "ref_points": places,
                "teacher_corners": corners[-1],
                "teacher_logits": layers[-1]["logits"],
            }
        return layers


def _register(name: str, weights: str) -> Callable[[Builder], Builder]:
    return register(
        name,
        paper="arXiv:2410.13842",
        licence="Apache-2.0",
        weights=f"hf/ustc-community/{weights}",
        weights_licence="Apache-2.0",
        preprocessing=UNCHANGED,
        extra="transformers",
    )


@_register("dfine_n", "dfine-nano-coco")
def build_dfine_n(classes: int, size: Size, options: Model) -> nn.Module:
    """Build D-FINE-N, on HGNetV2-B0 without its map of stride 8."""
    need_library(options.name)
    return _build(
        classes,
        options,
        _hgnet_b0([3, 4]),
        encoder_in_channels=[512, 1024],
        feat_strides=[16, 32],
        encode_proj_layers=[1],
        encoder_hidden_dim=128,
        encoder_ffn_dim=512,
        hidden_expansion=0.34,
        depth_mult=0.5,
        d_model=128,
        decoder_in_channels=[128, 128],
        decoder_ffn_dim=512,
        num_feature_levels=2,
        decoder_layers=3,
        decoder_n_points=[6, 6],
    )


@_register("dfine_s", "dfine-small-coco")
def build_dfine_s(classes: int, size: Size, options: Model) -> nn.Module:
    """Build D-FINE-S, on HGNetV2-B0."""
    need_library(options.name)
    return _build(
        classes,
        options,
        _hgnet_b0([2, 3, 4]),
        encoder_in_channels=[256, 512, 1024],
        hidden_expansion=0.5,
        depth_mult=0.34,
        decoder_layers=3,
        decoder_n_points=[3, 6, 3],
    )


@_register("dfine_m", "dfine-medium-coco")
def build_dfine_m(classes: int, size: Size, options: Model) -> nn.Module:
    """Build D-FINE-M, on HGNetV2-B2."""
    need_library(options.name)
    return _build(
        classes,
        options,
        _hgnet_b2([2, 3, 4]),
        encoder_in_channels=[384, 768, 1536],
        hidden_expansion=1.0,
        depth_mult=0.67,
        decoder_layers=4,
        decoder_n_points=[3, 6, 3],
    )


def _hgnet_b0(levels: list[int]) -> Any:
    from transformers import HGNetV2Config

    return HGNetV2Config(
        out_indices=levels,
        use_learnable_affine_block=True,
        stem_channels=[3, 16, 16],
        stage_in_channels=[16, 64, 256, 512],
        stage_mid_channels=[16, 32, 64, 128],
        stage_out_channels=[64, 256, 512, 1024],
        hidden_sizes=[64, 256, 512, 1024],
        stage_num_blocks=[1, 1, 2, 1],
        stage_numb_of_layers=[3, 3, 3, 3],
    )


def _hgnet_b2(levels: list[int]) -> Any:
    from transformers import HGNetV2Config

    return HGNetV2Config(
        out_indices=levels,
        use_learnable_affine_block=True,
        stem_channels=[3, 24, 32],
        stage_in_channels=[32, 96, 384, 768],
        stage_mid_channels=[32, 64, 128, 256],
        stage_out_channels=[96, 384, 768, 1536],
        hidden_sizes=[96, 384, 768, 1536],
        stage_num_blocks=[1, 1, 3, 1],
        stage_numb_of_layers=[4, 4, 4, 4],
    )


def _build(classes: int, options: Model, backbone: Any, **settings: Any) -> DFine:
    from transformers import DFineConfig, DFineForObjectDetection

    config = DFineConfig(num_labels=classes, backbone_config=backbone, freeze_backbone_batch_norms=False, **settings)
    library = DFineForObjectDetection(config)
    draw_values(library)
    return DFine(library, options)
