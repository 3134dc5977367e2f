"""Linear classifiers on frozen features: exact, fast, cross-validated.

A head is multinomial logistic regression with an L2 penalty,

    minimise  1/N Σ_i −log softmax(x_i W + b)[y_i]  +  λ/2 ‖W‖²

fitted by L-BFGS (scipy) in float64, on one thread: two were slower (docs/log.md). Features of one
stage are brought to a common scale first. With fewer images than features the problem is rotated
into the span of the images, which holds the exact solution (the representer theorem), so its size
is N rather than D.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from threadpoolctl import threadpool_limits

from finetune.records import StageScore

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# Strong → weak, so that each fit starts from the last one's solution. Half decades: log loss is
# flat to within noise between neighbours (docs/log.md, 2026-11-23).
PENALTIES = tuple(float(10.0**e) for e in np.arange(0.5, -4.51, -0.5))
FOLDS = 5
# Candidates are ranked on at most about so many images; the winner is fitted on all of them. The
# cost grows with the square of the number (docs/log.md, 2026-11-23).
RANKING_IMAGES = 800
# All blocks of features together get this mean squared norm, which puts the best penalty near the
# middle of the grid for any backbone.
SCALE = 30.0
# Loose while penalties are compared (docs/log.md, 2026-11-23), exact for the head that is kept.
ROUGH = {"maxiter": 60, "gtol": 1e-5, "ftol": 1e-9}
EXACT = {"maxiter": 2000, "gtol": 1e-7, "ftol": 1e-13}


@dataclass(frozen=True)
class Blocks:
    """Features grouped by stage: `rows` float[N, D], one (start, stop) of columns per stage."""

    rows: npt.NDArray[np.float32]
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
class CrossValidation:
    """Out-of-fold result for one set of features: scores float64[N, C] before temperature."""

    score: StageScore
    scores: Array
    temperature: float
    labels: Labels

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which images were classified rightly, bool[N]."""
        out: npt.NDArray[np.bool_] = self.scores.argmax(axis=1) == self.labels
        return out


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


def cross_validate(
    name: str, taps: tuple[str, ...], blocks: Blocks, labels: Labels, fold: Labels
) -> CrossValidation:
    """Out-of-fold scores of a head on these features, at the penalty with the least log loss.

    Args:
        name: What the stage table calls these features.
        taps: The stages they come from.
        blocks: Features, float32[N, D].
        labels: int64[N] in 0..C-1.
        fold: int64[N], from `folds`.
    """
    weight, shift = _scaling(blocks)
    with threadpool_limits(1, "blas"):
        z = _rotate((blocks.rows - shift) * weight)[0]
        best, scores = _best_penalty(z, labels, fold)
    right = scores.argmax(axis=1) == labels
    temperature = fit_temperature(scores, labels)
    score = StageScore(
        name=name,
        taps=taps,
        dimensions=blocks.rows.shape[1],
        accuracy=float(right.mean()),
        log_loss=log_loss(scores / temperature, labels),
        penalty=best,
        standard_error=float(right.std() / np.sqrt(len(right))),
    )
    return CrossValidation(score, scores, temperature, labels)


def fit(blocks: Blocks, labels: Labels, classes: int, penalty: float, temperature: float) -> Head:
    """Fit a head on all rows at a known penalty; scaling is folded into its weights."""
    weight, shift = _scaling(blocks)
    with threadpool_limits(1, "blas"):
        z, basis = _rotate((blocks.rows - shift) * weight)
        w, b = _solve(z, labels, classes, penalty, None, EXACT)
    full = w if basis is None else basis @ w
    raw = (full * weight[:, None]).T
    return Head(weight=raw, bias=b - raw @ shift, temperature=temperature)


def refit(found: CrossValidation, blocks: Blocks, labels: Labels, classes: int) -> Head:
    """Fit a head as cross-validation chose it, on other (often more) images."""
    penalty = carried_over(found.score.penalty, len(found.labels), len(labels))
    return fit(blocks, labels, classes, penalty, found.temperature)


def score(head: Head, rows: npt.NDArray[np.float32]) -> Array:
    """Scores float64[N, C] before temperature, from raw features float32[N, D]."""
    return rows.astype(np.float64) @ head.weight.T + head.bias


def probabilities(scores: Array, temperature: float) -> Array:
    """Softmax of scores / temperature, float64[N, C]."""
    z = scores / temperature
    z = np.exp(z - z.max(axis=1, keepdims=True))
    out: Array = z / z.sum(axis=1, keepdims=True)
    return out


def log_loss(scores: Array, labels: Labels) -> float:
    """Mean of −log softmax(scores)[label], in nats."""
    top = scores.max(axis=1)
    total = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return float((total - scores[np.arange(len(labels)), labels]).mean())


