"""Promises of what is given to `predict`: found one by one, in order, archives harmless."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from examples import lay
from helpers import SAMPLE

from finetune.pictures import decoding
from finetune.records.errors import DataError, ImageError, UsageError
from finetune.sources import archives, files, to_classify
from finetune.sources.archives import Found

LEAF = SAMPLE / "oak" / "000.jpg"


def names(*given: Path | str, listed: bytes = b"") -> list[str]:
    """The names of what is found, with a mark behind those that have a fault."""
    found = to_classify.stream([Path(g) for g in given], io.BytesIO(listed))
    return [f"{one.name}{'!' if one.fault else ''}" for one in found]


def in_tar(path: Path, **files_: bytes) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in files_.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_DOT_", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def in_zip(path: Path, names_: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names_.items():
            archive.writestr(name, content)
    return path


def test_a_folder_is_walked_in_the_order_of_its_list(tmp_path: Path) -> None:
    """One by one the same files come as in the list of all, links to folders once."""
    lay(tmp_path, "b/2.png", "b/10.png", "a.png", "b.png", "a/x/1.jpg", "note.txt", "c/.h.png")
    (tmp_path / "loop").symlink_to(tmp_path)

    assert names(tmp_path) == [str(p) for p in files.list_images([tmp_path]).files]
    assert len(names(tmp_path)) == 5


def test_a_pattern_stands_for_what_it_fits(tmp_path: Path, monkeypatch) -> None:
    """By name, in folders too; a file that is called so comes first; none at all is a fault."""
    lay(tmp_path, "a/1.jpg", "a/b/2.jpg", "3.jpg", "[x].jpg", "x.jpg")
    monkeypatch.chdir(tmp_path)

    assert names("**/*.jpg") == ["3.jpg", "[x].jpg", "a/1.jpg", "a/b/2.jpg", "x.jpg"]
    assert names("a*") == ["a/1.jpg", "a/b/2.jpg"]
    assert names("[x].jpg") == ["[x].jpg"]
    assert to_classify.count([Path("?.jpg"), Path("a")]) == 4
    with pytest.raises(DataError, match=r"nothing is called like the pattern \*\.png"):
        to_classify.count([Path("*.png")])


def test_a_list_has_lines_or_zero_bytes(tmp_path: Path, monkeypatch) -> None:
    """Names with blanks, line breaks and stray bytes, folders; what is not there is an answer."""
    lay(tmp_path, "a b.jpg", "c/1.jpg", "c/2.jpg", "x\ny.jpg", "docs/n.txt")
    monkeypatch.chdir(tmp_path)

    assert names("-", listed=b"a b.jpg\r\n\nc\ngone.jpg") == [
        *("a b.jpg", "c/1.jpg", "c/2.jpg", "gone.jpg")
    ]
    assert names("-", "a b.jpg", listed=b"x\ny.jpg\0\xff.jpg\0docs\0") == [
        *("x\ny.jpg", "\\udcff.jpg", "docs!", "a b.jpg")
    ]
    assert to_classify.count([Path("-")]) is None
    with pytest.raises(UsageError, match="- is there 2 times"):
        to_classify.count([Path("-"), Path("-")])


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tgz"])
def test_pictures_of_an_archive_are_those_of_its_folder(name: str, tmp_path: Path) -> None:
    """Read where they lie, in the archive's order, named after it, pixel for pixel the same."""
    kind = {"zip": "zip", "tar": "tar"}.get(name.partition(".")[2], "gztar")
    shutil.copytree(SAMPLE / "oak", tmp_path / "in" / "oak")
    lay(tmp_path, "in/.DS_Store", "in/__MACOSX/y.jpg", "in/notes.txt", "in/z.heic")
    made = Path(shutil.make_archive(str(tmp_path / "made"), kind, tmp_path / "in"))
    path = made.rename(tmp_path / name)
    tally = to_classify.Tally()

    found = list(to_classify.stream([path], tally=tally))

    good = [one for one in found if one.file]
    assert sorted(one.name for one in good) == [
        f"{path}/oak/{p.name}" for p in sorted((SAMPLE / "oak").iterdir())
    ]
    assert [one.name for one in found if one.fault] == [f"{path}/z.heic"]
    assert tally.others == 1
    for one in good[::10]:
        assert one.file is not None
        inner = tmp_path / "in" / one.name.removeprefix(f"{path}/")
        assert (decoding.decode(one.file, 32) == decoding.decode(inner, 32)).all()
    assert to_classify.count([path]) == (41 if name == "x.zip" else None)


