"""Linear classifiers on frozen features: ridge regression, each image left out exactly.

A head minimises, over one-hot labels y and features x scaled to a mean squared norm of one,

    Σ_i ‖y_i − b − x_i W‖²  +  λ ‖W‖²

and its scores, divided by a fitted temperature, go through a softmax. In the dual the features of
several stages side by side are the mean of their kernels. With the centred kernel K = V diag(s) Vᵀ
the fit at any λ is one product, and leaving image i out turns its residual r_i into r_i / (1 − h_i)
with h_i = 1/N + Σ_j V_ij² s_j / (s_j + λ): exact while the scaling is taken as fixed. So every
penalty and every choice of stages is judged on images it has not seen, for one eigendecomposition
of each choice.
Logistic regression cross-validated in folds was no better and 25 times slower (docs/log.md,
2026-11-23).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune import matrix
from finetune.matrix import Rows
from finetune.records import StageScore

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# Rows have a mean squared norm of one and residuals are summed, so that a penalty means the same
# for any backbone and any number of images. Choices centre on 0.1, with a hundred classes on 10. A
# stronger one would only be chosen where the features tell nothing, and there leaving one out puts
# the accuracy below chance: its class has lost an image.
PENALTIES = tuple(float(10.0**e) for e in np.arange(1.0, -3.01, -0.5))
FOLDS = 5
FEWEST = 2  # of each class, where candidates are ranked
# Candidates are ranked on at most about so many images; the winner is fitted on all of them. The
# cost grows with the cube of the number.
RANKING_IMAGES = 800
CURVE_SHARES = (0.25, 0.5, 1.0)
CURVE_DRAWS = 3
INVERSE_TEMPERATURES = (math.exp(-3.0), math.exp(7.0))  # wider than scores of ridge ask for
NEWTON_STEPS, TOLERANCE = 60, 1e-6


@dataclass(frozen=True)
class Blocks:
    """Features grouped by stage: `rows` float32[N, D], one (start, stop) of columns per stage."""

    rows: Rows
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Head:
    """A linear classifier on raw features: scores = x @ weight.T + bias.

    `weight` float64[C, D], `bias` float64[C]; probabilities are softmax(scores / temperature).
    """

    weight: Array
    bias: Array
    temperature: float


@dataclass(frozen=True)
class LeftOut:
    """Leave-one-out result for one set of features: scores float64[N, C] before temperature."""

    score: StageScore
    scores: Array
    temperature: float
    labels: Labels

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which images were classified rightly, bool[N]."""
        out: npt.NDArray[np.bool_] = self.scores.argmax(axis=1) == self.labels
        return out

    @property
    def losses(self) -> Array:
        """Log loss of each image, float64[N], in nats, after temperature."""
        return _surprises(self.scores / self.temperature)[np.arange(len(self.labels)), self.labels]


def ranking_sample(labels: Labels) -> Labels:
    """Rows on which candidates are ranked: all, or a stratified part when there are many."""
    if len(labels) <= RANKING_IMAGES:
        return np.arange(len(labels))
    rng = np.random.default_rng(0)
    share = RANKING_IMAGES / len(labels)
    keep: list[int] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        keep += list(members[: max(FEWEST, round(share * len(members)))])
    return np.sort(np.array(keep))


def kernels(
    rows: npt.NDArray[np.float32], layout: Mapping[str, tuple[int, int]]
) -> dict[str, Array]:
    """Centred kernel of each stage's features, float64[N, N], its diagonal one on average.

    Within a stage the network's own relative scales are kept (standardising them cost 1.7 points on
    average, docs/log.md 2026-11-23); stages are brought to the same mean squared norm, so that wide
    ones do not drown narrow ones.
    """
    return {
        stage: _unit(_gram(rows[:, start:stop] - rows[:, start:stop].mean(axis=0)))
        for stage, (start, stop) in layout.items()
    }


def combined(known: Mapping[str, Array], taps: Sequence[str]) -> Array:
    """The kernel of several stages side by side, float64[N, N]."""
    total: Array = np.mean([known[tap] for tap in taps], axis=0)
    return total


