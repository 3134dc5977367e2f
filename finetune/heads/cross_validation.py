"""Every image left out exactly, at every penalty, for any choice of stages.

In the dual the features of several stages side by side are the mean of their kernels. With the
centered kernel K = V diag(s) Vᵀ the fit at any λ is one product, and leaving image i out turns its
residual r_i into r_i / (1 − h_i) with h_i = 1/N + Σ_j V_ij² s_j / (s_j + λ): exact while the
scaling is taken as fixed. So every penalty and every choice of stages is judged on images it has
not seen, for one eigendecomposition of each choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.heads import calibration, kernels, ridge
from finetune.heads.logit_adjustment import Wanted
from finetune.metrics import clusters, paired
from finetune.records.analysis import StageScore
from finetune.storage.arrays import Array, Labels

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


@dataclass(frozen=True)
class LeftOut:
    """Leave-one-out result for one set of features: scores float64[N, C] before temperature.

    `groups` int64[N] says which images were left out together; None where each was by itself.
    Where classes will have other shares, logits are those there and images count by `weights`
    float64[N].
    """

    score: StageScore
    logits: Array
    temperature: float
    labels: Labels
    groups: clusters.Clusters | None = None
    weights: Array | None = None

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Which images were classified rightly, bool[N]."""
        out: npt.NDArray[np.bool_] = self.logits.argmax(axis=1) == self.labels
        return out

    @property
    def losses(self) -> Array:
        """Log loss of each image, float64[N], in nats, after temperature."""
        return calibration.negative_log_likelihoods(self.logits / self.temperature)[
            np.arange(len(self.labels)), self.labels
        ]


def ranking_sample(labels: Labels) -> Labels:
    """Rows on which candidates are ranked: all, or a stratified part when there are many."""
    if len(labels) <= RANKING_IMAGES:
        return np.arange(len(labels))
    return draw(np.random.default_rng(0), labels, RANKING_IMAGES / len(labels), FEWEST)


