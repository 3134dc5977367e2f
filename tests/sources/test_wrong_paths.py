"""Promises of `sources.wrong_paths`: a path that is no folder of images is called what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from finetune.records.errors import DataError
from finetune.sources import scan, wrong_paths


@pytest.mark.parametrize(
    ("name", "what", "way"),
    [
        ("labels.xlsx", "a list of a kind that is not read", "Save it as CSV"),
        ("pets.rar", "an archive of a kind", "Unpack it"),
        ("pets.7z", "an archive of a kind", "Unpack it"),
        ("cat.JPG", "one image", "finetune predict"),
        ("cat.heic", "one image", "finetune predict"),
        ("net.pth", "weights of a network", "--weights"),
        ("train.npz", "packed data", "Write its images into files"),
        ("notes", "is a file, not a folder", "one folder per class"),
    ],
)
def test_a_file_is_called_what_it_is(tmp_path: Path, name: str, what: str, way: str) -> None:
    """Each kind of file has its own message and one thing to try."""
    (tmp_path / name).write_bytes(b"x")

    with pytest.raises(DataError, match=what) as caught:
        scan.scan(tmp_path / name)

    assert name in caught.value.message
    assert way in caught.value.hint


@pytest.mark.parametrize("given", ["runs/one", "runs/one/model.safetensors", "runs/one/run.json"])
def test_a_run_is_no_data(tmp_path: Path, given: str) -> None:
    """A run, or a file of it, is named as one; the hint says how to use it."""
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    for name in ("run.json", "model.safetensors"):
        (run / name).write_bytes(b"{}")

    for ask in (scan.scan, lambda root: scan.scan_labelled(root, ("a", "b"))):
        with pytest.raises(DataError, match=r"run") as caught:
            ask(tmp_path / given)

        assert f"finetune predict IMAGE --run {run}" in caught.value.hint


def test_a_folder_of_runs_is_no_data(tmp_path: Path) -> None:
    """`runs` is no folder of images, finished or not."""
    for name, file in (("one", "run.json"), ("two.partial", "begun.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_bytes(b"{}")

    with pytest.raises(DataError, match="a folder of 2 runs") as caught:
        scan.scan(tmp_path)
    with pytest.raises(DataError, match="an unfinished training"):
        scan.scan(tmp_path / "two.partial")

    assert f"finetune runs {tmp_path}" in caught.value.hint


@pytest.mark.parametrize(
    ("given", "near"), [("leafs", "leaves"), ("Leaves", "leaves"), ("le", "leaves")]
)
def test_a_folder_that_is_not_there_has_a_near_name(tmp_path: Path, given: str, near: str) -> None:
    """A typing error is met with the folder that is there."""
    (tmp_path / near).mkdir()
    if (tmp_path / given).exists():
        pytest.skip("this system does not tell capitals apart")

    with pytest.raises(DataError, match=f"no '{given}' in") as caught:
        wrong_paths.require_folder(tmp_path / given)

    assert f"Is {tmp_path / near} meant?" in caught.value.hint


def test_the_first_missing_folder_is_named(tmp_path: Path) -> None:
    """Of a long path the part that fails is told; an address is told to be downloaded."""
    with pytest.raises(DataError, match=f"no 'a' in {tmp_path}"):
        wrong_paths.require_folder(tmp_path / "a" / "b" / "c")
    with pytest.raises(DataError, match="is an address"):
        wrong_paths.require_folder(Path("https://example.org/pets.zip"))


def test_a_folder_of_archives_points_to_them(tmp_path: Path) -> None:
    """What lies in a folder without images is counted, and the way to images said."""
    (tmp_path / "a.zip").write_bytes(b"x")

    with pytest.raises(DataError, match=r"left out are 1 \.zip") as caught:
        scan.scan(tmp_path)

    assert f"Give the file itself: {tmp_path / 'a.zip'}" in caught.value.hint
