"""Promises of the search for wrong labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from finetune.analysis import label_issues
from finetune.heads import calibration, cross_validation, kernels, ridge

CLASSES, EACH = 4, 40


def drawn(seed: int = 0, apart: float = 2.0) -> tuple[ridge.Blocks, npt.NDArray[np.int64]]:
    """Features float32[160, 24] of four classes in two stages, and the true labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), EACH)
    rows = rng.normal(size=(len(labels), 24)) + apart * np.eye(24)[labels] * 3
    return ridge.Blocks(rows.astype(np.float32), ((0, 16), (16, 24))), labels


def planted(labels: npt.NDArray[np.int64], rows: list[int]) -> npt.NDArray[np.int64]:
    """The same labels, some of them moved to the next class."""
    out = labels.copy()
    out[rows] = (out[rows] + 1) % CLASSES
    return out


@pytest.mark.parametrize("count", [160, 20], ids=["more images", "more features"])
def test_a_row_left_out_with_its_group_is_what_a_fit_without_them_says(count: int) -> None:
    """The closed form is that of cross-validation, with more images than features or fewer."""
    blocks, labels = drawn()
    rows = np.arange(0, 160, 160 // count)
    some, few = ridge.Blocks(blocks.rows[rows], blocks.spans), labels[rows]
    groups = [f"pair {i // 2}" if i < 10 else f"alone {i}" for i in range(count)]
    known = kernels.stage_kernels(some.rows[:], {"a": (0, 16), "b": (16, 24)})
    kernel = kernels.combined(known, ("a", "b"))
    expected = cross_validation.leave_out("", (), kernel, few, 24, groups)

    found = ridge.left_out(some, few, CLASSES, expected.score.penalty, groups)

    np.testing.assert_allclose(found, expected.logits, atol=1e-5)


def test_planted_labels_are_found_with_what_they_should_be() -> None:
    """The suspects are the labels that were moved, the class each came from is suggested."""
    blocks, labels = drawn(apart=4.0)
    wrong = [3, 47, 90, 131]
    given = planted(labels, wrong)

    found = label_issues.judge(
        ridge.left_out(blocks, given, CLASSES, 0.1, [str(i) for i in range(160)]), given
    )

    assert set(wrong) == set(found.suspects.tolist())
    assert (found.suggested[wrong] == labels[wrong]).all()
    assert (found.given[wrong] < found.best[wrong]).all()
    assert (np.diff(found.quality[found.suspects]) >= 0).all()


def test_labels_that_the_images_agree_with_are_not_suspect() -> None:
    """Where classes are well apart and all labels right, the list is empty."""
    blocks, labels = drawn(apart=5.0)

    logits = ridge.left_out(blocks, labels, CLASSES, 0.1, [str(i) for i in range(160)])

    assert not label_issues.judge(logits, labels).suspects.size


def test_a_copy_under_the_same_wrong_label_does_not_defend_it() -> None:
    """Images of one group are left out together: each alone would vouch for the other."""
    blocks, labels = drawn()
    rows = blocks.rows[:].copy()
    rows[1:6] = rows[0]  # six copies, all of them under a wrong label
    given = planted(labels, list(range(6)))
    copies = ["copy" if i < 6 else str(i) for i in range(160)]
    alone = [str(i) for i in range(160)]

    together, apart = (
        calibration.probabilities(
            ridge.left_out(ridge.Blocks(rows, blocks.spans), given, CLASSES, 0.01, groups), 0.1
        )[0, given[0]]
        for groups in (copies, alone)
    )

    assert together < 0.05 < apart


def test_neighbors_bear_the_suggested_label_and_are_of_another_group() -> None:
    """The images shown beside a suspect are the nearest of the suggested class, no copies of it."""
    blocks, labels = drawn(apart=5.0)
    groups = ["copies" if i in (0, 1) else str(i) for i in range(160)]

    (near,) = label_issues.neighbors(blocks, labels, groups, np.array([0]), np.array([0]))

    assert (near.agreeing, near.compared) == (10, 10)
    assert (labels[list(near.rows)] == 0).all()
    assert len(near.rows) == label_issues.SHOWN
    assert not {0, 1} & set(near.rows)


def test_as_many_are_listed_as_confident_learning_counts() -> None:
    """The number is cleanlab's on the same probabilities, the list nearly that by its scores."""
    reference = pytest.importorskip("cleanlab.filter", reason="cleanlab is only the yardstick here")
    blocks, labels = drawn(apart=1.0)
    given = planted(labels, list(range(0, 160, 9)))
    logits = ridge.left_out(blocks, given, CLASSES, 0.1, [str(i) for i in range(160)])
    likely = calibration.probabilities(logits, calibration.fit_temperature(logits, given))
    counted, scored = (
        np.flatnonzero(reference.find_label_issues(given, likely, filter_by=way, n_jobs=1))
        for way in ("confident_learning", "low_self_confidence")
    )

    found = set(label_issues.judge(logits, given).suspects.tolist())

    assert len(found) == len(counted) > 5
    assert len(found & set(scored.tolist())) >= 0.8 * len(found)


def test_where_the_probe_agrees_with_few_labels_that_is_said() -> None:
    """The sentence warns where most of the list may be right."""
    assert label_issues._text(1, 50, 0.9) == "1 of 50 labels looks wrong (2.0%)."
    assert label_issues._text(9, 50, 0.6).endswith(
        "only 60% of all labels: expect many to be right."
    )
    assert label_issues._text(0, 50, 0.6) == "None of 50 labels looks wrong."
