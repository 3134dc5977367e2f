"""A number is written as people read it."""

from __future__ import annotations

import pytest

from finetune.records.figures import figure


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0"), (0.012345, "0.01235"), (12.346, "12.35"), (-3.0, "-3"), (999.96, "1,000")),
        *((1234.6, "1,235"), (253123.4, "253,123"), (-98765.0, "-98,765"), (1e-7, "1e-07")),
    ],
)
def test_four_digits_and_all_before_the_point(value: float, text: str) -> None:
    """Prices and distances are written out, small numbers keep four digits."""
    assert figure(value) == text


def test_a_sign_is_written_where_asked() -> None:
    """Differences have a plus."""
    assert figure(253123.4, signed=True) == "+253,123"
    assert figure(-0.5, signed=True) == "-0.5"
