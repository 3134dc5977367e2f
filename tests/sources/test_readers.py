"""Promises of `sources.readers`: the same pictures are the same data, however they are given."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from finetune.data import examination
from finetune.records.dataset import Dataset
from finetune.records.errors import DataError, UsageError
from finetune.records.options import DataOptions
from finetune.sources import containers, readers, shards

Rows = Sequence[tuple[str, str]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rows]:
    """A folder of two classes with eight small pictures, and its rows in an order of chance."""
    root = tmp_path_factory.mktemp("readers") / "pictures"
    rows = []
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for i in range(4):
            color = (40 * i, 200 if label == "cat" else 0, 90)
            Image.new("RGB", (12, 9 + i), color).save(root / label / f"{i}.png")
            rows.append((f"{label}/{i}.png", label))
    random.Random(0).shuffle(rows)
    return root, rows


def as_csv(root: Path, rows: Rows, place: Path) -> str:
    file = root / "labels.csv" if place == root else place / "labels.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([("image", "label"), *((str(root / p), c) for p, c in rows)])
    return str(file)


def as_jsonl(root: Path, rows: Rows, place: Path) -> str:
    lines = [json.dumps({"file_name": f"../pictures/{p}", "label": c}) for p, c in rows]
    (place / "labels.jsonl").write_text("\n".join(lines))
    return str(place / "labels.jsonl")


def as_zip(root: Path, rows: Rows, place: Path) -> str:
    with zipfile.ZipFile(place / "pictures.zip", "w") as out:
        for path, _ in rows:
            out.write(root / path, f"pictures/{path}")
    return str(place / "pictures.zip")


def as_tgz(root: Path, rows: Rows, place: Path) -> str:
    with tarfile.open(place / "pictures.tar.gz", "w:gz") as out:
        for path, _ in rows:
            out.add(root / path, path)
    return str(place / "pictures.tar.gz")


def as_shards(root: Path, rows: Rows, place: Path) -> str:
    for n in range(2):
        with tarfile.open(place / f"part-{n:03d}.tar", "w") as out:
            for path, label in rows[n::2]:
                out.add(root / path, path)
                said = tarfile.TarInfo(path.replace(".png", ".cls"))
                said.size = len(label)
                out.addfile(said, io.BytesIO(label.encode()))
    return str(place / "part-{000..001}.tar")


def as_parquet(root: Path, rows: Rows, place: Path) -> str:
    pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = sorted({c for _, c in rows})
    told = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
    table = pa.table(
        {
            "image": [{"bytes": (root / p).read_bytes(), "path": p} for p, _ in rows],
            "label": [names.index(c) for _, c in rows],
        }
    ).replace_schema_metadata({"huggingface": json.dumps(told)})
    parquet.write_table(table, place / "pictures.parquet", row_group_size=3)
    return str(place / "pictures.parquet")


def as_parquet_of_paths(root: Path, rows: Rows, place: Path) -> str:
    """As `datasets` writes pictures that it was not asked to embed: by their places alone."""
    pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pictures = [{"bytes": None, "path": str((root / p).absolute())} for p, _ in rows]
    table = pa.table({"image": pa.array(pictures, kind), "label": [c for _, c in rows]})
    pytest.importorskip("pyarrow.parquet").write_table(table, place / "placed.parquet")
    return str(place / "placed.parquet")


def as_saved(root: Path, rows: Rows, place: Path) -> str:
    pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    names = sorted({c for _, c in rows})
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    for split, some in (("train", rows),):
        folder = place / "saved" / split
        folder.mkdir(parents=True)
        table = pa.table(
            {
                "image": [{"bytes": (root / p).read_bytes(), "path": p} for p, _ in some],
                "label": [names.index(c) for _, c in some],
            }
        )
        with (
            pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as out,
            pa.ipc.new_stream(out, table.schema) as writer,
        ):
            writer.write_table(table, max_chunksize=3)
        (folder / "state.json").write_text("{}")
        (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return str(place / "saved" / "train")


def as_coco(root: Path, rows: Rows, place: Path) -> str:
    names = sorted({c for _, c in rows})
    told = {
        "images": [{"id": i, "file_name": p} for i, (p, _) in enumerate(rows)],
        "annotations": [
            {"image_id": i, "category_id": names.index(c)} for i, (_, c) in enumerate(rows)
        ],
        "categories": [{"id": i, "name": c} for i, c in enumerate(names)],
    }
    (root / "coco.json").write_text(json.dumps(told))
    return str(root / "coco.json")


def as_label_studio(root: Path, rows: Rows, place: Path) -> str:
    told = [
        {
            "data": {"image": f"/data/local-files/?d={p}"},
            "annotations": [{"result": [{"type": "choices", "value": {"choices": [c]}}]}],
        }
        for p, c in rows
    ]
    (root / "studio.json").write_text(json.dumps(told))
    return str(root / "studio.json")


WAYS = (
    *(as_csv, as_jsonl, as_zip, as_tgz, as_shards, as_parquet, as_parquet_of_paths),
    *(as_saved, as_coco, as_label_studio),
)


def essence(found: Dataset) -> list[tuple[int, str]]:
    return [(s.label, s.digest) for s in found.pool]


@pytest.mark.parametrize("way", WAYS, ids=lambda w: w.__name__)
def test_the_same_pictures_are_the_same_data(
    pictures: tuple[Path, Rows], tmp_path: Path, way: Callable[[Path, Rows, Path], str]
) -> None:
    """Classes, order, bytes and splits are those of the folder, and every path can be opened."""
    root, rows = pictures
    place = root.parent / way.__name__
    place.mkdir()

    given = way(root, rows, place)
    found, folder = readers.read(given), readers.read(str(root))
    splits = [
        examination.examine(DataOptions(root=of), 3, lambda *_: None).splits
        for of in (given, str(root))
    ]

    assert (found.classes, essence(found)) == (folder.classes, essence(folder))
    one, two = ([[s.digest for s in part] for part in (s.train, s.val, s.test)] for s in splits)
    assert one == two
    where = readers.root_of(given)
    assert all((where / s.path).read_bytes()[:4] == b"\x89PNG" for s in found.pool)
    assert any(f.code == "FT150" for f in found.findings)


def test_a_table_names_splits_and_groups(pictures: tuple[Path, Rows], tmp_path: Path) -> None:
    """Ready-made splits are used as they stand, and what a group names stays together."""
    root, rows = pictures
    lines = ["file_name,label,split,patient"]
    for i, (path, label) in enumerate(sorted(rows)):
        split = ("train", "train", "valid", "test")[i % 4]
        lines.append(f"{root / path},{label},{split},p{i // 2}")
    (tmp_path / "list.csv").write_text("\n".join(lines))

    found = readers.read(str(tmp_path / "list.csv"))

    assert found.layout == "ready"
    assert [len(part or ()) for part in (found.pool, found.val, found.test)] == [4, 2, 2]
    assert {s.group for s in found.pool} == {"p0", "p2"}
    assert all(s.digest == "" for s in found.test or ())


def test_metadata_beside_pictures_goes_before_their_folders(
    pictures: tuple[Path, Rows], tmp_path: Path
) -> None:
    """What Hugging Face's imagefolder calls metadata.csv names the labels, and that is told."""
    root, rows = pictures
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    lines = [f"{p},{'odd' if int(p[4]) % 2 else 'even'}" for p, _ in rows]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))

    found = readers.read(str(tmp_path))

    assert found.classes == ("even", "odd")
    assert any("metadata.csv" in f.title for f in found.findings)


