"""Promises of the corruptions: repeatable, of the same form, and worse the stronger they are."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from finetune.pictures import corruptions
from finetune.pictures.corruptions import CORRUPTIONS, Corruption

PHOTO = load_sample_image("china.jpg")[:224, :224]
OTHER = load_sample_image("flower.jpg")[:224, :224]
each = pytest.mark.parametrize("one", CORRUPTIONS, ids=lambda c: c.kind)


def test_there_is_one_of_each_kind() -> None:
    """The ten challenges, none twice, each with words for its three strengths."""
    kinds = [c.kind for c in CORRUPTIONS]

    assert len(set(kinds)) == len(kinds) == 10
    assert all(len(set(c.words)) == len(set(c.amounts)) == 3 for c in CORRUPTIONS)


@each
def test_a_corruption_is_repeatable_and_changes_no_form(one: Corruption) -> None:
    """The same seed gives the same uint8[S, S, 3]; the picture itself is left as it was."""
    before = PHOTO.copy()

    for strength in range(3):
        changed = corruptions.apply(one, strength, PHOTO, OTHER, 7)
        again = corruptions.apply(one, strength, PHOTO, OTHER, 7)

        assert (changed.dtype, changed.shape) == (np.uint8, PHOTO.shape)
        assert np.array_equal(changed, again)
        assert not np.array_equal(changed, PHOTO)
    assert np.array_equal(before, PHOTO)


@each
def test_stronger_is_farther_from_the_picture(one: Corruption) -> None:
    """The mean difference from the unchanged picture grows with the strength."""
    far = [
        np.mean(
            [
                np.abs(corruptions.apply(one, s, PHOTO, OTHER, seed).astype(float) - PHOTO).mean()
                for seed in range(4)
            ]
        )
        for s in range(3)
    ]

    assert 0 < far[0] < far[1] < far[2]


def test_what_is_covered_is_as_large_as_it_says() -> None:
    """Half of it covered is half of its pixels, and the rest is untouched."""
    (occlusion,) = [c for c in CORRUPTIONS if c.kind == "occlusion"]

    changed = corruptions.apply(occlusion, 2, PHOTO, OTHER, 0)

    assert (changed != PHOTO).any(2).mean() == pytest.approx(0.5, abs=0.03)


def test_a_cluttered_background_is_the_other_picture() -> None:
    """At half of its size a picture leaves three quarters of the other one visible."""
    (clutter,) = [c for c in CORRUPTIONS if c.kind == "clutter"]

    changed = corruptions.apply(clutter, 2, PHOTO, OTHER, 0)

    assert (changed == OTHER).all(2).mean() == pytest.approx(0.75, abs=0.02)
