"""What weights expect of a picture where their file does not say it, but the user does."""

from reprolens.config import Expected
from reprolens.errors import WeightsError
from reprolens.models.preprocessing import Preprocessing, Three


def is_said(expects: Expected) -> bool:
    """Return whether the user says anything."""
    return any(part is not None for part in (expects.mean, expects.std, expects.range, expects.order))


def completed(expects: Expected, base: Preprocessing) -> Preprocessing:
    """Return what the user says, and for the parts of which nothing is said that of `base`.

    Mean and standard deviation belong to their channels: under another order they are turned round. In another range
    they would be other numbers, so there all have to be said; but without any normalisation there is nothing to say.
    Raises WeightsError if they are not.
    """
    order = base.order if expects.order is None else str(expects.order)
    span = base.range if expects.range is None else float(expects.range)
    plain = base.mean == (0, 0, 0) and base.std == (1, 1, 1)
    if span != base.range and not plain and (expects.mean is None or expects.std is None):
        raise WeightsError(
            f"pretrain.expects.range: {span:g}, but the model's is {base.range:g}; say mean and std too, in that range"
        )
    turned = order != base.order
    mean, std = (
        said or (list(own)[::-1] if turned else list(own))
        for said, own in ((expects.mean, base.mean), (expects.std, base.std))
    )
    return Preprocessing(_three(mean), _three(std), span, order)


def agreed(expects: Expected, said: Preprocessing, file: str) -> Preprocessing:
    """Return what a file itself says. Raises WeightsError if the user says something else."""
    parts = {"mean": said.mean, "std": said.std, "range": said.range, "order": said.order}
    for name, own in parts.items():
        wanted = getattr(expects, name)
        wanted = tuple(wanted) if isinstance(wanted, list) else wanted
        if wanted is not None and wanted != own:
            value = list(own) if isinstance(own, tuple) else own
            raise WeightsError(f"pretrain.expects.{name}: {file} itself says {value}; set it to null")
    return said


def _three(values: list[float]) -> Three:
    first, second, third = (float(value) for value in values)
    return first, second, third