def test_a_table_beside_class_folders_is_left_alone(
    pictures: tuple[Path, Rows], tmp_path: Path
) -> None:
    """A table of another name beside classes may be anything: the folders count."""
    root = pictures[0]
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "notes.csv").write_text("file_name,label\ncat/0.png,zebra\n")

    assert readers.read(str(tmp_path)).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("file_name,label", "{p},{c}"),
        ("Image;Class;Notes", "{p};{c};a, b"),
        ("\ufeffpath\tlabel", "{p}\t{c}"),
        ("filename,species", '"{p}","{c}"'),
        ("path,label", "{w},{c}"),
        ("id,label", "{s},{c}"),
        (None, "{p},{c}"),
    ],
)
def test_tables_are_read_as_people_write_them(
    pictures: tuple[Path, Rows], tmp_path: Path, head: str | None, line: str
) -> None:
    """Delimiters, quotes, marks, paths of Windows, names without endings, no first line."""
    root, rows = pictures
    (tmp_path / "images").mkdir()
    for path, _ in rows:
        (tmp_path / "images" / path.replace("/", "_")).write_bytes((root / path).read_bytes())
    lines = [] if head is None else [head]
    for path, label in rows:
        name = path.replace("/", "_")
        words = {"p": f"images/{name}", "w": f"images\\{name}", "s": name[:-4], "c": label}
        lines.append(line.format(**words))
    (tmp_path / "list.csv").write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")

    found = readers.read(str(tmp_path / "list.csv"))

    assert found.classes == ("cat", "dog")
    assert len(found.pool) == len(rows)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("file_name,label\n", "has no rows"),
        ("file_name\ncat/0.png\n", "no column of labels"),
        ("kind,label\n1,cat\n", "no column of paths"),
        ("file_name,label\nnowhere.png,cat\n", r"row 2, column 'file_name': no file at"),
        ("file_name,label\n,cat\n", r"row 2, column 'file_name': no path"),
        ("file_name,label\ncat/0.png,cat,more\n", r"row 2 has 3 cells"),
        ('file_name,label\n"cat/0.png,cat\n', r"row 2|row 3|no file|one label|no label"),
        ("file_name,label,split\ncat/0.png,cat,july\n", r"row 2, column 'split': 'july' is no"),
        ("file_name,label,label\ncat/0.png,cat,dog\n", "two columns called 'label'"),
        ("file_name,label\ncat/0.png,cat\ndog/0.png,cat\n", "one label only, 'cat'"),
    ],
)
def test_faults_of_a_table_name_row_and_column(
    pictures: tuple[Path, Rows], text: str, told: str
) -> None:
    """The message says where the fault is, and the hint one thing to try."""
    file = pictures[0] / "faulty.csv"
    file.write_text(text)

    with pytest.raises(DataError, match=told) as caught:
        readers.read(str(file))

    assert caught.value.hint
    file.unlink()


