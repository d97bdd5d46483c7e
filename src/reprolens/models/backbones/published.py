"""The published ImageNet weights of a backbone, and what they expect of a picture."""

from reprolens.models.backbones.publisher import TIMM, timm_name
from reprolens.models.preprocessing import Preprocessing

_HALVES = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_FROM_TENSORFLOW = "googlenet"
"""torchvision's classifier turns ImageNet's normalisation into that of its weights, which a body does not."""


def published(name: str) -> str:
    """Return the name that `pretrain: published` takes for the ImageNet weights of the backbone `name`.

    It is torchvision's name of its default weights, or `timm/NAME`. Raises ConfigError if there is no such backbone.
    """
    from torchvision.models import get_model_weights

    timms = timm_name(name)
    if timms is not None:
        return f"{TIMM}{timms}"
    best = get_model_weights(name).DEFAULT
    return f"{type(best).__name__}.{best.name}"


def preprocessing_of(name: str) -> Preprocessing:
    """Return what those weights expect of a picture. Raises ConfigError if there is no such backbone."""
    from torchvision.models import get_model_weights

    timms = timm_name(name)
    if timms is None:
        if name == _FROM_TENSORFLOW:
            return _HALVES
        presets = get_model_weights(name).DEFAULT.transforms()
        return Preprocessing(_three(presets.mean), _three(presets.std))
    import timm

    facts = timm.get_pretrained_cfg(timms)
    return Preprocessing(_three(facts.mean), _three(facts.std)) if facts else Preprocessing()


def _three(values: list[float] | tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return (red, green, blue)
