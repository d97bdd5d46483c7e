"""torchvision's classifiers as layers that run one after the other."""

from torch import Tensor, nn

from reprolens.models.backbones.levels import Level, call, choose, level, on_meta, picture

_HEADS = ("avgpool", "classifier", "dropout", "fc")
"""What torchvision calls the layers that make a class of the last map."""
_WITH_BRANCHES = {"googlenet", "inception_v3"}
_NO_BRANCHES = {"aux_logits": False, "init_weights": True}

Steps = list[tuple[str, nn.Module]]


def layers(name: str, strides: tuple[int, ...]) -> tuple[Steps, list[Level]]:
    """Build torchvision's `name` at random values; return its layers up to the last level, and the levels.

    Layers come with their dotted names in the classifier, without `features.`. Raises UnfitError if a level is missing.
    """
    from torchvision.models import get_model

    network = get_model(name, weights=None, **(_NO_BRANCHES if name in _WITH_BRANCHES else {}))
    parent = network.get_submodule("features") if hasattr(network, "features") else network
    with on_meta(network):
        steps, levels = _run([pair for pair in parent.named_children() if pair[0] not in _HEADS], picture())
    chosen = choose(levels, strides)
    last = [path for path, _ in steps].index(str(chosen[-1].place))
    return steps[: last + 1], chosen


def _run(steps: Steps, images: Tensor) -> tuple[Steps, list[Level]]:
    """Run `steps` and return them, unfolding those that hold several levels, with the levels that come out of them."""
    ran: Steps = []
    levels: list[Level] = []
    for path, layer in steps:
        before, output = level(path, images), call(layer, images)
        after = level(path, output)
        if type(layer) is nn.Sequential and before and after and after.stride > 2 * before.stride:
            more, found = _run([(f"{path}.{name}", child) for name, child in layer.named_children()], images)
        else:
            more, found = [(path, layer)], [after] if after else []
        ran, levels, images = ran + more, levels + found, output
    return ran, levels