def fit_temperature(scores: Array, labels: Labels) -> float:
    """The temperature with the least log loss on held-out scores (Guo et al. 2017).

    One imagined image whose label may be any counts with them: few images that are all right would
    otherwise ask for certainty (docs/log.md, 2026-11-23).
    """
    n = len(labels)

    def loss(log_t: float) -> float:
        z = scores / np.exp(log_t)
        top = z.max(axis=1, keepdims=True)
        surprise = (top + np.log(np.exp(z - top).sum(axis=1, keepdims=True)) - z).mean()
        return float((n * log_loss(z, labels) + surprise) / (n + 1))

    found = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(np.exp(found.x))


def ranking_sample(labels: Labels) -> Labels:
    """Rows on which candidates are ranked: all, or a stratified part when there are many."""
    if len(labels) <= RANKING_IMAGES:
        return np.arange(len(labels))
    rng = np.random.default_rng(0)
    share = RANKING_IMAGES / len(labels)
    keep: list[int] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        keep += list(members[: max(FOLDS, round(share * len(members)))])
    return np.sort(np.array(keep))


def carried_over(penalty: float, ranked: int, fitted: int) -> float:
    """The penalty for `fitted` images that equals one chosen on `ranked`.

    The loss is a mean over images, so the prior behind a penalty weighs less the more there are.
    """
    return penalty * ranked / fitted


def _scaling(blocks: Blocks) -> tuple[Array, Array]:
    """Per-feature factor and shift, float64[D] each.

    Within the top features the network's own relative scales are kept (standardising them cost
    1.7 points on average, docs/log.md 2026-11-23); each block is brought to the same mean squared
    norm, so that wide stages do not drown narrow ones.
    """
    shift = blocks.rows.mean(axis=0, dtype=np.float64)
    factor = np.empty(blocks.rows.shape[1])
    for start, stop in blocks.spans:
        spread = blocks.rows[:, start:stop].std(axis=0, dtype=np.float64)
        norm = np.sqrt(np.square(spread).sum())
        factor[start:stop] = 1.0 / max(float(norm), 1e-12)
    return factor * SCALE / np.sqrt(len(blocks.spans)), shift


def _rotate(x: Array) -> tuple[Array, Array | None]:
    """Rows in an orthonormal basis of their span, and that basis float64[D, R] (None: as is)."""
    if x.shape[0] >= x.shape[1]:
        return x, None
    values, vectors = np.linalg.eigh(x @ x.T)
    keep = values > max(float(values[-1]), 1e-30) * 1e-10
    root = np.sqrt(values[keep])
    basis: Array = (x.T @ vectors[:, keep]) / root
    return vectors[:, keep] * root, basis


def _best_penalty(z: Array, labels: Labels, fold: Labels) -> tuple[float, Array]:
    """The penalty with the least out-of-fold log loss, and its scores float64[N, C].

    All folds go down the path of penalties in step, so it ends for all where the loss, once below
    that of guessing, has risen twice: weaker penalties only overfit more.
    """
    classes = int(labels.max()) + 1
    paths = [_path(z, labels, classes, fold == f) for f in np.unique(fold)]
    tried: list[tuple[float, float, Array]] = []
    for penalty, row in zip(PENALTIES, zip(*paths, strict=True), strict=True):
        scores = np.zeros((len(labels), classes))
        for held, part in row:
            scores[held] = part
        tried.append((log_loss(scores, labels), penalty, scores))
        rising = len(tried) >= 3 and tried[-1][0] > tried[-2][0] > tried[-3][0]
        if rising and min(t[0] for t in tried) < np.log(classes):
            break
    _, best, scores = min(tried, key=lambda t: t[0])
    return best, scores


def _path(
    z: Array, labels: Labels, classes: int, held: npt.NDArray[np.bool_]
) -> Iterator[tuple[npt.NDArray[np.bool_], Array]]:
    """Scores of the held-out rows for each penalty in turn, each fit started from the last."""
    start = None
    for penalty in PENALTIES:
        w, b = _solve(z[~held], labels[~held], classes, penalty, start, ROUGH)
        start = np.concatenate([w.ravel(), b])
        yield held, z[held] @ w + b


def _solve(
    z: Array,
    labels: Labels,
    classes: int,
    penalty: float,
    start: Array | None,
    options: dict[str, float],
) -> tuple[Array, Array]:
    """Minimise the penalised log loss; returns W float64[D, C] and b float64[C]."""
    n, width = z.shape
    hot = np.eye(classes)[labels]

    def objective(flat: Array) -> tuple[float, Array]:
        w, b = flat[:-classes].reshape(width, classes), flat[-classes:]
        scores = z @ w + b
        scores -= scores.max(axis=1, keepdims=True)
        exp = np.exp(scores)
        total = exp.sum(axis=1, keepdims=True)
        loss = -(hot * (scores - np.log(total))).sum() / n + 0.5 * penalty * np.square(w).sum()
        slope = (exp / total - hot) / n
        gradient = np.concatenate([(z.T @ slope + penalty * w).ravel(), slope.sum(axis=0)])
        return float(loss), gradient

    first = np.zeros(width * classes + classes) if start is None else start
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=options)
    return found.x[:-classes].reshape(width, classes), found.x[-classes:]
