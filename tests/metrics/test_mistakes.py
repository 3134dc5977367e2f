"""Promises of `metrics.mistakes`: which answers were wrong, and in which order that is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finetune.metrics import classification, mistakes
from finetune.records.metrics import ClassMetrics, Metrics, WrongAnswer


def answered(labels: list[int], called: list[int], classes: int) -> Metrics:
    """Metrics of answers that are all given with the same certainty."""
    rows = np.full((len(labels), classes), 0.1 / (classes - 1))
    rows[np.arange(len(labels)), called] = 0.9
    return classification.measure(rows, np.array(labels), [f"c{i}" for i in range(classes)])


@pytest.mark.parametrize("classes", [3, 101, 5000])
def test_cells_are_the_matrix_however_it_is_kept(classes: int) -> None:
    """Dense for few classes and sparse for many, the cells are those counted by hand."""
    found = answered([0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 0, 2], classes)

    assert mistakes.cells(found).tolist() == [
        [0, 0, 1],
        [0, 1, 1],
        [1, 1, 1],
        [2, 0, 2],
        [2, 2, 1],
    ]
    assert bool(found.confusion) == (classes <= classification.DENSE_CLASSES)
    assert bool(found.cells) == (classes > classification.DENSE_CLASSES)
    assert mistakes.count(found) == 3


def test_a_dense_matrix_of_an_older_run_is_read() -> None:
    """Runs of older versions have the whole matrix and no cells, with any number of classes."""
    new = answered([0, 0, 1, 2, 150], [0, 1, 1, 0, 150], 151)
    dense = np.zeros((151, 151), int)
    dense[tuple(mistakes.cells(new)[:, :2].T)] = mistakes.cells(new)[:, 2]
    old = replace(new, cells=(), confusion=tuple(map(tuple, dense.tolist())))

    assert (mistakes.cells(old) == mistakes.cells(new)).all()
    assert mistakes.confused(old) == mistakes.confused(new)


def test_pairs_are_ordered_by_images_and_then_by_what_they_weigh() -> None:
    """Most images first; of as many, those of the smaller class."""
    labels = [0] * 5 + [1] * 2 + [2] * 3
    called = [1, 1, 0, 0, 0, 0, 1, 0, 0, 1]

    found = mistakes.confused(answered(labels, called, 3))

    assert found == [("c2", "c0", 2, 3), ("c0", "c1", 2, 5), ("c1", "c0", 1, 2), ("c2", "c1", 1, 3)]


def test_classes_that_need_attention_come_first() -> None:
    """Least recall first, then least precision; classes of which nothing is known last."""
    rows = [
        ClassMetrics("good", 5, 1.0, 1.0, 1.0),
        ClassMetrics("absent", 0, 0.0, None, None),
        ClassMetrics("poor", 5, 0.5, 0.2, 0.3),
        ClassMetrics("vague", 5, 0.4, 1.0, 0.6),
        ClassMetrics("never", 5, None, 0.0, 0.0),
    ]

    names = [c.name for c in mistakes.worst_first(rows)]

    assert names == ["never", "poor", "vague", "good", "absent"]


def test_wrong_answers_are_those_that_differ_the_surest_first() -> None:
    """Right answers are left out, and a path that is no Unicode is spelt out."""
    found = mistakes.wrong(
        np.array([0, 1, 0, 1]),
        np.array([1, 1, 1, 0]),
        np.array([0.6, 0.99, 0.9, 0.7]),
        ["a.png", "b.png", "c\udcff.png", "d.png"],
        ("ash", "bay"),
    )

    assert found == (
        WrongAnswer("c\\udcff.png", "ash", "bay", 0.9),
        WrongAnswer("d.png", "bay", "ash", 0.7),
        WrongAnswer("a.png", "ash", "bay", 0.6),
    )
