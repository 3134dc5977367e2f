"""Tables of labels and numbers with all sorts of faults in them, made by chance from a seed."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from finetune.records.choices import TargetChoice

PICTURES = 12
SUFFIXES = ("csv", "csv", "tsv", "jsonl", "jsonl", "parquet", "pictures.parquet")
TARGETS: tuple[TargetChoice, ...] = ("auto", "auto", "labels", "number", "classes")
COLUMNS: tuple[tuple[str, ...], ...] = (
    *((),) * 12,
    *(("label",), ("label", "x"), ("x", "y"), ("LABEL",), ("label", "label"), ("x",), ("group",)),
    *(("gone",), ("",), ("file_name",), ("label", "x", "y")),
)
CELLS = (
    *("", " ", ";", ";;;", "cat;;dog", "cat|dog", "cat,dog", "cat/dog", " cat ; dog ", "cat;cat"),
    *('"cat;dog', 'cat"', "'", "['cat', 'dog']", '["cat", "dog"]', '{"a": 1}', "[]", "{}", "[1,"),
    *("nan", "NaN", "inf", "-inf", "Infinity", "1e999", "-1e999", "1e18", "1e19", "1e-400", "-0"),
    *("3.5 cm", "12px", "50 %", "1,5", "1.500,25", "1,234.5", "1,234", "1 234", "1'234", "$5"),
    *("2024-01-31", "31.01.2024", "12:30", "true", "FALSE", "yes", "0", "1", "0x10", "1_000"),
    *("٣", "½", "−5", "+5", "5.", ".5", ".", "1.2.3", "--1", "1e", "9" * 400, "1" * 5000),
    *("cat\0dog", "\ufeffcat", "a" * 10_000, "\x1b[31mred", "\u202ecat", "cat\ndog", "cat\r"),
    *("None", "null", "#REF!", "=1+1", "N/A", "?", "-", "bär", "猫", "\ud7ff", "\U0001f408"),
    ";".join(f"l{i}" for i in range(3000)),
)
PATHS = (
    *("nowhere.png", "", " ", "..", ".", "/", "../../etc/passwd", "/etc/passwd", "a\0b.png"),
    *("C:\\pictures\\0.png", "\\\\host\\share\\0.png", "x" * 5000, "0.png ", "~/0.png", "0"),
    *("http://x.org/0.png", "file:///0.png", "sub", "0.png/", "./0.png", "a//0.png", "\n", "0.PNG"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2**53 + 1, 2**64, 10**30, 10**400, 1.5, -0.0, 1e308, 1e-320),
    *(float("nan"), float("inf"), float("-inf"), [], [[]], {}, [None], ["cat"], ["cat", None]),
    *(["cat", "dog", "cat"], [1, 2], [1.5, "x"], [["cat"], ["dog"]], [{"name": "cat"}]),
    *({"name": "cat"}, {"0": [1]}, [True, False], "cat;dog", ["cat;dog", "tree"], [float("nan")]),
)
WORDS: dict[str, Callable[[random.Random], str]] = {
    "labels": lambda rng: ";".join(rng.sample(("cat", "dog", "tree"), rng.randint(0, 3))),
    "number": lambda rng: str(round(rng.uniform(-9, 99), 2)),
    "class": lambda rng: rng.choice(("cat", "dog")),
}


class Malformed(NamedTuple):
    """A table and how it is to be read."""

    file: Path
    target: TargetChoice
    columns: tuple[str, ...]


def malformed(folder: Path, rng: random.Random) -> Malformed:
    """Write one beside the pictures `0.png` to `11.png` of a folder."""
    suffix = rng.choice(SUFFIXES)
    file = folder / f"list.{suffix}"
    kind = rng.choice([*WORDS])
    header = ["file_name", "label", *rng.sample(["x", "y", "split", "group", "note"], 2)]
    rows = [[f"{i}.png", *(_cell(name, kind, rng) for name in header[1:])] for i in range(PICTURES)]
    for _ in range(rng.choice((0, 1, 1, 2))):
        _odd_cell(rows, rng)
    for _ in range(rng.choice((0, 0, 1, 2))):
        _odd_shape(header, rows, rng)
    if suffix.endswith("parquet"):
        content = _parquet(folder, header, rows, rng, pictures="pictures" in suffix)
    elif suffix == "jsonl":
        content = _encoded(_json(header, rows, rng), rng)
    else:
        content = _encoded(_csv(header, rows, rng, "\t" if suffix == "tsv" else ""), rng)
    file.write_bytes(_cut(content, rng))
    return Malformed(file, rng.choice(TARGETS), rng.choice(COLUMNS))


def _cell(name: str, kind: str, rng: random.Random) -> str:
    if name == "split":
        return rng.choice(("train", "train", "test", "val", ""))
    if name == "group":
        return rng.choice("abc")
    return WORDS[kind if name == "label" else "number"](rng)


def _odd_cell(rows: list[list[str]], rng: random.Random) -> None:
    """Another value in a cell, or in the same cell of every row."""
    column = rng.choice((0, 1, 1, 1, 2, 3))
    odd = rng.choice(PATHS if column == 0 else CELLS)
    for row in rows if rng.random() < 0.15 else [rng.choice(rows)]:
        row[column] = odd


def _odd_shape(header: list[str], rows: list[list[str]], rng: random.Random) -> None:
    """Columns and rows that are doubled, gone, too short or too long."""
    row = rng.choice(rows) if rows else []
    empty: list[str] = [""] * len(header)
    other = rng.choice((["1.png", "cat"], [], ["a"], [h.upper() for h in header]))
    changes: list[Callable[[], object]] = [
        lambda: header.__setitem__(-1, rng.choice(("label", "", "LABEL", "\0", "target"))),
        lambda: rows.append(list(row)),
        lambda: rows.append([*row[:1], rng.choice(CELLS), *row[2:]]),
        lambda: row.__delitem__(slice(rng.randint(0, len(row)), None)),
        lambda: row.extend([rng.choice(CELLS)] * rng.randint(1, 3)),
        rows.clear,
        lambda: rows.insert(rng.randint(0, len(rows)), empty),
        header.pop,
        lambda: header.__setitem__(slice(None), other),
        lambda: rng.shuffle(header),
        lambda: rows.__setitem__(slice(None), [r[:2] for r in rows]),
        lambda: rows.extend(rows * (29 if len(rows) < 99 else 0)),
    ]
    if header:
        rng.choice(changes)()


def _csv(header: list[str], rows: list[list[str]], rng: random.Random, delimiter: str) -> str:
    out = io.StringIO()
    delimiter = delimiter or rng.choice(",,,;\t|")
    end = rng.choice(("\n", "\n", "\r\n", "\r"))
    if rng.random() < 0.1:  # nothing is quoted
        return end.join(delimiter.join(row) for row in [header, *rows])
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows([header, *rows])
    return out.getvalue()


def _json(header: list[str], rows: list[list[str]], rng: random.Random) -> str:
    lines = []
    for row in rows:
        record: dict[str, Any] = dict(zip(header, row, strict=False))
        if rng.random() < 0.3:
            record["label"] = [p for p in str(record.get("label", "")).split(";") if p]
        if rng.random() < 0.1:
            record[rng.choice(header or ["a"])] = rng.choice(VALUES)
        plain: Any = record if rng.random() > 0.01 else rng.choice(VALUES)
        lines.append(json.dumps(plain, ensure_ascii=rng.random() < 0.5))
    text = "\n".join(lines)
    return text if rng.random() > 0.05 else f"[{','.join(lines)}]"


def _encoded(text: str, rng: random.Random) -> bytes:
    coding = rng.choice(
        (*("utf-8",) * 15, *("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "shift_jis"))
    )
    return text.encode(coding, "replace")


def _cut(content: bytes, rng: random.Random) -> bytes:
    """Nothing most times; else cut, with bytes taken out, or others put in."""
    out = bytearray(content)
    at = rng.randrange(len(out) + 1)
    which = rng.randrange(24)
    if which == 0:
        del out[at:]
    elif which == 1:
        out[at:at] = rng.choice((b"\0", b'"', b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\x1a", b"\\"))
    elif which == 2:
        del out[at : at + rng.randint(1, 30)]
    elif which == 3:
        out[at : at + 4] = rng.randbytes(4)
    return bytes(out)


def _odd_column(pa: Any, cells: list[str], rng: random.Random) -> Any:
    """A column of labels as Parquet may have it, of the type that a draw says."""
    count = len(cells)
    when = datetime.datetime(2024, 1, 31, tzinfo=datetime.UTC)
    lists = [[p for p in c.split(";") if p] for c in cells]
    numbers = [rng.choice((1.5, 2.5, float("nan"), float("inf"), None, 1e300)) for _ in cells]
    nested = pa.list_(pa.list_(pa.string()))
    made: list[Callable[[], Any]] = [
        lambda: pa.array(cells),
        lambda: pa.array(cells).dictionary_encode(),
        lambda: pa.array(lists, pa.list_(pa.string())),
        lambda: pa.array([[li] for li in lists], nested),
        lambda: pa.array([{"name": c} for c in cells]),
        lambda: pa.array([[{"name": c}] for c in cells]),
        lambda: pa.array([[("k", c)] for c in cells], pa.map_(pa.string(), pa.string())),
        lambda: pa.array([rng.choice((when, None)) for _ in cells]),
        lambda: pa.array([rng.choice((when.date(), None)) for _ in cells]),
        lambda: pa.array([datetime.timedelta(seconds=i) for i in range(count)]),
        lambda: pa.array([decimal.Decimal(f"{i}.25") for i in range(count)]),
        lambda: pa.array([rng.choice((True, False, None)) for _ in cells]),
        lambda: pa.array([rng.choice((2**64 - 1, 0, 7)) for _ in cells], pa.uint64()),
        lambda: pa.array([i % 99 for i in range(count)], pa.int8()),
        lambda: pa.array(numbers, pa.float64()),
        lambda: pa.array(numbers, pa.float32()),
        lambda: pa.array([float(i % 9) for i in range(count)], pa.float16()),
        lambda: pa.nulls(count),
        lambda: pa.array([c.encode() for c in cells]),
        lambda: pa.array([[1.5, None]] * count, pa.list_(pa.float64())),
        lambda: pa.array([[i, i + 1] for i in range(count)], pa.list_(pa.int64(), 2)),
        lambda: pa.array([None if i % 2 else [None, "cat"] for i in range(count)]),
    ]
    return rng.choice(made)()


def _parquet(
    folder: Path, header: list[str], rows: list[list[str]], rng: random.Random, *, pictures: bool
) -> bytes:
    import pyarrow as pa  # noqa: PLC0415 - an extra
    import pyarrow.parquet as pq  # noqa: PLC0415 - an extra

    names, columns = [], []
    for at, name in enumerate(header):
        cells = [row[at] if at < len(row) else "" for row in rows]
        cells = [c.encode("utf-8", "replace").decode() for c in cells]
        odd = name != "file_name" and rng.random() < 0.4
        names.append(name)
        columns.append(_odd_column(pa, cells, rng) if odd else pa.array(cells, pa.string()))
    if pictures:
        found = [(folder / f"{i % PICTURES}.png").read_bytes() for i in range(len(rows))]
        held = [{"bytes": rng.choice((f, f, f, None, b"")), "path": "a"} for f in found]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        names.append("image")
        columns.append(pa.array(held, kind) if rng.random() < 0.7 else pa.array(found, pa.binary()))
    table = pa.Table.from_arrays(columns, names=names) if names else pa.table({"a": [1]})
    if rng.random() < 0.1:
        features = rng.choice(({"label": {"names": ["a"]}}, {"label": [{"names": 3}]}, {}, 3))
        told = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": told})
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=rng.choice((1, 5, 100)))
    return out.getvalue()
