"""Which parameters of a model are trained: transfer learning, three ways.

What is called the backbone is its body alone, `backbone_stages`: the layers that a classifier of its kind has, too.
A feature pyramid, a neck and the extra layers of SSD, though they lie in a model's `backbone`, count as new layers.

What a model never trains has to be a buffer of it, not a parameter: every parameter can be trained here.
"""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torchvision.models.detection.ssd import SSDFeatureExtractorVGG

from reprolens.config import LastLayers, NewHead, Transfer
from reprolens.models.weights import Match


def set_trainable(model: nn.Module, transfer: Transfer, match: Match, epoch: int) -> None:
    """Switch the gradients of what `transfer` trains in `epoch`, the first being 1, on and those of the rest off.

    This depends on nothing but the arguments, so a resumed run does as an uninterrupted one. Call `train_mode` after
    it: BatchNorms of stages that are trained from now on follow their pictures again.
    """
    held = _held(model, transfer, match, epoch)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in held)


def ever_trainable(model: nn.Module, transfer: Transfer, match: Match) -> set[str]:
    """Return the names of the parameters that are trained in some epoch, sooner or later: those of the optimizer."""
    names = {name for name, _ in model.named_parameters()}
    if isinstance(transfer, LastLayers) and transfer.unfreeze_every:
        return names
    return names - _held(model, transfer, match, epoch=1)


def _held(model: nn.Module, transfer: Transfer, match: Match, epoch: int) -> set[str]:
    """Return the names of the parameters that `transfer` holds still in `epoch`."""
    if isinstance(transfer, NewHead):
        # What names the classes is trained even if it came whole: the same classes look different in other pictures.
        return set(match.kept) - set(match.by_class)
    if isinstance(transfer, LastLayers):
        stages = backbone_stages(model)
        trained = trained_stages(transfer, len(stages), epoch)
        return _names(model, stages[: len(stages) - trained])
    return set()


def body_parameters(model: nn.Module) -> set[str]:
    """Return the names of the parameters of the backbone's body: those of all its stages."""
    return _names(model, backbone_stages(model))


def _names(model: nn.Module, parts: list[nn.Module]) -> set[str]:
    """Return the names that the parameters of `parts` have in `model`."""
    theirs = {id(parameter) for part in parts for parameter in part.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in theirs}


def trained_stages(transfer: LastLayers, stages: int, epoch: int) -> int:
    """Return how many of the backbone's `stages`, counted from the last, are trained in `epoch`, the first being 1.

    With `unfreeze_every` it is gradual unfreezing: Howard and Ruder, 2018, arXiv:1801.06146, section 3.3.
    """
    more = (epoch - 1) // transfer.unfreeze_every if transfer.unfreeze_every else 0
    return min(stages, transfer.trainable_stages + more)


def backbone_stages(model: nn.Module) -> list[nn.Module]:
    """Return the parts of the backbone's body that have parameters, from the picture on.

    They are its direct children: the stem and `layer1` to `layer4` in a ResNet, one inverted residual each in
    torchvision's MobileNet, one convolution each in VGG. A normalisation layer belongs to what it follows. Where that
    makes one or two, they are opened until there are more: timm's RepVGG has a stem and, in `stages`, four stages.
    torchvision's SSD keeps the end of VGG16, conv5 and, as one stage, fc6 and fc7, in the first of its extra layers.
    """
    backbone = model.get_submodule("backbone")
    body = next((child for name, child in backbone.named_children() if name in ("body", "features")), backbone)
    parts = _children(body)
    if isinstance(backbone, SSDFeatureExtractorVGG):
        parts += _children(backbone.extra[0])
    stages = _with_norms(parts)
    while len(stages) <= 2 and (opened := _opened(parts)) != parts:
        parts = opened
        stages = _with_norms(parts)
    return [stage[0] if len(stage) == 1 else nn.Sequential(*stage) for stage in stages]


def _children(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if any(True for _ in child.parameters())]


def _with_norms(parts: list[nn.Module]) -> list[list[nn.Module]]:
    """Return the parts, each with the normalisation layers that follow it."""
    stages: list[list[nn.Module]] = []
    for part in parts:
        if stages and isinstance(part, _NormBase | nn.GroupNorm | nn.LayerNorm):
            stages[-1].append(part)
        else:
            stages.append([part])
    return stages


def _opened(parts: list[nn.Module]) -> list[nn.Module]:
    """Return the parts with the children of all plain sequences among them, or else of the largest, in their place.

    A part with parameters of its own beside its children's stays whole, so that none is lost.
    """
    closed = [part for part in parts if _children(part) and not list(part.parameters(recurse=False))]
    chosen = [part for part in closed if type(part) in (nn.Sequential, nn.ModuleList)]
    if not chosen:
        chosen = sorted(closed, key=lambda part: sum(value.numel() for value in part.parameters()))[-1:]
    return [piece for part in parts for piece in (_children(part) if part in chosen else [part])]


def train_mode(model: nn.Module) -> None:
    """Set training mode, but leave frozen BatchNorms in evaluation mode: their running statistics stay as they were.

    One without parameters (`affine=False`) is frozen if the layer that it follows is.
    """
    model.train()
    trained = True
    for module in model.modules():
        if own := list(module.parameters(recurse=False)):
            trained = any(parameter.requires_grad for parameter in own)
        if isinstance(module, _BatchNorm) and not trained:
            module.eval()
