"""Laws of ratios: a share of nothing is undefined, and what is undefined takes no part in a mean."""

import numpy as np
import pytest

from reprolens.evaluation.measures.ratios import defined, defined_mean, ratio


def test_a_share_of_nothing_is_undefined_and_no_warning() -> None:
    found = ratio([0, 1, 3], [0, 2, 4])
    assert np.isnan(found[0]) and found[1:].tolist() == [0.5, 0.75]
    assert ratio(np.ones((2, 3)), np.array([1, 2, 4])).tolist() == [[1, 0.5, 0.25]] * 2


def test_the_mean_is_of_the_defined_values_and_undefined_without_any() -> None:
    found = defined_mean(np.array([[1.0, np.nan, 0.0], [np.nan, np.nan, np.nan]]))
    assert found[0] == 0.5 and np.isnan(found[1])


@pytest.mark.parametrize(("value", "expected"), [(np.nan, None), (np.float64(0.25), 0.25), (0.0, 0.0)])
def test_a_report_has_none_for_what_is_undefined(value: float, expected: float | None) -> None:
    assert defined(value) == expected and not isinstance(defined(value), np.generic)
