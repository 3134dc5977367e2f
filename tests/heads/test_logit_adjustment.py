"""Promises of scores moved to the shares that classes will have."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.heads import (
    blending,
    calibration,
    cross_validation,
    kernels,
    logit_adjustment,
    ridge,
)
from finetune.heads.logit_adjustment import Wanted

COUNTS = (120, 40, 8)


def drawn(counts: tuple[int, ...] = COUNTS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features float32[N, 6] of classes that overlap, with labels int64[N]."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    centers = 1.3 * np.eye(len(counts), 6)
    return (centers[labels] + rng.normal(size=(len(labels), 6))).astype(np.float32), labels


def fitted(wanted: Wanted | None) -> tuple[ridge.Head, cross_validation.LeftOut]:
    """The probe as a run keeps it, and its leave-one-out scores."""
    rows, labels = drawn()
    kernel = kernels.stage_kernels(rows, {"top": (0, 6)})["top"]
    found = cross_validation.leave_out("top", ("top",), kernel, labels, 6, wanted=wanted)
    blocks = ridge.Blocks(rows, ((0, 6),))
    head = ridge.fit(blocks, labels, 3, found.score.penalty, found.temperature)
    return logit_adjustment.moved(head, None if wanted is None else wanted.shift(labels)), found


def recalls(head: ridge.Head) -> np.ndarray:
    """Recall of each class on a balanced test."""
    rows, labels = drawn((300, 300, 300), seed=1)
    called = ridge.score(head, rows).argmax(axis=1)
    return np.array([(called == labels)[labels == c].mean() for c in range(3)])


def log_loss(head: ridge.Head) -> float:
    """Log loss on a balanced test."""
    rows, labels = drawn((300, 300, 300), seed=1)
    return calibration.log_loss(ridge.score(head, rows) / head.temperature, labels)


def test_a_uniform_prior_finds_the_rare_class() -> None:
    """On a balanced test the moved head has a better balanced accuracy and log loss."""
    plain, _ = fitted(None)
    moved, _ = fitted(logit_adjustment.uniform(3))

    assert recalls(plain)[2] < 0.4
    assert recalls(moved)[2] > recalls(plain)[2] + 0.3
    assert recalls(moved).mean() > recalls(plain).mean() + 0.08
    assert log_loss(moved) < log_loss(plain) - 0.2


def test_the_shift_is_in_the_bias_alone() -> None:
    """A moved head gives softmax(scores / temperature + shift), and its weights are the same."""
    rows, labels = drawn()
    plain, _ = fitted(None)
    wanted = Wanted(np.array([0.2, 0.3, 0.5]))
    shift = wanted.shift(labels)

    moved = logit_adjustment.moved(plain, shift)

    scores = [ridge.score(head, rows) for head in (plain, moved)]
    one = calibration.probabilities(scores[0], plain.temperature, shift)
    two = calibration.probabilities(scores[1], moved.temperature)
    assert np.allclose(one, two)
    assert (moved.weight == plain.weight).all()
    assert logit_adjustment.moved(plain, None) is plain


def test_probabilities_move_as_bayes_says() -> None:
    """Each is multiplied by wanted / trained share and scaled to a sum of one."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], COUNTS)
    logits = rng.normal(size=(5, 3))
    wanted = Wanted(np.array([0.6, 0.3, 0.1]))
    before = calibration.probabilities(logits, 1.0)

    after = calibration.probabilities(logits, 1.0, wanted.shift(labels))

    by_hand = before * (wanted.shares / (np.bincount(labels) / len(labels)))
    assert np.allclose(after, by_hand / by_hand.sum(axis=1)[:, None])