def leave_out(
    name: str,
    taps: tuple[str, ...],
    kernel: Array,
    labels: Labels,
    dimensions: int,
    groups: Sequence[str] = (),
) -> LeftOut:
    """Leave-one-out scores at the penalty with the least calibrated log loss.

    Args:
        name: What the stage table calls these features.
        taps: The stages they come from.
        kernel: From `combined`.
        labels: int64[N] in 0..C-1.
        dimensions: Number of features, for the table.
        groups: Images with equal ones (copies, the same patient) are left out together: one would
            answer for the other. Without groups each is left out alone.
    """
    tried = []
    for penalty, scores in _path(kernel, labels, _together(groups)):
        temperature = fit_temperature(scores, labels)
        tried.append((log_loss(scores / temperature, labels), penalty, temperature, scores))
    loss, penalty, temperature, scores = min(tried, key=lambda t: t[0])
    right = scores.argmax(axis=1) == labels
    score = StageScore(
        name=name,
        taps=taps,
        dimensions=dimensions,
        accuracy=float(right.mean()),
        log_loss=loss,
        penalty=penalty,
        standard_error=float(right.std() / np.sqrt(len(right))),
    )
    return LeftOut(score, scores, temperature, labels)


def learning_curve(
    kernel: Array, labels: Labels, groups: Sequence[str] = ()
) -> tuple[tuple[int, float], ...]:
    """Leave-one-out error when a quarter, a half and all of each class's images are there.

    Args:
        kernel: From `combined`, float64[N, N].
        labels: int64[N].
        groups: As for `leave_out`.

    Returns:
        Images and error, a fraction of 1; the mean over three draws.
    """
    rng = np.random.default_rng(0)
    points = []
    for share in CURVE_SHARES:
        errors, rows = [], np.arange(len(labels))
        for _ in range(1 if share == 1 else CURVE_DRAWS):
            rows = _draw(rng, labels, share)
            part = _centred(kernel[np.ix_(rows, rows)])
            some = [groups[int(i)] for i in rows] if groups else ()
            found = leave_out("", (), _unit(part), labels[rows], 0, some)
            errors.append(1.0 - found.score.accuracy)
        points.append((len(rows), float(np.mean(errors))))
    return tuple(points)


def folds(labels: Labels, groups: Sequence[str], count: int = FOLDS) -> Labels:
    """Fold of each image, int64[N]: stratified by class; equal `groups` (copies) stay together."""
    fold = np.empty(len(labels), np.int64)
    seen: dict[str, int] = {}
    turn = 0
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label).tolist()
        for i in sorted(members, key=lambda j: groups[j]):
            if groups[i] not in seen:
                seen[groups[i]] = turn % count
                turn += 1
            fold[i] = seen[groups[i]]
    return fold


def fit(blocks: Blocks, labels: Labels, classes: int, penalty: float, temperature: float) -> Head:
    """Fit a head on all rows at a known penalty; scaling is folded into its weights.

    One linear system whose side is the number of rows or of features, whichever is less.
    """
    factor, shift = _scaling(blocks)
    hot = np.eye(classes)[labels]
    mean = hot.mean(axis=0)
    if blocks.rows.shape[1] >= len(blocks.rows):
        x = _scaled(blocks.rows[:], shift, factor)
        inner = _gram(x)
        inner[np.diag_indices_from(inner)] += penalty
        w = x.T @ np.linalg.solve(inner, hot - mean)
    else:
        inner = np.diag(np.full(len(factor), penalty))
        side = np.zeros((len(factor), classes))
        for part, rows in matrix.parts(blocks.rows):
            x = _scaled(rows, shift, factor)
            inner += x.T @ x
            side += x.T @ (hot[part] - mean)
        w = np.linalg.solve(inner, side)
    weight = (w * factor[:, None]).T
    return Head(weight=weight, bias=mean - weight @ shift, temperature=temperature)


def score(head: Head, rows: Rows) -> Array:
    """Scores float64[N, C] before temperature, from raw features float32[N, D]."""
    out = np.empty((len(rows), len(head.bias)))
    for part, some in matrix.parts(rows):
        out[part] = some.astype(np.float64) @ head.weight.T + head.bias
    return out


def probabilities(scores: Array, temperature: float) -> Array:
    """Softmax of scores / temperature, float64[N, C]."""
    z = scores / temperature
    z = np.exp(z - z.max(axis=1, keepdims=True))
    out: Array = z / z.sum(axis=1, keepdims=True)
    return out


def log_loss(scores: Array, labels: Labels) -> float:
    """Mean of −log softmax(scores)[label], in nats."""
    return float(_surprises(scores)[np.arange(len(labels)), labels].mean())


def _surprises(scores: Array) -> Array:
    """−log softmax(scores), float64[N, C]."""
    top = scores.max(axis=1, keepdims=True)
    total: Array = top + np.log(np.exp(scores - top).sum(axis=1, keepdims=True)) - scores
    return total