def test_rows_that_cannot_count_are_told(pictures: tuple[Path, Rows]) -> None:
    """Without a label, without a picture, twice, under two labels: left out and named."""
    root, rows = pictures
    extra = ["cat/0.png,cat", "gone.png,cat", "dog/1.png,", "dog/2.png,cat"]
    file = root / "list.csv"
    file.write_text("\n".join(["file_name,label", *(f"{p},{c}" for p, c in sorted(rows)), *extra]))

    found = readers.read(str(file))

    codes = {f.code: f.paths for f in found.findings}
    assert codes["FT157"] == ("dog/1.png",)
    assert codes["FT158"] == ("gone.png",)
    assert codes["FT159"] == ("cat/0.png",)
    assert codes["FT160"] == ("dog/2.png",)
    assert len(found.pool) == len(rows) - 1
    with pytest.raises(DataError, match=r"gone.png \(no such file\)"):
        examination.examine(DataOptions(root=str(file), on_bad_image="error"), 0, lambda *_: None)
    file.unlink()


def test_labels_in_names_and_a_list_do_not_go_together(pictures: tuple[Path, Rows]) -> None:
    """--label-from is refused where a list has labels of its own."""
    root, rows = pictures
    given = as_csv(root, rows, root)

    with pytest.raises(UsageError, match="has its own"):
        readers.read(given, label_from=__import__("re").compile("x"))
    Path(given).unlink()


