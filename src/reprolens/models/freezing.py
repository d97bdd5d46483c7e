"""Which parameters of a model are trained: transfer learning, three ways.

What a model never trains has to be a buffer of it, not a parameter: every parameter can be trained here.
"""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

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
        held = {id(parameter) for stage in stages[: len(stages) - trained] for parameter in stage.parameters()}
        return {name for name, parameter in model.named_parameters() if id(parameter) in held}
    return set()


def trained_stages(transfer: LastLayers, stages: int, epoch: int) -> int:
    """Return how many of the backbone's `stages`, counted from the last, are trained in `epoch`, the first being 1.

    With `unfreeze_every` it is gradual unfreezing: Howard and Ruder, 2018, arXiv:1801.06146, section 3.3.
    """
    more = (epoch - 1) // transfer.unfreeze_every if transfer.unfreeze_every else 0
    return min(stages, transfer.trainable_stages + more)


def backbone_stages(model: nn.Module) -> list[nn.Module]:
    """Return the parts of the backbone's body that have parameters, from the picture on.

    They are its direct children: the stem and `layer1` to `layer4` in a ResNet, one inverted residual each in a
    MobileNet, one convolution each in VGG. A normalisation layer belongs to what it follows.
    """
    backbone = model.get_submodule("backbone")
    body = next((child for name, child in backbone.named_children() if name in ("body", "features")), backbone)
    children = list(body.children())
    if len(children) <= 2:  # SSDLite cuts its body into two sequences of blocks
        children = [block for child in children for block in child.children()]
    stages: list[nn.Module] = []
    for child in children:
        if stages and isinstance(child, _NormBase | nn.GroupNorm | nn.LayerNorm):
            stages[-1] = nn.Sequential(stages[-1], child)
        elif any(True for _ in child.parameters()):
            stages.append(child)
    return stages


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
