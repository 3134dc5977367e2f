"""What is learned of each image: one class, several labels or numbers, as labels are listed."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from finetune.records.choices import MOST_CLASSES, OtherTarget, TargetChoice
from finetune.records.dataset import Target
from finetune.records.errors import DataError, excerpt, safe_name
from finetune.sources import flag_columns
from finetune.sources.column_names import PART

NONE = "(none)"  # the stratum of images without a label
# A label of one image cannot be both learned and measured.
FEWEST = 2
# Ranges that numbers are divided in to split them: about the root of the images, as histograms
# commonly have it (Venables and Ripley 2002), and no more than a stratified split needs.
MOST_RANGES = 10
# Numbers are standardized and squared in single precision, whose largest is 3e38.
LARGEST = 1e18
# Answers have 24 bits: at a millionth of the size, rounding is 6 % of a standard deviation.
LEAST_SPREAD = 1e-6
SMALLEST = 1e-18  # whose square is a number in single precision, too
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?\d+,\d{3}", re.ASCII)


class Row(NamedTuple):
    """One image: its label as text, whether it is learned from, and where the label stands."""

    path: str
    text: str
    learned: bool
    where: str
    column: str = "the label"

    @property
    def cell(self) -> str:
        """Where the label stands, with the column."""
        return f"{self.where}, {self.column}"


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A target with the values of each image; `strata` are what images are divided by.

    `values` and `stratum` are by path: a 0 or 1 for each label, or the numbers; and a place in
    `strata`. `rare` and `always` are labels that are left out, with the images that have them;
    `bare` are images without any label.
    """

    target: Target
    values: Mapping[str, tuple[float, ...]]
    strata: tuple[str, ...]
    stratum: Mapping[str, int]
    rare: Mapping[str, Sequence[str]]
    always: Sequence[str]
    bare: Sequence[str]


def told(
    asked: TargetChoice, columns: Sequence[str], texts: Iterable[str]
) -> tuple[OtherTarget, str] | None:
    """What a list is to be learned as, with the reason; None of classes.

    Unasked, several labels are told by `;` (or a list) in a cell; a number by fractions, or by so
    many different numbers that there are fewer than two images of each, which classes never have.

    Args:
        asked: What the user wants.
        columns: The names of the columns of labels; none where they have no name.
        texts: The labels as they are listed, cells of several columns parted by `;`.
    """
    if asked in ("labels", "number"):
        return asked, f"--target {asked}"
    if asked == "classes":
        return None
    if len(columns) > 1:
        flags = flag_columns.spelling(c for text in texts for c in text.split(PART)) is not None
        some = ", ".join(f"'{c}'" for c in columns[:3]) + (", …" if len(columns) > 3 else "")
        what = "a 0 or 1 in each of" if flags else "a number in each of"
        return ("labels" if flags else "number"), f"{what} the columns {some}"
    given = [text for text in texts if text.strip()]
    name = f"column '{columns[0]}'" if columns else "the label"
    several = next((t for t in given if sum(bool(p.strip()) for p in t.split(PART)) > 1), None)
    if several is not None:
        short = several if len(several) <= 40 else f"{several[:39]}…"
        return "labels", f"{name} has several in one cell, such as '{safe_name(short)}'"
    return _as_number(given, name)


def _as_number(given: Sequence[str], name: str) -> tuple[OtherTarget, str] | None:
    comma = _decimal_comma(given)
    values: list[float] = []
    for text in given:
        value = _parsed(text, comma=comma)
        if value is None:
            return None
        values.append(value)
    numbers = {*values}
    if len(numbers) < 3:
        return None
    fraction = next((t for t, v in zip(given, values, strict=True) if v != round(v)), None)
    if fraction is not None:
        return "number", f"{name} has numbers with fractions, such as {fraction.strip()}"
    if len(values) < FEWEST * len(numbers):
        return "number", f"{name} has {len(numbers):,} different numbers in {len(values):,} rows"
    return None


def learn(
    kind: OtherTarget,
    reason: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    source: str = "",
) -> Learned:
    """The target of a list and the values of its images.

    Args:
        kind: What is learned.
        reason: How that was told.
        columns: As for `told`.
        rows: Every image once; those to be learned from decide which labels there are.
        source: What lists them, for messages.

    Raises:
        DataError: a cell that is no number, nothing that differs, or a label of a later split that
            no image to be learned from has.
    """
    where = f"{source}: " if source else ""
    return (_labels if kind == "labels" else _numbers)(reason, columns, rows, where)


def measured(target: Target, columns: Sequence[str], rows: Sequence[Row]) -> Learned:
    """The same for a target that is known, of images that a model is measured on: one stratum.

    Raises:
        DataError: a cell that is no number, or a label that the target lacks.
    """
    values = _known(target, columns, rows)
    return Learned(
        target=target,
        values=values,
        strata=("all",),
        stratum=dict.fromkeys(values, 0),
        rare={},
        always=(),
        bare=[p for p, row in values.items() if target.kind == "labels" and not any(row)],
    )


