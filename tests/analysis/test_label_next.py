"""Promises of the choice of images to label next."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.analysis.label_next import Candidates, directions, grouped
from finetune.storage.arrays import Floats


def heaps(*sizes: int, width: int = 16) -> Floats:
    """Directions in heaps, one after the other, each about an axis of its own."""
    rng = np.random.default_rng(0)
    at = np.repeat(np.arange(len(sizes)), sizes)
    return directions((np.eye(width)[at] + 0.01 * rng.normal(size=(len(at), width))).astype("f4"))


def test_each_heap_of_like_images_is_suggested_once() -> None:
    """Of five heaps of different sizes five images are chosen, one of each, the largest first."""
    features = heaps(30, 8, 20, 10, 12)

    groups = grouped(features, np.ones(80), np.ones(80), 5)

    assert [len(g.members) for g in groups] == [30, 20, 12, 10, 8]
    assert [g.weight for g in groups] == sorted((g.weight for g in groups), reverse=True)


def test_the_doubtful_image_nearest_to_the_middle_comes_first() -> None:
    """With equal doubt a group is led by the member nearest to its mean, else by a doubtful one."""
    features = heaps(30)
    doubt = np.where(np.arange(30) < 5, 0.6, 1e-3)

    (even,) = grouped(features, np.ones(30), np.ones(30), 1)
    (led,) = grouped(features, np.ones(30), doubt, 1)

    distance = np.square(features - features.mean(axis=0)).sum(axis=1)
    assert even.members[0] == distance.argmin()
    assert sorted(led.members[:5]) == [0, 1, 2, 3, 4]
    assert led.members[0] == distance[:5].argmin()


def test_where_the_model_is_sure_is_not_suggested_before_where_it_is_not() -> None:
    """Two heaps of doubt take the places, although the heap it is sure of is larger."""
    features = heaps(200, 20, 20)
    candidates = Candidates()
    candidates.add(np.arange(240), features, np.repeat([1e-6, 0.5, 0.5], [200, 20, 20]))

    first = [g.members[0] for g in candidates.groups(2)]

    assert sorted(i // 20 for i in first) == [10, 11]


def test_no_more_features_are_held_than_wanted() -> None:
    """Of many images those the model doubts are kept, however many there are."""
    rng, candidates = np.random.default_rng(0), Candidates(most=50)
    held = []
    for start in range(0, 2000, 10):
        wrong = np.full(10, 0.6 if start % 100 == 0 else 1e-4)
        rows = rng.normal(size=(10, 8)).astype(np.float32)
        candidates.add(np.arange(start, start + 10), rows, wrong)
        held.append(sum(len(part[0]) for part in candidates._parts))

    found = [i for g in candidates.groups(10) for i in g.members]

    assert max(held) <= 110
    assert len(found) == 50
    assert np.mean([i % 100 < 10 for i in found]) > 0.9


@pytest.mark.parametrize(("images", "count"), [(3, 10), (1, 1), (6, 6)])
def test_fewer_images_than_wanted_are_all_suggested(images: int, count: int) -> None:
    """Nothing is suggested twice, and copies leave no empty group."""
    features = np.repeat(heaps(1, 1, 1), 2, axis=0)[:images]

    groups = grouped(features, np.ones(images), np.ones(images), count)

    assert sorted(i for g in groups for i in g.members) == list(range(images))
    assert len(groups) <= count


def test_nothing_gives_nothing() -> None:
    """Without an image there is no group."""
    assert Candidates().groups(5) == []
