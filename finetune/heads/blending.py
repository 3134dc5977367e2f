"""Two classifiers answer together: a weighted mean of their calibrated logits.

A mean of logarithms (a product of experts, "logarithmic opinion pool"; Genest & Zidek 1986):

    z = w · z_first / T_first  +  (1 − w) · z_second / T_second,      p = softmax(z / T)

It is again a vector of logits with a temperature, and of two linear heads it is one linear head
(`joined`), so all that takes a head takes a blend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from finetune.heads import calibration, cross_validation
from finetune.heads.logit_adjustment import moved
from finetune.heads.ridge import Head
from finetune.storage.arrays import Array, Labels

# Coarse: the log loss is flat around its least (docs/log.md, 2026-11-26).
WEIGHTS = tuple(i / 10 for i in range(11))
INNER = WEIGHTS[1:-1]  # both are heard
_DIGITS = 6  # of a log loss; what is less is rounding
PARTS = 2  # of the held-out images: the weight is fitted on one, judged on the other


@dataclass(frozen=True, kw_only=True)
class Blend:
    """How two classifiers answer together.

    `weight` is the first one's share in 0..1, `temperatures` are those of the two, each by itself,
    `temperature` is that of their mean; `shift` float64[C] is added to that mean / temperature
    where classes will have other shares.
    """

    weight: float
    temperatures: tuple[float, float]
    temperature: float
    shift: Array | None = None


@dataclass(frozen=True, kw_only=True)
class Moves:
    """What moves both to other shares of the classes (`logit_adjustment`), float64[C] each.

    Images count by `counted` float64[N].
    """

    first: Array
    second: Array
    counted: Array

    def of(self, rows: Labels) -> Moves:
        """The same for some of the images."""
        some = self.counted[rows]
        return replace(self, counted=some / some.mean())

    def shift(self, weight: float) -> Array:
        """What moves a blend with that share of the first."""
        out: Array = weight * self.first + (1 - weight) * self.second
        return out


def mixed(first: Array, second: Array, weight: float, temperatures: tuple[float, float]) -> Array:
    """The weighted mean of calibrated logits, float64[N, C], from raw logits float64[N, C]."""
    out: Array = weight * first / temperatures[0] + (1 - weight) * second / temperatures[1]
    return out


def fit(
    first: Array,
    second: Array,
    labels: Labels,
    weights: Sequence[float] = WEIGHTS,
    moves: Moves | None = None,
) -> Blend:
    """The weight and the temperatures with the least log loss on held-out logits.

    Args:
        first: Raw logits float64[N, C] of images that neither has learnt from.
        second: The same of the other, on the same images.
        labels: int64[N].
        weights: What is tried; of equal ones that of one alone.
        moves: Where classes will have other shares than among the images learnt from.
    """
    counted = None if moves is None else moves.counted
    shifts = (None, None) if moves is None else (moves.first, moves.second)
    own = (
        calibration.fit_temperature(first, labels, shifts[0], counted),
        calibration.fit_temperature(second, labels, shifts[1], counted),
    )
    tried = []
    for weight in weights:
        logits = mixed(first, second, weight, own)
        shift = None if moves is None else moves.shift(weight)
        temperature = calibration.fit_temperature(logits, labels, shift, counted)
        scaled = logits / temperature if shift is None else logits / temperature + shift
        loss = calibration.log_loss(scaled, labels, counted)
        found = Blend(weight=weight, temperatures=own, temperature=temperature, shift=shift)
        tried.append((loss, found))
    return min(tried, key=lambda t: (round(t[0], _DIGITS), 0 < t[1].weight < 1))[1]


def probabilities(blend: Blend, first: Array, second: Array) -> Array:
    """What a blend says, float64[N, C], of raw logits float64[N, C]."""
    logits = mixed(first, second, blend.weight, blend.temperatures)
    return calibration.probabilities(logits, blend.temperature, blend.shift)


def cross_fitted(
    first: Array,
    second: Array,
    labels: Labels,
    groups: Sequence[str],
    weights: Sequence[float] = WEIGHTS,
    moves: Moves | None = None,
) -> Array:
    """Probabilities float64[N, C] of a blend whose weight was fitted without the image they are of.

    Args:
        first: As for `fit`.
        second: As for `fit`.
        labels: int64[N].
        groups: Images with equal ones are judged together.
        weights: As for `fit`.
        moves: As for `fit`.
    """
    out = np.empty_like(first)
    part = cross_validation.folds(labels, groups, PARTS)
    for number in range(PARTS):
        inside, outside = (np.flatnonzero(part == n) for n in (number, 1 - number))
        some = None if moves is None else moves.of(outside)
        blend = fit(first[outside], second[outside], labels[outside], weights, some)
        out[inside] = probabilities(blend, first[inside], second[inside])
    return out


def joined(first: Head, second: Head, blend: Blend) -> Head:
    """The one head of a blend: it reads the features of both side by side, the first one's first.

    Its temperature is that of the mean, the shift of the blend stands in its bias.
    """
    shares = blend.weight / blend.temperatures[0], (1 - blend.weight) / blend.temperatures[1]
    head = Head(
        weight=np.concatenate([shares[0] * first.weight, shares[1] * second.weight], axis=1),
        bias=shares[0] * first.bias + shares[1] * second.bias,
        temperature=blend.temperature,
    )
    return moved(head, blend.shift)