def test_names_in_archives_lead_nowhere(tmp_path: Path) -> None:
    """Paths upward, absolute ones, drives and links: shown inside, none followed."""
    leaf = LEAF.read_bytes()
    zipped = in_zip(
        tmp_path / "a.zip", {"../../x.jpg": leaf, "/etc/y.jpg": leaf, "..\\w.jpg": leaf}
    )
    tarred = tmp_path / "b.tar"
    with tarfile.open(tarred, "w") as archive:
        for name, kind in (("l.jpg", tarfile.SYMTYPE), ("h.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        archive.add(LEAF, "../up.jpg")

    assert names(zipped) == [f"{zipped}/{n}" for n in ("x.jpg", "etc/y.jpg", "w.jpg")]
    assert names(tarred) == [f"{tarred}/up.jpg"]


def test_an_archive_that_unpacks_to_much_is_refused(tmp_path: Path, monkeypatch) -> None:
    """One file that is too large is named, the others are read; all together are bounded, too."""
    leaf = LEAF.read_bytes()
    monkeypatch.setattr(archives, "MOST_MEMBER", 100_000)
    content = {"big.jpg": bytes(100_001), "z.txt": bytes(100_001), "ok.jpg": leaf}
    large = in_zip(tmp_path / "large.zip", content)
    tarred = in_tar(tmp_path / "large.tar", big_DOT_jpg=bytes(100_001), ok_DOT_jpg=leaf)

    assert names(large) == [f"{large}/big.jpg!", f"{large}/ok.jpg"]
    assert names(tarred) == [f"{tarred}/big.jpg!", f"{tarred}/ok.jpg"]

    monkeypatch.setattr(archives, "FREE_BYTES", 0)
    bomb = in_zip(tmp_path / "bomb.zip", {f"{i}.jpg": bytes(90_000) for i in range(20)})
    packed = in_tar(tmp_path / "bomb.tgz", **{f"{i}_DOT_jpg": bytes(90_000) for i in range(20)})
    assert names(bomb) == [f"{bomb}!"]
    assert names(packed)[-1] == f"{packed}!"


def test_a_lie_about_a_size_is_found_out(tmp_path: Path, monkeypatch) -> None:
    """A file that is longer than its entry says is a fault of its own."""
    path = in_zip(tmp_path / "x.zip", {"a.jpg": bytes(5_000), "b.jpg": LEAF.read_bytes()})
    raw = path.read_bytes()
    path.write_bytes(raw.replace((5_000).to_bytes(4, "little"), (50).to_bytes(4, "little")))

    first, second = to_classify.stream([path])

    assert first.file is not None
    assert second.file is not None
    with pytest.raises(ImageError, match=r"x\.zip/a\.jpg: the archive is damaged there"):
        decoding.decode(first.file, 32)
    assert decoding.decode(second.file, 32).shape == (32, 32, 3)


def test_headers_of_a_tar_cannot_fill_the_memory(tmp_path: Path) -> None:
    """A name of a gigabyte of zeros, packed to a megabyte, ends the archive and costs no memory."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 200_000_000
    path = tmp_path / "x.tar.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(200):
            file.write(bytes(1_000_000))

    tracemalloc.start()
    (found,) = to_classify.stream([path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert "it is no archive" in found.fault
    assert peak < 20_000_000


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_a_damaged_archive_gives_what_it_has(name: str, tmp_path: Path) -> None:
    """Cut short, or none at all: what can be read is, and the archive is named with its fault."""
    content = {f"{i}.jpg": os.urandom(9_000) for i in range(8)}
    if name == "x.zip":
        path = in_zip(tmp_path / name, content)
    else:
        path = in_tar(tmp_path / name, **{n.replace(".", "_DOT_"): c for n, c in content.items()})
    whole = path.read_bytes()

    path.write_bytes(whole[: len(whole) // 2])
    found = names(path)
    assert found[-1] == f"{path}!"
    assert len(found) == 1 if name == "x.zip" else 3 < len(found) < 7
    path.write_bytes(b"no archive at all, but a text of more than a few letters" * 20)
    assert names(path) == [f"{path}!"]


def test_an_encrypted_file_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    path = in_zip(tmp_path / "x.zip", {"a.jpg": LEAF.read_bytes()})
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\1\2")
    raw[place + 8] |= 1
    path.write_bytes(raw)

    (found,) = to_classify.stream([path])

    assert found == Found(f"{path}/a.jpg", fault=found.fault)
    assert "it is encrypted: unpack the archive with its password" in found.fault