def _known(
    target: Target, columns: Sequence[str], rows: Sequence[Row]
) -> dict[str, tuple[float, ...]]:
    if target.kind == "number":
        return _read_numbers(target.names, rows)
    held = _held(columns, rows)
    unknown = sorted({label for has in held.values() for label in has} - {*target.names})
    if unknown:
        raise DataError(
            f"labels that are not known: {excerpt(', '.join(unknown[:5]), 200)}"
            f" (the first: {next(r.cell for r in rows if unknown[0] in held[r.path])})",
            hint=f"The labels are {excerpt(', '.join(target.names[:8]), 300)}"
            + (" …" if len(target.names) > 8 else "."),
        )
    return _flags(target.names, held)


def _flags(names: Sequence[str], held: Mapping[str, set[str]]) -> dict[str, tuple[float, ...]]:
    """A 0 or 1 for each label of each image; images with the same labels share one tuple."""
    known: dict[frozenset[str], tuple[float, ...]] = {}
    out = {}
    for path, has in held.items():
        key = frozenset(has)
        if key not in known:
            known[key] = tuple(float(name in has) for name in names)
        out[path] = known[key]
    return out


def _held(columns: Sequence[str], rows: Sequence[Row]) -> dict[str, set[str]]:
    """The labels of each image: what `;` parts, or the columns in which it has a 1."""
    cells = {r.path: _cells(columns, r.text) for r in rows}
    known = flag_columns.spelling(c for some in cells.values() for c in some)
    if len(columns) < 2 or known is None or any(len(c) != len(columns) for c in cells.values()):
        return {path: {c for c in some if c} for path, some in cells.items()}
    return {
        path: {c for c, cell in zip(columns, some, strict=True) if known[cell.lower()]}
        for path, some in cells.items()
    }


def _cells(columns: Sequence[str], text: str) -> list[str]:
    """The cells of an image, without spaces; where all of several are empty the text is."""
    return [c.strip() for c in text.split(PART)] if text else [""] * max(len(columns), 1)


def _labels(reason: str, columns: Sequence[str], rows: Sequence[Row], where: str) -> Learned:
    if len(columns) > 1:
        _require_flags(columns, rows)
    held = _held(columns, rows)
    images: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for label in held[row.path] if row.learned else ():
            images[label].append(row.path)
    for row in rows:
        unknown = sorted(held[row.path] - images.keys())
        if unknown:
            raise DataError(
                f"{row.cell}: '{excerpt(unknown[0])}' is a label that no training image has",
                hint="Give it images to learn from, or take it out.",
            )
    count = sum(row.learned for row in rows)
    rare = {name: found for name, found in sorted(images.items()) if len(found) < FEWEST}
    always = sorted(name for name, found in images.items() if len(found) == count > 1)
    names = tuple(sorted(images.keys() - rare.keys() - {*always}))
    if not names:
        raise DataError(
            f"{where}no label to learn in {count:,} images: {len(rare)} of fewer than {FEWEST} "
            f"images, {len(always)} of every image",
            hint="A label needs two images that have it and one that lacks it.",
        )
    if len(names) > MOST_CLASSES:
        raise DataError(
            f"{where}{len(names):,} different labels, more than {MOST_CLASSES:,}",
            hint="Are they words of a sentence? Labels are names that images share.",
        )
    learned = {*names}
    held = {path: has if has <= learned else has & learned for path, has in held.items()}
    strata, stratum = _by_rarest(names, images, held)
    return Learned(
        target=Target(kind="labels", names=names, reason=reason),
        values=_flags(names, held),
        strata=strata,
        stratum=stratum,
        rare=rare,
        always=always,
        bare=[row.path for row in rows if not held[row.path]],
    )


def _require_flags(columns: Sequence[str], rows: Sequence[Row]) -> None:
    known = flag_columns.spelling(c for row in rows for c in _cells(columns, row.text))
    for row in rows:
        cells = _cells(columns, row.text)
        if len(cells) != len(columns) or flag_columns.spelling(cells) is None or known is None:
            raise DataError(
                f"{row.cell}: '{excerpt(row.text)}' is not a 0 or 1 for each of "
                f"{len(columns)} columns",
                hint="Give one column whose cells name labels parted by ;, or columns of 0 and 1.",
            )


