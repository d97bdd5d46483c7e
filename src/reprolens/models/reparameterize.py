"""Structural re-parameterisation: networks trained with many branches become plain convolutions that say the same.

RepVGG: Ding et al., 2021, arXiv:2101.03697, section 3.3; MobileOne: Vasu et al., 2022, arXiv:2206.04040. A block that
can fold has a method `reparameterize()` that does it in place, as timm's have: a new family joins by having one.
"""

import copy
from typing import Any

from torch import nn

from reprolens.errors import ExportError

_FOLDED = "_is_folded"
"""What marks a folded block: not all of timm's can be told twice."""


def reparameterize(module: nn.Module) -> nn.Module:
    """Return a copy of `module` with all blocks folded that can; `module` stays as it is and can be trained further.

    What the copy gives is equal up to rounding; it has fewer parameters and other names in its state. A module without
    such blocks, or with folded ones, comes back as a plain copy. Raises ExportError if `module` or one of its blocks is
    in training mode: BatchNorm then normalises by the batch, which no convolution does.
    """
    blocks = {name: block for name, block in module.named_modules() if _can_fold(block)}
    training = [name for name, block in blocks.items() if any(part.training for part in block.modules())]
    if module.training or training:
        place = f"its block {training[0]} is" if training and not module.training else "it is"
        raise ExportError(f"{type(module).__name__} cannot be re-parameterised: {place} in training mode; call eval()")
    folded = copy.deepcopy(module)
    _fold(folded)
    return folded.eval()  # the convolutions that blocks make are new, and new layers are in training mode


def _fold(module: Any) -> None:
    """Fold `module` and then what is left in it: a block may fold others that it is made of, and drop them."""
    if _can_fold(module):
        module.reparameterize()
        setattr(module, _FOLDED, True)
    for child in module.children():
        _fold(child)


def _can_fold(module: nn.Module) -> bool:
    return callable(getattr(module, "reparameterize", None)) and not hasattr(module, _FOLDED)
