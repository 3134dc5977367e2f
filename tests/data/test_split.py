"""Promises of `finetune.data.split`: which split an image falls in."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from examples import lay
from hypothesis import given
from hypothesis import strategies as st

from finetune.data import split
from finetune.records.dataset import Dataset, Sample, Splits
from finetune.records.errors import UsageError
from finetune.sources import scan

PARTS = ("train", "val", "test")


def names(samples: Iterable[Sample] | None) -> set[str]:
    assert samples is not None
    return {s.path for s in samples}


def sample(path: str, label: int, content: object) -> Sample:
    return Sample(path, label, hashlib.sha256(str(content).encode()).hexdigest())


def plain(samples: Iterable[Sample]) -> Dataset:
    pool = tuple(samples)
    classes = tuple(f"c{i}" for i in range(1 + max((s.label for s in pool), default=0)))
    return Dataset("root", classes, "plain", pool, None, None, ())


def many(per_class: int, classes: int = 2, salt: str = "") -> list[Sample]:
    """Samples of `classes` classes, all with different bytes."""
    return [
        sample(f"c{c}/{salt}{i}.png", c, f"{salt}-{c}-{i}")
        for c in range(classes)
        for i in range(per_class)
    ]


def cut(
    dataset: Dataset, *, seed: int = 0, val: float = 0.2, test: float = 0.2, cap: int | None = None
) -> Splits:
    return split.split(dataset, seed=seed, val_fraction=val, test_fraction=test, max_per_class=cap)


# --- split ----------------------------------------------------------------------------------------

# Few contents for many files: exact copies, also under two labels, are the rule here.
crowded = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), max_size=60).map(
    lambda pairs: plain(
        sample(f"c{label}/{i}.png", label, content) for i, (label, content) in enumerate(pairs)
    )
)
fraction = st.floats(0.0, 0.9)


@given(crowded, st.integers(0, 99), fraction, fraction)
def test_split_is_disjoint_and_complete(
    dataset: Dataset, seed: int, val: float, test: float
) -> None:
    """Every image is in exactly one split."""
    splits = cut(dataset, seed=seed, val=val, test=test)

    assert Counter(splits.train + splits.val + splits.test) == Counter(dataset.pool)


@given(crowded, st.integers(0, 99), fraction, fraction)
def test_split_keeps_copies_on_one_side(
    dataset: Dataset, seed: int, val: float, test: float
) -> None:
    """Exact copies fall in the same split, whatever their names and labels."""
    splits = cut(dataset, seed=seed, val=val, test=test)

    sides = [{s.digest for s in part} for part in (splits.train, splits.val, splits.test)]
    assert sum(map(len, sides)) == len(set.union(*sides))


@given(crowded, st.integers(0, 99), st.randoms())
def test_split_does_not_depend_on_the_order_of_files(
    dataset: Dataset, seed: int, shuffler: random.Random
) -> None:
    """The same seed gives the same split, in whatever order the files of a class come."""
    pool = sorted(dataset.pool, key=lambda s: s.label)
    shuffled = list(pool)
    shuffler.shuffle(shuffled)

    one = cut(plain(pool), seed=seed)
    two = cut(plain(sorted(shuffled, key=lambda s: s.label)), seed=seed)

    assert names(one.train) == names(two.train)
    assert names(one.val) == names(two.val)


@given(st.integers(1, 30), st.integers(0, 99), fraction, fraction)
def test_every_class_keeps_a_training_image(
    per_class: int, seed: int, val: float, test: float
) -> None:
    """However large the shares, no class loses all its images to validation and test."""
    splits = cut(plain(many(per_class, classes=3)), seed=seed, val=val, test=test)

    assert {s.label for s in splits.train} == {0, 1, 2}


# Each content may stand under any label, so that some classes consist of other classes' images.
crossed = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=12).map(
    lambda pairs: plain(sample(f"c{a}/{i}.png", a, b) for i, (a, b) in enumerate(sorted(pairs)))
)


@given(crossed, st.integers(0, 99))
def test_every_class_keeps_a_training_image_with_crossed_copies(
    dataset: Dataset, seed: int
) -> None:
    """An image under two labels costs no class its last training image."""
    splits = cut(dataset, seed=seed)

    assert {s.label for s in splits.train} == {s.label for s in dataset.pool}


@pytest.mark.parametrize("per_class", [3, 4, 5, 6, 10])
def test_every_class_of_three_is_in_every_split(per_class: int) -> None:
    """A class of three images is trained on, validated and tested, whatever the seed."""
    for seed in range(50):
        splits = cut(plain(many(per_class, classes=5)), seed=seed)

        for part in (splits.train, splits.val, splits.test):
            assert {s.label for s in part} == {0, 1, 2, 3, 4}


def test_another_seed_is_another_split() -> None:
    """The seed decides who is tested."""
    dataset = plain(many(30))

    tested = {frozenset(names(cut(dataset, seed=seed).test)) for seed in range(10)}

    assert len(tested) == 10


def sides(splits: Splits) -> dict[str, str]:
    return {s.path: name for name in PARTS for s in getattr(splits, name)}


@pytest.mark.parametrize(("before", "added", "most"), [(100, 10, 6), (40, 4, 5), (1000, 10, 6)])
def test_adding_files_moves_few_others(before: int, added: int, most: int) -> None:
    """Of 100 images about two change sides when ten are added to their class, never above six."""
    moved = []
    for seed in range(50):
        old = sides(cut(plain(many(before, classes=1)), seed=seed))
        grown = many(before, classes=1) + many(added, classes=1, salt="new")
        new = sides(cut(plain(grown), seed=seed))
        moved.append(sum(new[path] != side for path, side in old.items()))

    assert max(moved) <= most
    assert sum(moved) / len(moved) < 3


def test_images_added_to_a_class_move_none_of_another() -> None:
    """Each class gives its share by itself."""
    old = sides(cut(plain(many(40))))
    new = sides(cut(plain(many(40) + [s for s in many(25, salt="new") if s.label == 0])))

    assert {p: s for p, s in new.items() if p.startswith("c1/")} == {
        p: s for p, s in old.items() if p.startswith("c1/")
    }


@pytest.mark.parametrize(
    ("images", "share", "expected"),
    [(40, 0.2, 8), (42, 0.2, 8), (43, 0.2, 9), (7, 0.2, 1), (50, 0.29, 15), (10, 0.9, 8)],
)
def test_each_class_gives_its_share_rounded(images: int, share: float, expected: int) -> None:
    """To the image, halves go up, and two are left to learn from: six classes of 40 test on 48."""
    for seed in range(10):
        splits = cut(plain(many(images, classes=6)), seed=seed, test=share)

        assert Counter(s.label for s in splits.test) == dict.fromkeys(range(6), expected)
        rest = images - expected
        val = max(1, int(0.2 * rest + 0.5))
        assert Counter(s.label for s in splits.val) == dict.fromkeys(range(6), val)


def grouped(sizes: Iterable[int], label: int = 0, name: str = "g") -> list[Sample]:
    """A group of images of one class for each size."""
    return [
        replace(
            sample(f"c{label}/{name}{g}-{i}.png", label, f"{name}{label}{g}-{i}"),
            group=f"{name}{label}{g}",
        )
        for g, size in enumerate(sizes)
        for i in range(size)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_groups_meet_the_share_of_images_as_near_as_they_can(seed: int) -> None:
    """Groups of one to nine images are chosen so that a fifth of the images is met to about two."""
    rng = random.Random(seed)
    samples = [s for c in (0, 1) for s in grouped([rng.randint(1, 9) for _ in range(30)], label=c)]
    total = Counter(s.label for s in samples)

    splits = cut(plain(samples), seed=seed)

    tested = Counter(s.label for s in splits.test)
    assert all(abs(tested[c] - 0.2 * total[c]) <= 2 for c in (0, 1))
    assert not {s.group for s in splits.test} & {s.group for s in splits.fitting}


def test_a_group_that_is_half_too_large_is_taken_where_that_is_nearer() -> None:
    """Of five groups of 10 a quarter is 12.5: one group, and of five groups of 7 (8.75) one."""
    for size, share, groups in ((10, 0.25, 1), (7, 0.25, 1), (10, 0.35, 2), (9, 0.38, 2)):
        splits = cut(plain(grouped([size] * 5) + grouped([size] * 5, label=1)), test=share)

        assert Counter(s.label for s in splits.test) == {0: groups * size, 1: groups * size}


def test_groups_of_two_classes_leave_each_its_share() -> None:
    """Images of two classes that belong together (a person's) count for both."""
    samples = [replace(s, group=f"person {i % 20}") for i, s in enumerate(many(100))] + many(
        30, salt="alone"
    )

    splits = cut(plain(samples))

    tested = Counter(s.label for s in splits.test)
    assert tested == {0: 26, 1: 26}


@given(crowded, st.integers(0, 99))
def test_every_class_of_three_units_of_its_own_is_in_every_split(
    dataset: Dataset, seed: int
) -> None:
    """Whatever copies there are: a class of three contents of its own is nowhere missing."""
    owners: dict[str, set[int]] = {}
    for s in dataset.pool:
        owners.setdefault(s.digest, set()).add(s.label)
    own = Counter(next(iter(labels)) for labels in owners.values() if len(labels) == 1)
    shared = {label for labels in owners.values() if len(labels) > 1 for label in labels}

    splits = cut(dataset, seed=seed)

    for label in {c for c, n in own.items() if n >= 3} - shared:
        assert all(label in {s.label for s in getattr(splits, part)} for part in PARTS)


def test_many_classes_are_split_in_linear_time() -> None:
    """Four times the classes take about four times as long, where 16 would be quadratic."""

    def seconds(classes: int) -> float:
        dataset, taken = plain(many(10, classes=classes)), []
        for _ in range(3):
            began = time.process_time()
            cut(dataset)
            taken.append(time.process_time() - began)
        return min(taken)

    assert seconds(2000) < 9 * seconds(500)


def test_copies_of_real_files_stay_together(tmp_path: Path) -> None:
    """Ten files with the same bytes under ten names in two classes go one way."""
    root = lay(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(30)))
    for i in range(5):
        (root / "a" / f"copy{i}.png").write_bytes(b"same")
        (root / "b" / f"other{i}.jpg").write_bytes(b"same")

    splits = cut(scan.scan(root))

    counts = [
        sum("copy" in p or "other" in p for p in names(part))
        for part in (splits.train, splits.val, splits.test)
    ]
    assert sorted(counts) == [0, 0, 10]