def _by_rarest(
    names: Sequence[str], images: Mapping[str, Sequence[str]], held: Mapping[str, set[str]]
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Strata by the rarest label of an image, which a split would else miss most easily."""
    rank = {n: (len(images[n]), n) for n in names}
    rarest = {path: min(has, key=rank.__getitem__) if has else NONE for path, has in held.items()}
    strata = tuple(sorted({*rarest.values()}))
    number = {name: i for i, name in enumerate(strata)}
    return strata, {path: number[name] for path, name in rarest.items()}


def _numbers(reason: str, columns: Sequence[str], rows: Sequence[Row], where: str) -> Learned:
    names = tuple(columns) or ("number",)
    values = _read_numbers(names, rows)
    learned = np.array([values[row.path] for row in rows if row.learned], np.float64)
    for name, column in zip(names, learned.T, strict=True):
        if column.min() == column.max():
            raise DataError(
                f"{where}all {len(column):,} images have the same {name}, {column[0]:g}: there is "
                "nothing to learn",
                hint="Numbers must differ from image to image.",
            )
        _require_room(where, name, column)
    strata, place = _by_range(learned[:, 0])
    return Learned(
        target=Target(kind="number", names=names, reason=reason),
        values=values,
        strata=strata,
        stratum={path: place(found[0]) for path, found in values.items()},
        rare={},
        always=(),
        bare=(),
    )


def _require_room(where: str, name: str, column: npt.NDArray[np.float64]) -> None:
    """Refuse numbers float64[N] whose differences are lost in single precision.

    Raises:
        DataError: they differ by a millionth of their size, or are next to nothing.
    """
    largest, deviation = float(np.abs(column).max()), float(column.std())
    if largest < SMALLEST:
        raise DataError(
            f"{where}the largest {name} is {largest:g}: such numbers are lost in 32 bits",
            hint="Give them in a smaller unit.",
        )
    if deviation < LEAST_SPREAD * largest:
        raise DataError(
            f"{where}{name} is about {column.mean():.7g} and its standard deviation "
            f"{deviation:.3g}: so small a difference is lost in 32 bits",
            hint="Take a constant from all of them, such as the smallest.",
        )


def _by_range(
    values: npt.NDArray[np.float64],
) -> tuple[tuple[str, ...], Callable[[float], int]]:
    """Ranges of about as many values float64[N] each, and which of them a number is in."""
    count = min(MOST_RANGES, max(2, round(math.sqrt(len(values)))))
    edges = np.unique(np.quantile(values, np.arange(1, count) / count))
    places = np.searchsorted(edges, values, side="right")
    used = np.unique(places)
    # the least value of every range but the first parts it from the one before
    starts = np.array([values[places == p].min() for p in used[1:]])
    ends = [(values[places == p].min(), values[places == p].max()) for p in used]
    for digits in (4, 6, 17):
        strata = tuple(
            f"{low:.{digits}g}" if low == high else f"{low:.{digits}g} to {high:.{digits}g}"
            for low, high in ends
        )
        if len({*strata}) == len(strata):
            break
    return strata, lambda value: int(np.searchsorted(starts, value, side="right"))


def _read_numbers(names: Sequence[str], rows: Sequence[Row]) -> dict[str, tuple[float, ...]]:
    """The numbers of each image.

    Raises:
        DataError: a cell holds none.
    """
    cells = {row.path: row.text.split(PART) for row in rows}
    comma = _decimal_comma([cell for found in cells.values() for cell in found])
    out = {}
    for row in rows:
        found = cells[row.path]
        if len(found) != len(names):
            raise DataError(
                f"{row.cell}: {len(found)} numbers, and {len(names)} are wanted: "
                f"'{excerpt(row.text)}'",
                hint="Give each number a column, and name them: --label-column width,height.",
            )
        for name, cell in zip(names, found, strict=True):
            if _parsed(cell, comma=comma) is None:
                raise _no_number(row, name if len(names) > 1 else "", cell)
        out[row.path] = tuple(_parsed(cell, comma=comma) or 0.0 for cell in found)
    return out


def _no_number(row: Row, name: str, cell: str) -> DataError:
    where = f"{row.where}, column '{safe_name(name)}'" if name else row.cell
    return DataError(
        f"{where}: '{excerpt(cell.strip())}' is no number",
        hint=f"Write 1500 or 1.5, finite and up to {LARGEST:g}; --target classes takes cells as "
        "names.",
    )


def _decimal_comma(cells: Sequence[str]) -> bool:
    """Whether commas are decimal points: no dot anywhere, and they do not part thousands."""
    with_comma = [cell.strip() for cell in cells if "," in cell]
    return (
        bool(with_comma)
        and not any("." in cell for cell in cells)
        and all(map(_COMMA.fullmatch, with_comma))
        and not all(map(_THOUSANDS.fullmatch, with_comma))
    )


def _parsed(cell: str, *, comma: bool) -> float | None:
    """A finite number as it is commonly written; None where the text is none."""
    text = cell.strip()
    text = text.replace(",", ".") if comma else text
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if abs(value) <= LARGEST else None