def test_an_archive_cannot_lead_out_of_itself(tmp_path: Path) -> None:
    """Names with `..`, absolute names and links are not read; what they hide is not there."""
    with tarfile.open(tmp_path / "bad.tar", "w") as out:
        for name in ("../up.png", "/abs.png", "a/ok.png"):
            info = tarfile.TarInfo(name)
            info.size = 3
            out.addfile(info, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("a/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        out.addfile(link)

    root = containers.opened(tmp_path / "bad.tar")

    assert [p.name for p in (root / "a").iterdir()] == ["ok.png"]
    assert (root / "a" / "ok.png").read_bytes() == b"abc"
    assert not (root / "link.png").exists()
    with pytest.raises(OSError, match="no such file"):
        (root / ".." / "up.png").open("rb")


def test_a_packed_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compressed tar that unpacks to far more than its size ends, and leaves nothing behind."""
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as out:
        info = tarfile.TarInfo("zeros.png")
        info.size = 30_000_000
        out.addfile(info, io.BytesIO(bytes(info.size)))

    with pytest.raises(DataError, match="unpacks to more than"):
        containers.opened(tmp_path / "bomb.tar.gz")


def test_damaged_archives_are_faults_of_the_user(tmp_path: Path) -> None:
    """A zip or tar that is cut, or is none, is named with one thing to try."""
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as out:
        out.writestr("a/1.png", b"x" * 1000)
    content = (tmp_path / "whole.zip").read_bytes()
    for name, some in (("cut.zip", content[:200]), ("not.tar", b"hello"), ("none.zip", b"")):
        (tmp_path / name).write_bytes(some)

        with pytest.raises(DataError, match=name):
            readers.read(str(tmp_path / name))


def test_shards_in_braces_are_spelled_out() -> None:
    """`name-{008..011}.tar` keeps the zeros in front."""
    found = shards.shards_of(Path("x/name-{008..011}.tar"))

    assert [p.name for p in found] == [f"name-{n:03d}.tar" for n in (8, 9, 10, 11)]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut, doubled or put in."""
    out = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            out[at:at] = rng.choice(
                [b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"{", b"\xef\xbb\xbf"]
            )
        elif kind == 1:
            del out[at : at + rng.randint(1, 20)]
        elif kind == 2:
            out[at:at] = out[at : at + 30]
        else:
            out[at:at] = rng.randbytes(3)
    return bytes(out)


@pytest.mark.parametrize("count", [70, pytest.param(10_000, marks=pytest.mark.slow)])
def test_malformed_lists_are_faults_of_the_user(
    pictures: tuple[Path, Rows], tmp_path: Path, count: int
) -> None:
    """Whatever stands in a list or an archive, it is read or refused with a message and a hint."""
    root, rows = pictures
    ways = (as_csv, as_jsonl, as_zip, as_tgz, as_parquet, as_coco, as_label_studio)
    whole = [Path(way(root, rows, tmp_path)) for way in ways]
    contents = [file.read_bytes() for file in whole]
    rng, refused = random.Random(1), list[DataError | OSError]()

    for number in range(count):
        file = whole[number % len(whole)]
        file.write_bytes(mutated(contents[number % len(whole)], rng))
        try:
            found = readers.read(str(file))
            where = readers.root_of(str(file))
            for sample in found.pool[:2]:
                (where / sample.path).read_bytes()
        except (DataError, OSError) as fault:
            refused.append(fault)

    assert all(isinstance(fault, OSError) or fault.hint for fault in refused)
    assert 0.1 * count < len(refused) < count
    for file in whole:
        file.unlink()
