"""Standard errors where images come in groups: copies, or pictures of one patient; pure numpy.

Images of one group are right or wrong together, so they tell less than as many that have nothing to
do with each other. The variance of a mean is taken from the groups' sums (Liang and Zeger 1986)
with the correction CR2 for few groups (Bell and McCaffrey 2002). Measured with groups of 5 to 20
(`benchmarks/group_coverage.py`): a nominal 95 % of an accuracy covers 92 to 99 % so, and 37 to 92 %
as if images were independent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Z95 = 1.959964
Floats = npt.NDArray[np.float64]
# int64[N]: the number of each image's group, counted from 0 without a gap.
Clusters = npt.NDArray[np.int64]


def number(units: Sequence[str]) -> Clusters | None:
    """Groups by their names; None where each image is one by itself.

    Args:
        units: What is never divided, one of each image: equal ones are a group.
    """
    known: dict[str, int] = {}
    found = [known.setdefault(unit, len(known)) for unit in units]
    return None if len(known) == len(found) else np.array(found, np.int64)


def renumbered(clusters: Clusters | None, rows: npt.NDArray[np.int64]) -> Clusters | None:
    """The groups of some of the images; None where each of these is one by itself."""
    if clusters is None:
        return None
    found = np.unique(clusters[rows], return_inverse=True)[1].astype(np.int64)
    return None if len(rows) == found.max(initial=-1) + 1 else found


def count(clusters: Clusters) -> int:
    """How many groups there are."""
    return int(clusters.max(initial=-1)) + 1


def standard_error(values: Floats, clusters: Clusters) -> float:
    """Standard error of the mean of float64[N] by groups, wide enough for 1.96 of it to be 95 %.

    Few groups, or few that differ from the others, tell little of the variance itself: by so much
    as Student's quantile is beyond the normal one the error is widened. One group by itself, and
    all of them where there is only one, is never more than noise.
    """
    sums: Floats = np.bincount(clusters, weights=values - values.mean()).astype(np.float64)
    largest = float(np.abs(np.bincount(clusters, weights=values)).max()) / len(values)
    if len(sums) == 1:
        return max(float(np.abs(values).max()), largest)
    return max(_robust(sums, clusters) * _widening(sums, clusters), largest)


def effective(deviations: Floats, clusters: Clusters) -> float:
    """How many independent images would tell as much of a mean as those of the groups, 1 to N.

    Args:
        deviations: Of each image from the mean, float64[N].
        clusters: Their groups.
    """
    n, groups = len(deviations), count(clusters)
    sums: Floats = np.bincount(clusters, weights=deviations).astype(np.float64)
    alone = float(np.square(deviations).sum()) / n**2
    if groups == 1:
        return 1.0
    robust = _robust(sums, clusters) ** 2
    found = float(groups) if alone == 0 else min(n, n * alone / max(robust, 1e-300))
    return max(1.0, found / _widening(sums, clusters) ** 2)


def _robust(sums: Floats, clusters: Clusters) -> float:
    """CR2 standard error of a mean from the sums of its deviations by groups."""
    share = np.bincount(clusters) / len(clusters)
    return float(np.sqrt((np.square(sums) / (1 - share)).sum())) / len(clusters)


def _widening(sums: Floats, clusters: Clusters) -> float:
    """Student's 97.5 % quantile as a multiple of the normal one.

    Degrees of freedom are the fewer of two: as unequal sizes leave them where a group's images go
    all together (Satterthwaite 1946, as Bell and McCaffrey have it), and as the sums themselves
    tell by their fourth moment: where a few of many groups have all the errors, little is known.
    """
    sizes = np.bincount(clusters).astype(np.float64)
    share = sizes / sizes.sum()
    # eigenvalues of C (I - w 1') S (I - 1 w') C, by their sum and the sum of their squares
    c, s = 1 / (1 - share), np.square(sizes)
    own, total = c * s, float(s.sum())
    trace = float((c * (s * (1 - 2 * share) + np.square(share) * total)).sum())
    left = np.stack([s, share])
    inner = np.array([[0.0, -1.0], [-1.0, total]])
    cross = (left * c) @ left.T
    squares = float(np.square(own).sum())
    squares += 2 * float((inner * ((left * (c * own)) @ left.T)).sum())
    squares += float(np.trace(inner @ cross @ inner @ cross))
    freedom = trace**2 / squares
    power = float(np.square(sums).sum())
    if power > 0:
        scatter = float(np.square(np.square(sums) / power).sum()) - 1 / len(sums)
        freedom = min(freedom, 2 / max(scatter, 1e-12))
    return student(freedom) / Z95


def student(freedom: float) -> float:
    """The 97.5 % quantile of Student's t by its expansion (Abramowitz and Stegun 26.7.5).

    0.8 % too small with two degrees of freedom, 0.1 % with three; fewer than one count as one.
    """
    z, f = Z95, max(1.0, freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / f ** (i + 1) for i, term in enumerate(terms))