def test_cap_leaves_the_test_images_alone() -> None:
    """--max-per-class caps train and validation together and changes no test image."""
    dataset = plain(many(100))

    free, capped = cut(dataset), cut(dataset, cap=20)

    assert capped.test == free.test
    assert Counter(s.label for s in capped.fitting) == {0: 20, 1: 20}
    assert names(capped.fitting) <= names(free.fitting)
    assert len(capped.val) > 0


def test_smaller_cap_is_part_of_the_larger() -> None:
    """A learning curve adds images: the 10 kept under one cap are among the 40 of another."""
    dataset = plain(many(100))

    few, more = cut(dataset, cap=10), cut(dataset, cap=40)

    assert names(few.fitting) < names(more.fitting)


def test_cap_larger_than_a_class_changes_nothing() -> None:
    """A cap that no class reaches leaves the split as it is."""
    dataset = plain(many(10))

    assert cut(dataset, cap=50) == cut(dataset)


@pytest.mark.parametrize("cap", [-1, 0, 1])
def test_cap_below_two_is_a_usage_error(cap: int) -> None:
    """One image of a class can be trained on or validated, not both."""
    with pytest.raises(UsageError, match=f"--max-per-class is {cap}"):
        cut(plain(many(10)), cap=cap)


@pytest.mark.parametrize("value", [-0.1, 0.91, 1.0, 20.0, float("nan")])
@pytest.mark.parametrize("option", ["val", "test"])
def test_fraction_out_of_range_is_a_usage_error(option: str, value: float) -> None:
    """A share must leave something to train on; the fault names option and value."""
    with pytest.raises(UsageError, match=f"--{option}-fraction is {value}"):
        cut(plain(many(10)), **{option: value})  # type: ignore[arg-type]


