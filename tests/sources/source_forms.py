"""The same pictures with labels or numbers in every form that they can be given in."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from finetune.records.choices import OtherTarget

Cell = list[str] | float


class Given(NamedTuple):
    """Pictures below `root`, and for each its name and what is learned of it."""

    root: Path
    kind: OtherTarget
    rows: Sequence[tuple[str, Cell]]

    @property
    def head(self) -> str:
        """What the column is called."""
        return "labels" if self.kind == "labels" else "target"


def drawn(root: Path, kind: OtherTarget, count: int = 40) -> Given:
    """Pictures of 24 pixels with bars of three colors that some have, or of one of some width."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(5)
    rows: list[tuple[str, Cell]] = []
    for i in range(count):
        pixels = rng.integers(80, 120, (24, 24, 3), dtype=np.uint8)
        said: Cell
        if kind == "labels":
            said = [name for k, name in enumerate(("bär", "cat", "dog")) if rng.random() < 0.5]
            for name in said:
                k = ("bär", "cat", "dog").index(name)
                pixels[2 + 7 * k : 7 + 7 * k, :, k] = 240
        else:
            said = round(float(rng.uniform(2, 22)), 3)
            pixels[:, : round(said)] = 230
        Image.fromarray(pixels).save(root / f"{i:03d}.png")
        rows.append((f"{i:03d}.png", said))
    order = rng.permutation(count)
    return Given(root, kind, [rows[i] for i in order])


def text(cell: Cell) -> str:
    """A cell as CSV has it."""
    return ";".join(cell) if isinstance(cell, list) else str(cell)


def csv_text(given: Given, delimiter: str = ",", before: str = "") -> str:
    """The table as text, with something before every path."""
    out = io.StringIO()
    rows = [(before + path, text(cell)) for path, cell in given.rows]
    csv.writer(out, delimiter=delimiter).writerows([("file_name", given.head), *rows])
    return out.getvalue()


def as_csv(given: Given, place: Path) -> str:
    """With paths relative to the table, which lies in another folder than the pictures."""
    below = os.path.relpath(given.root, place)
    (place / "list.csv").write_text(csv_text(given, before=f"{below}/"), "utf-8")
    return str(place / "list.csv")


def as_tsv(given: Given, place: Path) -> str:
    """Of Windows: a mark in front, tabs, absolute paths."""
    content = csv_text(given, "\t", before=f"{given.root}/")
    (place / "list.tsv").write_text(content, "utf-8-sig")
    return str(place / "list.tsv")


def as_jsonl(given: Given, place: Path) -> str:
    """With lists of labels, or numbers."""
    rows = [
        json.dumps({"file_name": str(given.root / path), given.head: cell}, ensure_ascii=False)
        for path, cell in given.rows
    ]
    (place / "list.jsonl").write_text("\n".join(rows), "utf-8")
    return str(place / "list.jsonl")


def as_metadata(given: Given, place: Path) -> str:
    """A folder as Hugging Face's imagefolder has it."""
    for path, _ in given.rows:
        (place / path).write_bytes((given.root / path).read_bytes())
    (place / "metadata.csv").write_text(csv_text(given), "utf-8")
    return str(place)


def as_folder(given: Given, place: Path) -> str:
    """A folder of pictures with a table of any name, which names them without their endings."""
    for path, _ in given.rows:
        (place / path).write_bytes((given.root / path).read_bytes())
    (place / "answers.csv").write_text(csv_text(given).replace(".png", ""), "utf-8")
    return str(place)


def as_zip(given: Given, place: Path) -> str:
    """The pictures with a table in one archive."""
    with zipfile.ZipFile(place / "all.zip", "w") as out:
        for path, _ in given.rows:
            out.write(given.root / path, f"images/{path}")
        out.writestr("labels.csv", csv_text(given, ";" if given.kind == "number" else ","))
    return str(place / "all.zip")


def as_zip_of_parquet(given: Given, place: Path) -> str:
    """The same where the table in it is Parquet."""
    file = Path(as_parquet_of_paths(given, place, before=""))
    with zipfile.ZipFile(place / "all.zip", "w") as out:
        for path, _ in given.rows:
            out.write(given.root / path, path)
        out.write(file, "metadata.parquet")
    return str(place / "all.zip")


def as_tar(given: Given, place: Path, mode: str = "w") -> str:
    """A tar with a metadata file, plain or packed."""
    file = place / ("all.tar" if mode == "w" else "all.tar.gz")
    with tarfile.open(file, mode) as out:  # type: ignore[call-overload]
        for path, _ in given.rows:
            out.add(given.root / path, f"set/{path}")
        _put(out, "set/metadata.csv", csv_text(given))
    return str(file)


def as_tgz(given: Given, place: Path) -> str:
    """The same packed."""
    return as_tar(given, place, "w:gz")