def leave_out(  # noqa: PLR0913 - what is left out, and how it is judged
    name: str,
    taps: tuple[str, ...],
    kernel: Array,
    labels: Labels,
    dimensions: int,
    groups: Sequence[str] = (),
    *,
    wanted: Wanted | None = None,
    judged: Labels | None = None,
    counts: Array | None = None,
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
        wanted: The classes' shares where the model will be used; None for those of the labels.
        judged: Rows int64[M] that the result is of (None: all); the others are only learnt from.
        counts: How much each image counts in learning, float64[N]; in judging all count the same.
    """
    shift = None if wanted is None else wanted.shift(labels)
    hot = np.eye(int(labels.max()) + 1)[labels]
    paths = path(kernel, hot, ridge.together(groups), weights=counts)
    if judged is not None:
        labels, groups = labels[judged], [groups[i] for i in judged] if groups else ()
        paths = ((penalty, logits[judged]) for penalty, logits in paths)
    weights = None if wanted is None else wanted.weights(labels)
    tried = []
    for penalty, logits in paths:
        temperature = calibration.fit_temperature(logits, labels, shift, weights)
        moved = logits if shift is None else logits + temperature * shift
        loss = calibration.log_loss(moved / temperature, labels, weights)
        tried.append((loss, penalty, temperature, moved))
    loss, penalty, temperature, logits = min(tried, key=lambda t: t[0])
    correct = (logits.argmax(axis=1) == labels).astype(np.float64)
    if weights is not None:
        correct = paired.counted(correct, weights)
    together = clusters.number(groups) if groups else None
    score = StageScore(
        name=name,
        taps=taps,
        dimensions=dimensions,
        accuracy=float(correct.mean()),
        log_loss=loss,
        penalty=penalty,
        standard_error=float(correct.std() / np.sqrt(len(correct)))
        if together is None
        else clusters.standard_error(correct, together),
    )
    return LeftOut(score, logits, temperature, labels, together, weights)


def learning_curve(
    kernel: Array, labels: Labels, groups: Sequence[str] = (), counts: Array | None = None
) -> tuple[tuple[int, float], ...]:
    """Leave-one-out error when a quarter, a half and all of each class's images are there.

    Args:
        kernel: From `combined`, float64[N, N].
        labels: int64[N].
        groups: As for `leave_out`.
        counts: As for `leave_out`.

    Returns:
        Images and error, a fraction of 1; the mean over three draws.
    """
    rng = np.random.default_rng(0)
    points = []
    for share in CURVE_SHARES:
        errors, rows = [], np.arange(len(labels))
        for _ in range(1 if share == 1 else CURVE_DRAWS):
            rows = draw(rng, labels, share, FEWEST)
            heavy = None if counts is None else counts[rows]
            part = kernels.unit(kernels.centered(kernel[np.ix_(rows, rows)], heavy), heavy)
            some = [groups[int(i)] for i in rows] if groups else ()
            found = leave_out("", (), part, labels[rows], 0, some, counts=heavy)
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


def draw(rng: np.random.Generator, labels: Labels, share: float, least: int) -> Labels:
    """A share of each class's rows by chance, so many of each class at least, in their order."""
    keep: list[int] = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        keep += members[: max(least, round(share * len(members)))].tolist()
    return np.array(sorted(keep))


def path(
    kernel: Array,
    wanted: Array,
    together: Sequence[Labels],
    penalties: Sequence[float] | None = None,
    weights: Array | None = None,
) -> Iterator[tuple[float, Array]]:
    """Leave-one-out scores float64[N, C] at each penalty, the rows of a group left out at once.

    With the matrix H that turns what is wanted into fitted scores, a row left out misses by its
    residual / (1 - H[i, i]), and several rows by (1 - H[rows, rows])⁻¹ residuals: ridge is exact.

    Args:
        kernel: From `combined`, float64[N, N].
        wanted: What the scores are to be, float64[N, C].
        together: The rows of each group of several.
        penalties: Those to try; `PENALTIES` unless given.
        weights: How much each row counts, float64[N]; None where all count the same.
    """
    if weights is not None:
        yield from _weighed(kernel, wanted, together, penalties or PENALTIES, weights)
        return
    mean = wanted.mean(axis=0)
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0.0)
    turned, squares = vectors.T @ (wanted - mean), np.square(vectors)
    for penalty in penalties or PENALTIES:
        kept = values / (values + penalty)
        residual = wanted - mean - vectors @ (kept[:, None] * turned)
        own = 1.0 / len(wanted) + squares @ kept
        missed = residual / np.maximum(1.0 - own, 1e-9)[:, None]
        for rows in together:
            inside = 1.0 / len(wanted) + (vectors[rows] * kept) @ vectors[rows].T
            missed[rows] = np.linalg.solve((1 + 1e-9) * np.eye(len(rows)) - inside, residual[rows])
        yield penalty, wanted - missed


def _weighed(
    kernel: Array,
    wanted: Array,
    together: Sequence[Labels],
    penalties: Sequence[float],
    weights: Array,
) -> Iterator[tuple[float, Array]]:
    """The same where Σ w_i ‖y_i − b − x_i W‖² + λ ‖W‖² is least, with means weighed by w.

    With S = diag(√w) and S K S = V diag(s) Vᵀ what is fitted about the mean is L (y − ȳ), with
    L = K S V diag(1 / (s + λ)) Vᵀ S, and rows left out miss by
    (1 − L[rows, rows] − w[rows] / Σ w)⁻¹ residuals: a row of weight 2 is that row
    twice, left out at once.
    """
    root, share = np.sqrt(weights)[:, None], weights / weights.sum()
    off = wanted - share @ wanted
    values, vectors = np.linalg.eigh(root * kernel * root.T)
    values = np.maximum(values, 0.0)
    right = root * vectors
    left = kernel @ right
    turned, products = right.T @ off, left * right
    for penalty in penalties:
        inverse = 1.0 / (values + penalty)
        residual = off - left @ (inverse[:, None] * turned)
        missed = residual / np.maximum(1.0 - share - products @ inverse, 1e-9)[:, None]
        for rows in together:
            inside = share[rows] + (left[rows] * inverse) @ right[rows].T
            missed[rows] = np.linalg.solve((1 + 1e-9) * np.eye(len(rows)) - inside, residual[rows])
        yield penalty, wanted - missed