def test_fraction_of_zero_gives_no_split() -> None:
    """--test-fraction 0 tests nothing, --val-fraction 0 validates nothing."""
    splits = cut(plain(many(50)), val=0.0, test=0.0)

    assert (splits.val, splits.test) == ((), ())
    assert len(splits.train) == 100


def test_images_of_a_group_are_on_one_side() -> None:
    """A group is not divided, and neither is it when images join it."""
    samples = [replace(s, group=f"group {i % 12}") for i, s in enumerate(many(36))]
    extra = [replace(s, group="group 3") for s in many(5, salt="new")]

    before, after = cut(plain(samples)), cut(plain(samples + extra))

    for splits in (before, after):
        groups = [{s.group for s in part} for part in (splits.train, splits.val, splits.test)]
        assert all(groups)
        assert sum(map(len, groups)) == 12


def test_ready_made_splits_are_kept(tmp_path: Path) -> None:
    """Whatever the fractions, the images of train/, val/ and test/ stay where they are."""
    root = lay(
        tmp_path,
        *(f"{p}/{c}/{i}.png" for p in ("train", "test", "val") for c in "ab" for i in range(5)),
    )

    splits = cut(scan.scan(root), seed=7, val=0.5, test=0.5)

    assert {p.split("/")[0] for p in names(splits.train)} == {"train"}
    assert {p.split("/")[0] for p in names(splits.val)} == {"val"}
    assert {p.split("/")[0] for p in names(splits.test)} == {"test"}
    assert len(splits.train) == len(splits.val) == len(splits.test) == 10


def test_validation_is_cut_from_a_ready_made_train(tmp_path: Path) -> None:
    """With test/ but no val/, validation comes out of train/ and test/ stays."""
    root = lay(
        tmp_path, *(f"{p}/{c}/{i}.png" for p in ("train", "test") for c in "ab" for i in range(20))
    )

    splits = cut(scan.scan(root))

    assert len(splits.test) == 40
    assert len(splits.train) + len(splits.val) == 40
    assert 0 < len(splits.val) < 20
    assert all(p.startswith("train/") for p in names(splits.train + splits.val))


def test_a_test_made_here_holds_no_copy_of_a_ready_made_validation_image(tmp_path: Path) -> None:
    """With val/ but no test/, an image whose copy lies in val/ stays with those trained on."""
    root = lay(
        tmp_path, *(f"{p}/{c}/{i}.png" for p in ("train", "val") for c in "ab" for i in range(20))
    )
    for label in "ab":
        for i in range(10):
            copy = (root / "val" / label / f"{i}.png").read_bytes()
            (root / "train" / label / f"copy{i}.png").write_bytes(copy)

    splits = cut(scan.scan(root), test=0.5)

    assert splits.test
    assert not {s.digest for s in splits.test} & {s.digest for s in splits.fitting}
    assert {f"train/{c}/copy{i}.png" for c in "ab" for i in range(10)} <= names(splits.train)