def _put(out: tarfile.TarFile, name: str, content: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content.encode())
    out.addfile(info, io.BytesIO(content.encode()))


def as_shards(given: Given, place: Path) -> str:
    """Three shards of WebDataset with JSON beside each picture."""
    for n in range(3):
        with tarfile.open(place / f"part-{n:03d}.tar", "w") as out:
            for path, cell in given.rows[n::3]:
                out.add(given.root / path, path)
                _put(out, path.replace(".png", ".json"), json.dumps({given.head: cell}))
    return str(place / "part-{000..002}.tar")


def as_shards_of_text(given: Given, place: Path) -> str:
    """A folder of one shard with text beside each picture."""
    with tarfile.open(place / "part.tar", "w") as out:
        for path, cell in given.rows:
            out.add(given.root / path, path)
            _put(out, path.replace(".png", ".txt"), text(cell) + "\n")
    return str(place)


def _arrow() -> Any:
    return pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")


def as_parquet(given: Given, place: Path) -> str:
    """With the pictures in it, numbers in 32 bits as most data sets have them."""
    pa, parquet = _arrow(), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": (given.root / p).read_bytes(), "path": p} for p, _ in given.rows]
    kind = pa.list_(pa.string()) if given.kind == "labels" else pa.float32()
    cells = pa.array([cell for _, cell in given.rows], kind)
    table = pa.table({"image": images, given.head: cells})
    parquet.write_table(table, place / "all.parquet", row_group_size=7)
    return str(place / "all.parquet")


def as_parquet_of_paths(given: Given, place: Path, before: str | None = None) -> str:
    """A table of paths."""
    pa, parquet = _arrow(), pytest.importorskip("pyarrow.parquet")
    start = f"{given.root}/" if before is None else before
    paths = [start + p for p, _ in given.rows]
    table = pa.table({"file_name": paths, given.head: [cell for _, cell in given.rows]})
    parquet.write_table(table, place / "paths.parquet")
    return str(place / "paths.parquet")


def as_saved(given: Given, place: Path) -> str:
    """What `save_to_disk` of `datasets` writes, labels as numbers of a `ClassLabel`."""
    pa = _arrow()
    names = sorted({n for _, cell in given.rows if isinstance(cell, list) for n in cell})
    cells = [
        [names.index(n) for n in cell] if isinstance(cell, list) else cell for _, cell in given.rows
    ]
    one: dict[str, Any] = {"names": names, "_type": "ClassLabel"}
    several = {"feature": one, "_type": "List"}
    number = {"dtype": "float64", "_type": "Value"}
    told = {given.head: several if given.kind == "labels" else number, "image": {"_type": "Image"}}
    images = [{"bytes": (given.root / p).read_bytes(), "path": p} for p, _ in given.rows]
    table = pa.table({"image": images, given.head: cells})
    folder = place / "saved"
    folder.mkdir()
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as out,
        pa.ipc.new_stream(out, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=9)
    (folder / "state.json").write_text("{}")
    (folder / "dataset_info.json").write_text(json.dumps({"features": told}))
    return str(folder)


def as_coco(given: Given, place: Path) -> str:
    """Categories of pictures; a number is the name of one."""
    said = [cell if isinstance(cell, list) else [str(cell)] for _, cell in given.rows]
    names = sorted({name for cell in said for name in cell})
    told = {
        "images": [{"id": i, "file_name": p} for i, (p, _) in enumerate(given.rows)],
        "annotations": [
            {"image_id": i, "category_id": names.index(name)}
            for i, cell in enumerate(said)
            for name in cell
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
    }
    (place / "images").symlink_to(given.root)
    (place / "coco.json").write_text(json.dumps(told))
    return str(place / "coco.json")


def as_label_studio(given: Given, place: Path) -> str:
    """Choices of a task, or the number that was put in."""

    def result(cell: Cell) -> dict[str, Any]:
        if isinstance(cell, list):
            return {"type": "choices", "from_name": "what", "value": {"choices": cell}}
        return {"type": "number", "from_name": "width", "value": {"number": cell}}

    told = [
        {
            "data": {"image": f"/data/local-files/?d={path}"},
            "annotations": [{"result": [result(cell)] if cell else []}],
        }
        for path, cell in given.rows
    ]
    (place / "images").symlink_to(given.root)
    (place / "studio.json").write_text(json.dumps(told))
    return str(place / "studio.json")


FORMS: tuple[Callable[[Given, Path], str], ...] = (
    *(
        as_csv,
        as_tsv,
        as_jsonl,
        as_metadata,
        as_folder,
        as_zip,
        as_zip_of_parquet,
        as_tar,
        as_tgz,
        as_shards,
    ),
    *(as_shards_of_text, as_parquet, as_parquet_of_paths, as_saved, as_coco, as_label_studio),
)
