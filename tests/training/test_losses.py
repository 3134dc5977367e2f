"""Promises of `training.losses`: weights count images, smoothing changes labels, neither the other.

Every expected value here is a closed form or the outcome of minimising the loss numerically.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from finetune.training import losses
from finetune.training.losses import Loss

SMOOTHING = 0.1
RATIOS = [(10, 10), (300, 10), (4000, 10)]


def labels_of(*counts: int) -> npt.NDArray[np.int64]:
    """So many images of class 0, of class 1, and so on."""
    return np.repeat(np.arange(len(counts)), counts)


def weighed(labels: npt.NDArray[np.int64], classes: int, smoothing: float = SMOOTHING) -> Loss:
    return Loss(losses.class_weights(labels, classes), smoothing)


def minimised(
    loss: Loss, labels: npt.NDArray[np.int64], classes: int, *, blind: bool
) -> tuple[npt.NDArray[np.float64], float]:
    """Probabilities [C] of all images (`blind`) or [C,C] of each class's, and the loss there."""
    shape = (1, classes) if blind else (classes, classes)
    logits = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    wanted = torch.from_numpy(labels)
    optimiser = torch.optim.LBFGS(
        [logits], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe"
    )

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss(logits.expand(len(wanted), -1) if blind else logits[wanted], wanted)
        value.backward()
        return value

    for _ in range(5):
        optimiser.step(step)
    found = logits.detach().softmax(dim=1).numpy()
    return (found[0] if blind else found), float(step().detach())


@pytest.mark.parametrize("counts", RATIOS)
@pytest.mark.parametrize("classes", [2, 6])
def test_smoothing_does_not_depend_on_weights(counts: tuple[int, int], classes: int) -> None:
    """Images told apart are best given 1-ε+ε/C for their class, ε/C for others, at any ratio."""
    labels = labels_of(*(counts[c % 2] for c in range(classes)))

    found, _ = minimised(weighed(labels, classes), labels, classes, blind=False)

    others = SMOOTHING / classes
    expected = np.full((classes, classes), others) + (1 - SMOOTHING) * np.eye(classes)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("counts", RATIOS)
@pytest.mark.parametrize("weights", [False, True])
def test_knowing_nothing_is_the_least_loss_of_a_constant(
    counts: tuple[int, int], weights: bool
) -> None:
    """The closed form of the best constant answer, and its loss, are what minimising finds."""
    labels = labels_of(*counts, counts[0])
    loss = weighed(labels, 3) if weights else Loss(None, SMOOTHING)

    found, least = minimised(loss, labels, 3, blind=True)

    constant = loss.blind(labels, 3)
    np.testing.assert_allclose(constant, found, atol=1e-4)
    assert constant.sum() == pytest.approx(1)
    assert loss.of_constant(constant, labels) == pytest.approx(least, abs=1e-6)


def test_knowing_nothing_at_square_root_weights_in_numbers() -> None:
    """At 400:1 weights of 1:20 make the classes 20:1; smoothing then takes a tenth of it."""
    labels = labels_of(4000, 10)

    constant = weighed(labels, 2).blind(labels, 2)

    np.testing.assert_allclose(constant, [0.9 * 20 / 21 + 0.05, 0.9 / 21 + 0.05], rtol=1e-6)


def test_knowing_nothing_of_even_classes_is_their_logarithm() -> None:
    """Without imbalance the best constant is even, and costs log C whatever the smoothing."""
    labels = labels_of(5, 5, 5, 5)

    for loss in (Loss(None, 0.0), Loss(None, SMOOTHING), weighed(labels, 4)):
        constant = loss.blind(labels, 4)
        assert loss.of_constant(constant, labels) == pytest.approx(math.log(4))


def test_a_class_without_images_costs_nothing() -> None:
    """Without smoothing the best constant gives it nothing, and the loss stays a number."""
    labels = labels_of(3, 3, 0)
    loss = Loss(None, 0.0)

    constant = loss.blind(labels, 3)

    assert constant.tolist() == [0.5, 0.5, 0.0]
    assert loss.of_constant(constant, labels) == pytest.approx(math.log(2))


def test_without_weights_it_is_pytorchs_smoothed_cross_entropy() -> None:
    """Where every image counts one, nothing is different from what everyone trains with."""
    logits, labels = torch.randn(32, 5), torch.arange(32) % 5

    mine = Loss(None, SMOOTHING)(logits, labels)

    theirs = torch.nn.CrossEntropyLoss(label_smoothing=SMOOTHING)(logits, labels)
    torch.testing.assert_close(mine, theirs)


def test_a_weight_counts_an_image_as_often_as_copies_would() -> None:
    """A weight of three is the same as three copies, smoothing and all, but for the mean."""
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    copies = torch.tensor([0, 1, 1, 1, 2, 3])

    mine = Loss(torch.tensor([1.0, 3.0, 1.0]), SMOOTHING)(logits, labels)

    plain = Loss(None, SMOOTHING)(logits[copies], labels[copies])
    torch.testing.assert_close(mine * len(labels), plain * len(copies))


def test_batches_of_an_epoch_have_the_loss_of_the_set() -> None:
    """The mean over batches, however cut, is the set's: a rare image counts the same in each."""
    labels = torch.from_numpy(labels_of(40, 3))
    logits = torch.randn(43, 2)
    loss = weighed(labels.numpy(), 2)

    parts = zip(logits.split(16), labels.split(16), strict=True)
    total = sum(float(loss(s, y)) * len(y) for s, y in parts) / len(labels)

    assert total == pytest.approx(float(loss(logits, labels)), rel=1e-5)


def test_class_weights_favour_rare_classes_at_mean_one() -> None:
    """Nine to one becomes weights of one to three, and the loss keeps its size."""
    labels = labels_of(9, 1)

    weights = losses.class_weights(labels, 2).numpy()

    assert weights[1] / weights[0] == pytest.approx(3.0)
    assert weights[labels].mean() == pytest.approx(1.0)


def test_a_class_without_images_leaves_the_mean_at_one() -> None:
    """Halves may lack a class: the weights of the others are as if it were not there."""
    weights = losses.class_weights(labels_of(9, 1, 0), 3).numpy()

    assert weights[:2] == pytest.approx(losses.class_weights(labels_of(9, 1), 2).numpy())
    assert np.isfinite(weights[2])