def fit_temperature(scores: Array, labels: Labels) -> float:
    """The temperature with the least log loss on held-out scores (Guo et al. 2017).

    One imagined image whose label may be any counts with them: few images that are all right would
    otherwise ask for certainty (docs/log.md, 2026-11-23). The loss is convex in 1/temperature:
    Newton's steps, halving the bracket on the log scale where one leaves it.
    """
    n = len(labels)
    share = (n + 1) / n
    centred = scores - scores.mean(axis=1, keepdims=True)
    wanted = centred[np.arange(n), labels].sum()
    low, high = INVERSE_TEMPERATURES
    inverse = math.sqrt(low * high)
    for _ in range(NEWTON_STEPS):
        p = probabilities(centred, 1 / inverse)
        mean = (p * centred).sum(axis=1)
        slope = share * mean.sum() - wanted
        curve = share * ((p * np.square(centred)).sum(axis=1) - np.square(mean)).sum()
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        ahead = inverse - slope / max(curve, 1e-300)
        before, inverse = inverse, ahead if low < ahead < high else math.sqrt(low * high)
        if abs(inverse - before) <= TOLERANCE * before:
            break
    return float(1 / inverse)


def _scaling(blocks: Blocks) -> tuple[Array, Array]:
    """Per-feature factor and shift, float64[D] each; the same scaling as that of `kernels`."""
    count, width = blocks.rows.shape
    shift, variance = np.zeros(width), np.zeros(width)
    for _, rows in matrix.parts(blocks.rows):
        shift += rows.sum(axis=0, dtype=np.float64) / count
    for _, rows in matrix.parts(blocks.rows):
        variance += np.square(rows - shift).sum(axis=0) / count
    factor = np.empty(width)
    for start, stop in blocks.spans:
        norm = np.sqrt(variance[start:stop].sum())
        factor[start:stop] = 1.0 / max(float(norm), 1e-12)
    return factor / np.sqrt(len(blocks.spans)), shift


def _scaled(rows: npt.NDArray[np.float32], shift: Array, factor: Array) -> npt.NDArray[np.float32]:
    out: npt.NDArray[np.float32] = ((rows - shift) * factor).astype(np.float32)
    return out


def _gram(x: npt.NDArray[np.float32]) -> Array:
    return (x @ x.T).astype(np.float64)


def _unit(kernel: Array) -> Array:
    """Divided by its mean diagonal, which brings the rows to a mean squared norm of one."""
    scaled: Array = kernel / max(float(np.trace(kernel)) / len(kernel), 1e-12)
    return scaled


def _centred(kernel: Array) -> Array:
    """The kernel of the same rows with their mean taken off."""
    rows = kernel - kernel.mean(axis=0)
    out: Array = rows - rows.mean(axis=1, keepdims=True)
    return out


def _draw(rng: np.random.Generator, labels: Labels, share: float) -> Labels:
    """A share of each class's rows by chance, two of each class at least."""
    keep: list[int] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        keep += members[: max(FEWEST, round(share * len(members)))].tolist()
    return np.array(sorted(keep))


def _together(groups: Sequence[str]) -> list[Labels]:
    """The rows of each group that has several."""
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    return [np.array(rows) for rows in members.values() if len(rows) > 1]


def _path(
    kernel: Array, labels: Labels, together: Sequence[Labels]
) -> Iterator[tuple[float, Array]]:
    """Leave-one-out scores float64[N, C] at each penalty, the rows of a group left out at once.

    With the matrix H that turns labels into fitted scores, a row left out misses its label by its
    residual / (1 - H[i, i]), and several rows by (1 - H[rows, rows])⁻¹ residuals: ridge is exact.
    """
    hot = np.eye(int(labels.max()) + 1)[labels]
    mean = hot.mean(axis=0)
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0.0)
    turned, squares = vectors.T @ (hot - mean), np.square(vectors)
    for penalty in PENALTIES:
        kept = values / (values + penalty)
        residual = hot - mean - vectors @ (kept[:, None] * turned)
        own = 1.0 / len(labels) + squares @ kept
        missed = residual / np.maximum(1.0 - own, 1e-9)[:, None]
        for rows in together:
            inside = 1.0 / len(labels) + (vectors[rows] * kept) @ vectors[rows].T
            missed[rows] = np.linalg.solve((1 + 1e-9) * np.eye(len(rows)) - inside, residual[rows])
        yield penalty, hot - missed
