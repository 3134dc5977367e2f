"""Promises of `sources.flag_columns`: a table with a column for each label needs no option."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from finetune.records.errors import DataError
from finetune.sources import flag_columns, readers

SEVERAL = ["1|0|1", "0|1|0", "1|1|0", "0|0|1", "0|0|0", "1|0|0"]
ONE = ["1|0|0", "0|1|0", "0|0|1", "1|0|0", "0|1|0", "0|0|1"]


def listed(root: Path, cells: Sequence[str], head: str = "cat|dog|tree") -> Path:
    """A CSV in a folder, with pictures that its rows name without an ending."""
    lines = [f"image_id,{head.replace('|', ',')}"]
    for i, cell in enumerate(cells):
        Image.new("RGB", (12, 20 + i), (30 * i, 120, 60)).save(root / f"{i}.png")
        lines.append(f"{i},{cell if '|' not in head else cell.replace('|', ',')}")
    (root / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    return root / "list.csv"


@pytest.mark.parametrize("off", ["0", "-1", "False", "0.0", ""])
def test_columns_of_flags_are_several_labels(tmp_path: Path, off: str) -> None:
    """Each column is a label, however on and off are written; -1 is off where there is no 0."""
    on = "True" if off == "False" else "1"
    cells = ["|".join(on if c == "1" else off for c in row.split("|")) for row in SEVERAL]

    found = readers.read(str(listed(tmp_path, cells)))

    assert found.target is not None
    assert (found.target.kind, found.target.names) == ("labels", ("cat", "dog", "tree"))
    assert {s.path: s.values for s in found.pool}["2.png"] == (1.0, 1.0, 0.0)
    assert any("'cat', 'dog', 'tree' a label each" in f.title for f in found.findings)


def test_exactly_one_flag_in_every_row_is_a_class(tmp_path: Path) -> None:
    """As lists of truth of one class come: the column with the 1 names it."""
    found = readers.read(str(listed(tmp_path, ONE)))

    assert found.target is None
    assert found.classes == ("cat", "dog", "tree")
    assert {s.path: found.classes[s.label] for s in found.pool}["4.png"] == "dog"
    assert any("a class each, by a 1 in its column" in f.title for f in found.findings)


@pytest.mark.parametrize("cell", ["2|0|0", "-1|0|1", "maybe|0|0"])
def test_one_cell_that_is_no_flag_leaves_the_columns_to_the_user(tmp_path: Path, cell: str) -> None:
    """A -1 beside 0 may mean "not sure": nothing is guessed, and the columns can be named."""
    table = listed(tmp_path, [*SEVERAL, cell])

    with pytest.raises(DataError, match="no column of labels"):
        readers.read(str(table))


def test_a_folder_with_such_a_table_is_read_by_it(tmp_path: Path) -> None:
    """The folder is given, the only table in it lists its pictures."""
    found = readers.read(str(listed(tmp_path, SEVERAL).parent))

    assert found.target is not None
    assert found.target.names == ("cat", "dog", "tree")


def test_flags_need_images_on_either_side() -> None:
    """Columns of nothing but 0 tell no labels, nor does a single column."""
    assert flag_columns.found(["a", "b"], [{"a": "0", "b": "0"}]) is None
    assert flag_columns.found(["a", "b"], [{"a": "1", "b": "1"}]) is None
    assert flag_columns.found(["a"], [{"a": "1"}, {"a": "0"}]) is None


def test_a_bar_parts_labels_where_no_cell_has_a_semicolon(tmp_path: Path) -> None:
    """As lists of findings have it; beside `;` a `|` is part of a name."""
    table = listed(tmp_path, ["cat|dog", "dog", "tree|cat", "tree", "", "cat"], "label")

    found = readers.read(str(table))

    assert found.target is not None
    assert found.target.names == ("cat", "dog", "tree")
    assert {s.path: s.values for s in found.pool}["0.png"] == (1.0, 1.0, 0.0)

    table.write_text(table.read_text().replace("tree|cat", "a|b;cat").replace("cat|dog", "a|b"))
    other = readers.read(str(table)).target
    assert other is not None
    assert "a|b" in other.names
