"""An export against `predict` on files, from their bytes to labels and probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.pictures import decoding
from finetune.records.errors import ExportError, ImageError, safe_name
from finetune.records.figures import figure
from finetune.storage.arrays import Array

# A JPEG that `predict` reduces while it decodes, and a tall picture whose sides Pillow resizes in
# another order, are not the same pixels: up to 0.03 on photographs of 256 to 2,560 px with a head
# of temperature 0.1 (docs/log.md, 2026-11-26). An export whose box, turning or channels are wrong
# is off by tenths.
ALLOWED = 0.05


@dataclass(frozen=True)
class Expected:
    """What `predict` says: `likely` float64[M,C] of the files `paths`.

    Of labels `thresholds` are the probabilities from which they are on; of numbers `scale`
    float64[C] is the standard deviation in which differences are told.
    """

    paths: tuple[Path, ...]
    likely: Array
    thresholds: tuple[float, ...] = ()
    scale: Array | None = None

    def others(self, likely: Array) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which of an export's answers are others, and which are too close to call, bool[M] each.

        Args:
            likely: The export's, float64[M,C].
        """
        if self.scale is not None:  # numbers are near or not, as the gaps say
            return np.zeros(len(likely), np.bool_), np.zeros(len(likely), np.bool_)
        if self.thresholds:
            least = np.array(self.thresholds)
            near = np.abs(self.likely - least) < ALLOWED
            differ = (likely >= least) != (self.likely >= least)
            return (differ & ~near).any(axis=1), near.any(axis=1)
        ranked = np.sort(self.likely, axis=1)
        lead = ranked[:, -1] - ranked[:, -2:-1].sum(axis=1)
        tie: npt.NDArray[np.bool_] = lead < ALLOWED  # of one class there is none
        return (likely.argmax(axis=1) != self.likely.argmax(axis=1)) & ~tie, tie


def fair(path: Path) -> bool:
    """Whether any program can read a picture as the README says: it decodes, and has 8 bits."""
    try:
        return decoding.values(path) is None
    except ImageError:
        return False


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How an export compares with `predict`: fields as in `records.answers.Exported`."""

    checked: int
    labels_equal: bool
    ties: int
    max_difference: float
    worst: str


@dataclass(frozen=True)
class Compared:
    """An export beside `predict`, of each picture.

    `likely` float64[M,C] is the export's, `gaps` float64[M] the largest difference, `other` bool[M]
    whether the label is another, ties left out.
    """

    likely: Array
    gaps: Array
    other: npt.NDArray[np.bool_]
    agreement: Agreement


def compare(
    answer: Callable[[Path], Array], expected: Expected, told: Callable[[int, int], None]
) -> Compared:
    """Compare picture by picture, without a judgement.

    Args:
        answer: A file to probabilities float64[C], by the export.
        expected: What `predict` says.
        told: Hears how many are done, of how many.

    Raises:
        ExportError: an answer is not a number.
    """
    found = []
    for number, path in enumerate(expected.paths, start=1):
        found.append(answer(path))
        told(number, len(expected.paths))
    likely = np.stack(found)
    scale = 1.0 if expected.scale is None else expected.scale
    gaps = (np.abs(likely - expected.likely) / scale).max(axis=1)
    if not np.isfinite(gaps).all():
        path = expected.paths[int(np.argmin(np.isfinite(gaps)))]
        raise ExportError(
            f"the export's answer for {safe_name(str(path))} is not a number",
            hint="Use another --format.",
        )
    other, tie = expected.others(likely)
    agreement = Agreement(
        checked=len(gaps),
        labels_equal=not other.any(),
        ties=int(tie.sum()),
        max_difference=float(gaps.max()),
        worst=safe_name(str(expected.paths[int(np.argmax(gaps + other))])),
    )
    return Compared(likely, gaps, other, agreement)


def check(
    answer: Callable[[Path], Array],
    expected: Expected,
    classes: Sequence[str],
    told: Callable[[int, int], None],
) -> Agreement:
    """Compare, and refuse what answers otherwise.

    Args:
        answer: As for `compare`.
        expected: What `predict` says.
        classes: Their names.
        told: As for `compare`.

    Raises:
        ExportError: a label differs, or a probability by more than `ALLOWED`; names the worst file.
    """
    found = compare(answer, expected, told)
    gaps, other = found.gaps, found.other
    worst = int(np.argmax(gaps + other))
    if other.any() or gaps[worst] > ALLOWED:
        raise ExportError(
            f"the export does not answer as predict does: {safe_name(str(expected.paths[worst]))} "
            f"is {_said(found.likely[worst], expected, classes)}, predict says "
            f"{_said(expected.likely[worst], expected, classes)}; {int(other.sum())} of "
            f"{len(gaps)} labels differ, probabilities by up to {gaps.max():.3f} (at most "
            f"{ALLOWED} is allowed)",
            hint="Nothing was written. Use another --format, or tell us: it should agree.",
        )
    return found.agreement


def _said(likely: Array, expected: Expected, classes: Sequence[str]) -> str:
    if expected.scale is not None:
        return ", ".join(figure(value) for value in likely.tolist())
    best = int(likely.argmax())
    return f"'{classes[best]}' {likely[best]:.3f}"
