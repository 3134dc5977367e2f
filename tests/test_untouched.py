"""No command changes, adds or touches anything in the user's folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import SAMPLE
from PIL import Image

TINY = ("--backbone", "test_resnet", "--weights", "random")


def state(root: Path) -> str:
    """One hash of all names, bytes, links, rights and times below a folder."""
    found = hashlib.sha256()
    for path in sorted([root, *root.rglob("*")], key=os.fsencode):
        facts = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        line = (os.fsencode(path), content, facts.st_mode, facts.st_mtime_ns)
        found.update(repr(line).encode())
    return found.hexdigest()


@pytest.fixture
def folder(image_folder, tmp_path: Path) -> Iterator[Path]:
    """A data set with dirt of each kind, which nobody may write to (root may all the same)."""
    root = image_folder({"a": 14, "b": 14}, size=(64, 48))
    (root / "a" / "empty.png").write_bytes(b"")
    (root / "a" / ".DS_Store").write_bytes(b"x")
    (root / "b" / "notes.txt").write_text("x")
    (root / "b" / "dead.png").symlink_to("nowhere")
    with Image.open(root / "a" / "0000.png") as image:
        image.save(root / "b" / "near copy.jpg")
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    root.chmod(0o555)
    yield root
    for path in [root, *root.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)


def test_no_command_touches_the_folder(
    run_cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, bytes, rights and times are the same after every command that reads a data set."""
    monkeypatch.chdir(tmp_path)
    before = state(folder)

    codes = [
        run_cli("check", folder).code,
        run_cli("recommend", folder, *TINY).code,
        run_cli("train", folder, "--strategy", "linear-probe", "--out", "run", *TINY).code,
        run_cli("evaluate", folder, "--run", "run").code,
        run_cli("predict", folder, "--run", "run").code,  # 3: one image cannot be read
    ]

    assert codes == [0, 0, 0, 0, 3]
    assert state(folder) == before


@pytest.mark.parametrize(
    ("data", "out"),
    [
        (".", None),
        ("../images", None),
        ("../link", "run"),
        (".", "../link/run"),
        (".", "new/../a/run"),
        (".", "../images"),
        (".", "../photos/run"),
        ("missing", "missing/run"),
    ],
    ids=str,
)
def test_no_run_is_put_into_the_folder(
    run_cli, image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, out
) -> None:
    """By default, by --out or through a link: refused with exit code 2, nothing written."""
    folder = image_folder(root=tmp_path / "images")
    (tmp_path / "link").symlink_to(folder)
    image_folder({"c": 3}, root=tmp_path / "photos" / "deep")
    (folder / "c").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(folder)
    before = state(tmp_path)

    done = run_cli("train", data, *(() if out is None else ("--out", out)), *TINY)

    assert done.code == 2
    assert "lies in the data folder" in done.err
    assert "--out" in done.err
    assert state(tmp_path) == before


@pytest.mark.slow
def test_tuning_touches_the_folder_as_little(
    run_cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same of the commands that tune."""
    monkeypatch.chdir(tmp_path)
    before = state(folder)
    short = ("--strategy", "deep", "--epochs", 1, "--image-size", 32)

    assert run_cli("train", folder, "--out", "run", *short, *TINY).code == 0
    assert run_cli("compare", folder, *TINY).code == 0
    assert state(folder) == before


def test_the_hash_sees_any_change(tmp_path: Path) -> None:
    """A new file, another byte and a new time each give another hash."""
    root = shutil.copytree(SAMPLE / "oak", tmp_path / "oak")
    states = {state(root)}

    (root / "new").touch()
    states.add(state(root))
    (root / "new").write_bytes(b"x")
    states.add(state(root))
    os.utime(root / "new", (0, 0))
    states.add(state(root))

    assert len(states) == 4
