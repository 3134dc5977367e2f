"""Tables with a column for each label: a 1 in it where an image has the label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from finetune.sources.column_names import PART, quoted

ON = {"1": 1.0, "1.0": 1.0, "true": 1.0, "yes": 1.0}
OFF = {"0": 0.0, "0.0": 0.0, "false": 0.0, "no": 0.0, "": 0.0}
# Some lists of attributes have 1 and -1; beside a 0 a -1 is something else, such as "not sure".
SIGNS = {"1": 1.0, "1.0": 1.0, "-1": 0.0, "-1.0": 0.0}


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The columns that name labels; `single` where each image has exactly one of them."""

    columns: tuple[str, ...]
    single: bool

    @property
    def text(self) -> str:
        """What they are, in a sentence."""
        some = quoted(self.columns[:3]) + (", …" if len(self.columns) > 3 else "")
        return f"{some} a {'class' if self.single else 'label'} each, by a 1 in its column"

    def only(self, cells: str) -> str:
        """The column with the 1, of cells that `;` parts."""
        on = (cell.strip().lower() in ON for cell in cells.split(PART))
        return next(name for name, is_on in zip(self.columns, on, strict=True) if is_on)


def spelling(cells: Iterable[str]) -> Mapping[str, float] | None:
    """What each spelling means, in small letters without spaces; None where cells are no flags."""
    seen = {cell.strip().lower() for cell in cells}
    return next((known for known in (ON | OFF, SIGNS) if seen <= known.keys()), None)


def found(columns: Sequence[str], rows: Iterable[Mapping[str, str]]) -> Flags | None:
    """Whether all of some columns are flags of labels, each with images on either side.

    Args:
        columns: At least two, or there are none to choose between.
        rows: The cells of each row by column.
    """
    seen: set[str] = set()
    single, has, lacks = True, set[str](), set[str]()
    for row in rows:
        cells = {c: row.get(c, "").strip().lower() for c in columns}
        seen.update(cells.values())
        if not seen <= ON.keys() | OFF.keys() | SIGNS.keys():
            return None
        on = {c for c, cell in cells.items() if cell in ON}
        single = single and len(on) == 1
        has |= on
        lacks |= cells.keys() - on
    if len(columns) < 2 or not has or not lacks or spelling(seen) is None:
        return None
    return Flags(columns=tuple(columns), single=single)