def test_the_training_prior_changes_nothing() -> None:
    """Shares as they are in training: no shift, equal weights, the same temperature."""
    labels = np.repeat([0, 1, 2], COUNTS)
    wanted = Wanted(np.bincount(labels) / len(labels))
    logits = np.random.default_rng(0).normal(size=(len(labels), 3)) + np.eye(3)[labels]

    assert wanted.shift(labels) == pytest.approx(np.zeros(3))
    assert wanted.weights(labels) == pytest.approx(np.ones(len(labels)))
    moved = calibration.fit_temperature(
        logits, labels, wanted.shift(labels), wanted.weights(labels)
    )
    assert moved == pytest.approx(calibration.fit_temperature(logits, labels))


def test_class_weights_have_done_half_of_it() -> None:
    """A model that learnt with 1/sqrt of the count is moved by half as much."""
    labels = np.repeat([0, 1, 2], COUNTS)
    even = logit_adjustment.uniform(3)

    half = even.shift(labels, weighed=True)

    assert half == pytest.approx(even.shift(labels) / 2)


def test_images_count_as_often_as_their_class_will_be_seen() -> None:
    """Weights have a mean of one and sum to the wanted shares, absent classes left out."""
    labels = np.repeat([0, 1], [30, 10])
    wanted = Wanted(np.array([0.2, 0.6, 0.2]))

    weights = wanted.weights(labels)

    assert weights.mean() == pytest.approx(1)
    sums = np.bincount(labels, weights)
    assert sums[1] / sums[0] == pytest.approx(3)


def test_leave_one_out_is_judged_at_the_wanted_shares() -> None:
    """Accuracy and log loss of the stage table are those at the wanted shares."""
    _, found = fitted(logit_adjustment.uniform(3))
    counts = np.bincount(found.labels)
    by_class = [found.correct[found.labels == c].mean() for c in range(3)]
    losses = [found.losses[found.labels == c].mean() for c in range(3)]

    assert found.score.accuracy == pytest.approx(np.mean(by_class))
    assert found.score.log_loss == pytest.approx(np.mean(losses))
    assert counts.tolist() == list(COUNTS)


def test_the_temperature_is_the_best_at_the_wanted_shares() -> None:
    """No other temperature has a lower loss of weighted images and shifted scores."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], COUNTS)
    logits = 0.2 * (rng.normal(size=(len(labels), 3)) + 2 * np.eye(3)[labels])
    even = logit_adjustment.uniform(3)
    shift, weights = even.shift(labels), even.weights(labels)

    best = calibration.fit_temperature(logits, labels, shift, weights)

    def loss(temperature: float) -> float:
        return calibration.log_loss(logits / temperature + shift, labels, weights)

    assert loss(best) < min(loss(best * 1.1), loss(best / 1.1))


def test_a_blend_is_moved_as_its_parts_are() -> None:
    """One head with one bias: the weighted mean of the parts' shifts is added to its logits."""
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1, 2], COUNTS)
    first, second = (rng.normal(size=(len(labels), 3)) + 2 * np.eye(3)[labels] for _ in range(2))
    even = logit_adjustment.uniform(3)
    moves = blending.Moves(
        first=even.shift(labels, weighed=True),
        second=even.shift(labels),
        counted=even.weights(labels),
    )
    heads = [ridge.Head(rng.normal(size=(3, 4)), rng.normal(size=3), 1.0) for _ in range(2)]
    rows = rng.normal(size=(5, 4)).astype(np.float32)

    found = blending.fit(first, second, labels, blending.INNER, moves)
    head = blending.joined(*heads, found)

    assert found.shift is not None
    wanted = found.weight * moves.first + (1 - found.weight) * moves.second
    assert found.shift == pytest.approx(wanted)
    together = ridge.score(head, np.concatenate([rows, rows], axis=1)) / head.temperature
    parts = blending.mixed(*(ridge.score(h, rows) for h in heads), found.weight, found.temperatures)
    assert together == pytest.approx(parts / found.temperature + found.shift)
    likely = blending.probabilities(found, first, second)
    plain = blending.probabilities(blending.fit(first, second, labels), first, second)
    right = [(p.argmax(axis=1) == labels)[labels == 2].mean() for p in (plain, likely)]
    assert right[1] >= right[0]
