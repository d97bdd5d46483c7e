"""Shares and means of which some are undefined: NaN in arrays, None in a report."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ratio(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """Return `part / whole`, of `part`'s shape; NaN where the whole is not above 0."""
    part, whole = np.asarray(part), np.asarray(whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=np.broadcast_to(whole > 0, part.shape))


def defined_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the last axis of the values that are defined; NaN where none is."""
    return ratio(np.nansum(values, axis=-1), (~np.isnan(values)).sum(axis=-1))


def defined(value: float) -> float | None:
    """Return the number, None for NaN."""
    return None if np.isnan(value) else float(value)
