"""Promises of distances from the training images: near is known, far is not, few known are far."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.heads import unknown
from finetune.records.unsure import MOST_ROWS


def clouds(images: int, seed: int, *, at: int = 0, width: int = 32) -> np.ndarray:
    """Features of two classes, float32[images, width], somewhere in space."""
    middle = np.random.default_rng(at).normal(size=(2, width)) * 3
    rng = np.random.default_rng([seed, at])
    return (middle[rng.integers(0, 2, images)] + rng.normal(size=(images, width))).astype(
        np.float32
    )


def test_an_image_of_the_training_is_no_distance_away() -> None:
    """What was trained on is found again, up to what eight bits keep, however long its features."""
    features = clouds(50, 0)

    found = unknown.fit(features).distances(7 * features)

    assert found.max() < 1e-3
    assert found.min() > -1e-6


def test_distances_are_those_of_the_nearest_direction() -> None:
    """One less the largest cosine, as computed one by one in full precision."""
    known, new = clouds(30, 0), clouds(10, 1, at=5)

    found = unknown.fit(known).distances(new)

    unit = [f / np.linalg.norm(f, axis=1, keepdims=True) for f in (known, new)]
    assert found == pytest.approx(1 - (unit[1] @ unit[0].T).max(axis=1), abs=2e-3)


def test_only_its_own_columns_count() -> None:
    """In a longer row, such as a blend's, the detector reads the columns that it was made for."""
    known, new = clouds(30, 0), clouds(10, 1)
    rng = np.random.default_rng(0)
    beside = [rng.normal(size=(10, 7)).astype(np.float32) for _ in range(2)]

    found = unknown.fit(known, 7).distances(np.concatenate([beside[0], new, beside[1]], axis=1))

    assert found == pytest.approx(unknown.fit(known).distances(new))


def test_features_of_nothing_are_far_from_everything() -> None:
    """A row of zeros has no direction: its distance is one, and no number is missing."""
    assert unknown.fit(clouds(5, 0)).distances(np.zeros((2, 32), np.float32)).tolist() == [1, 1]


def test_features_of_a_damaged_network_bring_no_warning() -> None:
    """Numbers too large to be squared have their direction; what is no number stays none."""
    known = clouds(5, 0)
    bad = np.full((1, 32), np.inf, np.float32)

    found = unknown.fit(known).distances(np.concatenate([known * 1e35, bad]))

    assert found[:5].max() < 1e-3
    assert np.isnan(found[5])


def test_copies_do_not_vouch_for_each_other() -> None:
    """Left out with its group, an image is as far as if its copies were not there."""
    features = clouds(40, 0)
    twice = np.concatenate([features, features])
    groups = np.tile(np.arange(40), 2)

    assert unknown.left_out(twice, groups)[:40] == pytest.approx(unknown.left_out(features))
    assert unknown.left_out(twice).max() < 1e-3


@pytest.mark.parametrize("images", [30, 300])
def test_known_pictures_are_marked_no_more_often_than_said(images: int) -> None:
    """Over 100 draws new pictures of the same kind are marked as rarely as each row says."""
    shares = (0.05, 0.2)
    marked = []
    for seed in range(100):
        features = clouds(images, seed)
        rows = unknown.rows(unknown.left_out(features))
        far = unknown.fit(features).distances(clouds(100, 1000 + seed))
        limits = [max(r.refused for r in rows if r.refused <= s) for s in shares]
        marked.append(
            [
                np.mean(far > next(r.distance for r in rows if r.refused == limit))
                for limit in limits
            ]
        )

    assert (np.mean(marked, axis=0) <= np.array(shares) + 0.01).all()
    assert (np.mean(marked, axis=0) >= np.array(shares) / 3).all()


def test_pictures_of_another_kind_are_marked() -> None:
    """Features of elsewhere are farther than all held-out ones."""
    features = clouds(100, 0)
    rows = unknown.rows(unknown.left_out(features))

    far = unknown.fit(features).distances(clouds(50, 1, at=9))

    assert far.min() > rows[0].distance


def test_rows_stay_few_and_dense_where_few_are_refused() -> None:
    """Of thousands of images few rows are kept, each of the farthest hundred among them."""
    rows = unknown.rows(np.random.default_rng(0).random(5000))

    assert len(rows) <= MOST_ROWS
    assert [r.refused for r in rows[:50]] == pytest.approx([(i + 1) / 5001 for i in range(50)])
    assert rows[-1].refused == pytest.approx(5000 / 5001)


def test_rows_count_images_by_their_weights() -> None:
    """Where the farthest image stands for half of what comes, to refuse beyond it may refuse it."""
    rows = unknown.rows(np.array([0.9, 0.2, 0.1]), np.array([1.5, 0.75, 0.75]))

    assert rows[0].refused == pytest.approx(1.5 / 4.5)
