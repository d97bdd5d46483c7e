"""Which parameters of a model are trained: transfer learning, three ways."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from reprolens.config import LastLayers, NewHead, Transfer
from reprolens.errors import TrainingError
from reprolens.models.weights import Match


def freeze(model: nn.Module, transfer: Transfer, match: Match) -> None:
    """Switch off the gradients of what `transfer` holds still. Raises TrainingError if nothing is left to train."""
    if isinstance(transfer, LastLayers):
        stages = backbone_stages(model)
        for stage in stages[: max(0, len(stages) - transfer.trainable_stages)]:
            stage.requires_grad_(False)
    elif isinstance(transfer, NewHead):
        kept = set(match.kept)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in kept)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TrainingError(
            "transfer: the starting weights cover the whole model, so nothing is left to train; use full"
        )


def backbone_stages(model: nn.Module) -> list[nn.Module]:
    """Return the parts of the backbone's body that have parameters, from the picture on.

    They are its direct children: the stem and `layer1` to `layer4` in a ResNet, one inverted residual each in a
    MobileNet, one convolution each in VGG.
    """
    backbone = model.get_submodule("backbone")
    body = next((child for name, child in backbone.named_children() if name in ("body", "features")), backbone)
    children = list(body.children())
    if len(children) <= 2:  # SSDLite cuts its body into two sequences of blocks
        children = [block for child in children for block in child.children()]
    return [child for child in children if any(True for _ in child.parameters())]


def train_mode(model: nn.Module) -> None:
    """Set training mode, but leave frozen BatchNorms in evaluation mode: their running statistics stay as they were."""
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and not any(parameter.requires_grad for parameter in module.parameters()):
            module.eval()
