"""Promises of `finetune.data`: what counts as an image of a class, and which split it falls in."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune import data, disk
from finetune.errors import DataError, UsageError
from finetune.records import Dataset, Sample, Splits, to_json


def lay(root: Path, *names: str) -> Path:
    """Write a file for each name, its content its name: `scan` decodes nothing."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def found(dataset: Dataset) -> dict[str, set[str]]:
    return {f.code: set(f.paths) for f in dataset.findings}


def names(samples: Iterable[Sample] | None) -> set[str]:
    assert samples is not None
    return {s.path for s in samples}


def sample(path: str, label: int, content: object) -> Sample:
    return Sample(path, label, hashlib.sha256(str(content).encode()).hexdigest())


def plain(samples: Iterable[Sample]) -> Dataset:
    pool = tuple(samples)
    classes = tuple(f"c{i}" for i in range(1 + max((s.label for s in pool), default=0)))
    return Dataset("root", classes, "plain", pool, None, None, ())


def many(per_class: int, classes: int = 2, salt: str = "") -> list[Sample]:
    """Samples of `classes` classes, all with different bytes."""
    return [
        sample(f"c{c}/{salt}{i}.png", c, f"{salt}-{c}-{i}")
        for c in range(classes)
        for i in range(per_class)
    ]


def cut(
    dataset: Dataset, *, seed: int = 0, val: float = 0.2, test: float = 0.2, cap: int | None = None
) -> Splits:
    return data.split(dataset, seed=seed, val_fraction=val, test_fraction=test, max_per_class=cap)


# --- scan: a plain set ----------------------------------------------------------------------------


def test_class_is_the_first_level_folder(tmp_path: Path) -> None:
    """A first-level folder is a class; its images carry its index and their path below the root."""
    root = lay(tmp_path, "dog/1.jpg", "cat/2.png", "cat/3.png")

    dataset = data.scan(root)

    assert dataset.classes == ("cat", "dog")
    assert [(s.path, s.label) for s in dataset.pool] == [
        ("cat/2.png", 0),
        ("cat/3.png", 0),
        ("dog/1.jpg", 1),
    ]
    assert (dataset.layout, dataset.val, dataset.test) == ("plain", None, None)
    assert dataset.findings == ()


def test_more_classes_than_a_run_may_have_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could be trained but not read again is not trained."""
    monkeypatch.setattr(data, "MOST_CLASSES", 2)
    lay(tmp_path, "a/1.png", "b/1.png")
    assert data.scan(tmp_path).classes == ("a", "b")
    lay(tmp_path, "c/1.png")

    with pytest.raises(DataError, match="3 class folders, more than 2"):
        data.scan(tmp_path)


def test_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    """A sample's digest is the SHA-256 of its file's bytes."""
    root = lay(tmp_path, "a/1.png", "b/2.png")

    dataset = data.scan(root)

    assert dataset.pool[0].digest == hashlib.sha256(b"a/1.png").hexdigest()


@pytest.mark.parametrize("suffix", [".JPG", ".Jpeg", ".PNG", ".tiff", ".WEBP", ".bmp", ".gif"])
def test_suffix_counts_in_any_case(tmp_path: Path, suffix: str) -> None:
    """Cameras write .JPG: an image suffix counts whatever its case."""
    root = lay(tmp_path, f"a/1{suffix}", f"b/2{suffix}")

    dataset = data.scan(root)

    assert names(dataset.pool) == {f"a/1{suffix}", f"b/2{suffix}"}


def test_nested_images_belong_to_the_first_level_and_are_reported(tmp_path: Path) -> None:
    """Images in folders below a class folder count for that class, and FT106 says so."""
    root = lay(tmp_path, "a/1.png", "a/more/deep/2.png", "b/3.png")

    dataset = data.scan(root)

    assert dataset.classes == ("a", "b")
    assert [s.label for s in dataset.pool] == [0, 0, 1]
    assert found(dataset) == {"FT106": {"a/more/deep/2.png"}}


def test_hidden_and_system_files_are_left_out_and_reported(tmp_path: Path) -> None:
    """What systems and tools leave behind is no image and no class; FT103 lists it."""
    hidden = {"a/.DS_Store", "a/Thumbs.db", "b/._2.png", "desktop.ini", ".hidden", "__MACOSX"}
    root = lay(tmp_path, "a/1.png", "b/2.png", *hidden - {".hidden", "__MACOSX"})
    lay(root, ".hidden/3.png", "__MACOSX/a/1.png", "a/.cache/4.png")

    dataset = data.scan(root)

    assert names(dataset.pool) == {"a/1.png", "b/2.png"}
    assert found(dataset) == {"FT103": hidden | {"a/.cache"}}


def test_files_that_are_no_images_are_left_out_and_reported(tmp_path: Path) -> None:
    """A text file among the images is no fault; FT104 lists it."""
    root = lay(tmp_path, "a/1.png", "b/2.png", "a/labels.csv", "README")

    dataset = data.scan(root)

    assert names(dataset.pool) == {"a/1.png", "b/2.png"}
    assert found(dataset) == {"FT104": {"a/labels.csv", "README"}}


def test_empty_class_folder_is_left_out_and_reported(tmp_path: Path) -> None:
    """A class folder without images is no class; FT107 names it."""
    root = lay(tmp_path, "a/1.png", "b/2.png", "text/notes.txt")
    (root / "empty").mkdir()

    dataset = data.scan(root)

    assert dataset.classes == ("a", "b")
    assert found(dataset)["FT107"] == {"empty", "text"}


def test_loose_images_are_left_out_and_reported(tmp_path: Path) -> None:
    """An image beside the class folders has no label; FT105 names it."""
    root = lay(tmp_path, "a/1.png", "b/2.png", "loose.JPG")

    dataset = data.scan(root)

    assert names(dataset.pool) == {"a/1.png", "b/2.png"}
    assert found(dataset) == {"FT105": {"loose.JPG"}}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ((), "found none"),
        (("a/1.png", "a/2.png"), "found only 'a'"),
        (("1.png", "2.png"), "2 images outside any class folder"),
        (("a/1.txt", "b/2.txt"), "found none"),
    ],
)
def test_fewer_than_two_classes_is_a_fault_with_a_hint(
    tmp_path: Path, files: tuple[str, ...], expected: str
) -> None:
    """One class teaches nothing: the fault says what was found and how the folder should look."""
    root = lay(tmp_path, *files)

    with pytest.raises(DataError, match=expected) as caught:
        data.scan(root)

    assert str(root) in caught.value.message
    assert f"{root}/cat/1.jpg" in caught.value.hint


def test_missing_folder_is_a_fault(tmp_path: Path) -> None:
    """A path that is not there, or is a file, is a fault that names it."""
    lay(tmp_path, "file.png")

    for path in (tmp_path / "nowhere", tmp_path / "file.png"):
        with pytest.raises(DataError, match=path.name):
            data.scan(path)


def test_file_that_cannot_be_read_is_a_fault_naming_it(tmp_path: Path) -> None:
    """A file whose bytes cannot be had is named."""
    with pytest.raises(DataError, match=r"gone\.png"):
        data.digest_file(tmp_path / "gone.png")


def test_class_named_train_beside_others_is_a_plain_set(tmp_path: Path) -> None:
    """Vehicles have a class `train`: without class folders inside, it is a class."""
    root = lay(tmp_path, "train/1.png", "car/2.png", "test/3.png")

    dataset = data.scan(root)

    assert dataset.layout == "plain"
    assert dataset.classes == ("car", "test", "train")


def test_link_that_leads_back_ends(tmp_path: Path) -> None:
    """A link to a folder above neither hangs the scan nor counts images twice."""
    root = lay(tmp_path, "a/1.png", "a/deep/2.png", "b/3.png")
    (root / "a" / "deep" / "again").symlink_to(root / "a", target_is_directory=True)

    dataset = data.scan(root)

    assert names(dataset.pool) == {"a/1.png", "a/deep/2.png", "b/3.png"}


def test_linked_class_folder_counts(tmp_path: Path) -> None:
    """A class folder may be a link to a folder elsewhere."""
    elsewhere = lay(tmp_path / "elsewhere", "1.png", "2.png")
    root = lay(tmp_path / "data", "a/3.png")
    (root / "b").symlink_to(elsewhere, target_is_directory=True)

    dataset = data.scan(root)

    assert names(dataset.pool) == {"a/3.png", "b/1.png", "b/2.png"}


@pytest.mark.parametrize("name", ["with space.png", "🌷 tulpe.png", "line\nbreak.png", "ünï.png"])
def test_odd_names_work(tmp_path: Path, name: str) -> None:
    """Spaces, emoji and line breaks are fine in file and class names, and in JSON."""
    root = lay(tmp_path, f"a/{name}", f"c {name[:2]}/1.png")

    dataset = data.scan(root)

    assert names(dataset.pool) == {f"a/{name}", f"c {name[:2]}/1.png"}
    assert to_json(dataset)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_name_that_is_not_utf8_is_left_out_and_reported(tmp_path: Path) -> None:
    """Such a name cannot be written to JSON: FT108 lists it with the bad byte spelt out."""
    root = lay(tmp_path, "a/1.png", "b/2.png")
    Path(os.fsdecode(os.fsencode(root / "a") + b"/caf\xe9.png")).write_bytes(b"x")

    dataset = data.scan(root)

    assert names(dataset.pool) == {"a/1.png", "b/2.png"}
    assert found(dataset) == {"FT108": {r"a/caf\udce9.png"}}
    assert to_json(dataset)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("name", [b"\xff.png", b"a/.h\xff", b".h\xff", b"c\xff/1.png", b"\xff.txt"])
def test_findings_can_be_written_as_json_whatever_the_names(tmp_path: Path, name: bytes) -> None:
    """A name that is not UTF-8 reaches no record, wherever it stands."""
    root = lay(tmp_path, "a/1.png", "b/2.png")
    path = Path(os.fsdecode(os.fsencode(root) + b"/" + name))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")

    assert to_json(data.scan(root))


def test_broken_link_does_not_stop_the_scan(tmp_path: Path) -> None:
    """A link to nowhere is left out, and FT109 names it."""
    root = lay(tmp_path, "a/1.png", "b/2.png")
    (root / "a" / "dead.png").symlink_to("nowhere.png")

    dataset = data.scan(root)

    assert names(dataset.pool) == {"a/1.png", "b/2.png"}
    assert found(dataset) == {"FT109": {"a/dead.png"}}


@pytest.mark.parametrize("suffix", [".heic", ".HEIF", ".cr2", ".psd", ".svg"])
def test_pictures_of_kinds_not_read_here_are_a_warning(tmp_path: Path, suffix: str) -> None:
    """A phone's HEIC is no text file: FT117 says that pictures are missing."""
    root = lay(tmp_path, "a/1.png", "b/2.png", f"a/3{suffix}")

    dataset = data.scan(root)

    assert names(dataset.pool) == {"a/1.png", "b/2.png"}
    assert found(dataset) == {"FT117": {f"a/3{suffix}"}}
    assert dataset.findings[0].severity == "warning"


def test_a_link_to_itself_does_not_stop_the_scan(tmp_path: Path) -> None:
    """A file or folder that links to itself is not followed for ever; FT109 names the file."""
    root = lay(tmp_path, "a/1.png", "b/2.png")
    (root / "a" / "loop.png").symlink_to("loop.png")
    (root / "b" / "self").symlink_to(root / "b", target_is_directory=True)

    dataset = data.scan(root)

    assert names(dataset.pool) == {"a/1.png", "b/2.png"}
    assert found(dataset) == {"FT109": {"a/loop.png"}}


def test_a_folder_that_may_not_be_listed_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data set's own folder must be readable; the fault names it."""
    root = lay(tmp_path, "a/1.png", "b/2.png")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)

    with pytest.raises(DataError, match=f"cannot read {root}: Permission denied"):
        data.scan(root)


def test_split_folders_that_differ_in_case_are_a_fault(tmp_path: Path) -> None:
    """Train/ beside train/ would lose one of them without a word."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "Train/a/3.png")

    with pytest.raises(DataError, match="both Train/ and train/"):
        data.scan(root)


def test_images_of_a_group_are_on_one_side() -> None:
    """A group is not divided, and keeps its side when images join it."""
    samples = [replace(s, group=f"group {i % 12}") for i, s in enumerate(many(36))]
    extra = [replace(s, group="group 3") for s in many(5, salt="new")]

    before, after = cut(plain(samples)), cut(plain(samples + extra))

    for splits in (before, after):
        groups = [{s.group for s in part} for part in (splits.train, splits.val, splits.test)]
        assert all(groups)
        assert sum(map(len, groups)) == 12
    assert names(before.test) <= names(after.test)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_pipe_does_not_hang_the_scan(tmp_path: Path) -> None:
    """A named pipe under the name of an image is no image; FT109 names it."""
    lay(tmp_path, "a/1.png", "b/2.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    script = (
        "import sys; from pathlib import Path; from finetune import data; "
        "print(*(f.code for f in data.scan(Path(sys.argv[1])).findings))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        timeout=30,
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout.split() == ["FT109"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_pipes_outside_of_classes_do_not_hang_a_check(tmp_path: Path) -> None:
    """What stands beside the class folders is not waited for either, whatever it is called."""
    lay(tmp_path, "a/1.png", "b/2.png")
    pipes = {"pipe.png", "pipe.heic", "pipe", "a/pipe.txt", "b/pipe.heic"}
    for name in pipes:
        os.mkfifo(tmp_path / name)

    done = subprocess.run(
        [sys.executable, "-m", "finetune", "check", str(tmp_path), "--json"],
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )

    checks = {c["code"]: c for c in json.loads(done.stdout)["checks"]}
    assert set(checks["FT109"]["paths"]) == pipes


def test_scan_and_split_leave_the_folder_as_it_was(tmp_path: Path) -> None:
    """Nothing is written into the user's folder: names, bytes and times stay."""

    def state() -> list[tuple[str, bytes, int]]:
        return [
            (str(p), p.read_bytes() if p.is_file() else b"", p.stat().st_mtime_ns)
            for p in sorted([tmp_path, *tmp_path.rglob("*")])
        ]

    root = lay(tmp_path, "a/1.png", "a/deep/2.png", "b/3.png", ".hidden/4.png", "b/notes.txt")
    before = state()

    cut(data.scan(root))

    assert state() == before


def test_a_class_folder_that_may_not_be_read_is_no_missing_class(
    tmp_path: Path, closed_folder
) -> None:
    """Where one class is left as another's folder is closed, the fault says which."""
    root = lay(tmp_path, "daisy/1.png", "roses/2.png")
    closed_folder(root / "roses")

    with pytest.raises(DataError, match="only 'daisy', and roses may not be read") as caught:
        data.scan(root)

    assert "right to read" in caught.value.hint


# --- scan: ready-made splits ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_ready_made_splits_are_recognised(tmp_path: Path, name: str) -> None:
    """Folders train/, test/ and one of three names for validation are splits, not classes."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", f"{name}/a/3.png", "test/b/4.png")

    dataset = data.scan(root)

    assert dataset.layout == "ready"
    assert dataset.classes == ("a", "b")
    assert names(dataset.pool) == {"train/a/1.png", "train/b/2.png"}
    assert [(s.path, s.label) for s in dataset.val or ()] == [(f"{name}/a/3.png", 0)]
    assert [(s.path, s.label) for s in dataset.test or ()] == [("test/b/4.png", 1)]
    assert dataset.findings == ()


def test_ready_made_train_may_stand_alone(tmp_path: Path) -> None:
    """Without val/ and test/ these are cut from train/."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png")

    dataset = data.scan(root)

    assert (dataset.layout, dataset.val, dataset.test) == ("ready", None, None)


@pytest.mark.parametrize("splits", [("Train", "Test"), ("TRAIN", "TEST")])
def test_split_folders_count_in_any_case(tmp_path: Path, splits: tuple[str, str]) -> None:
    """Train/ and Test/ are splits, not the two classes of a very odd data set."""
    root = lay(tmp_path, *(f"{s}/{c}/{i}.png" for s in splits for c in "ab" for i in range(3)))

    dataset = data.scan(root)

    assert (dataset.layout, dataset.classes) == ("ready", ("a", "b"))
    assert {p.split("/")[0] for p in names(dataset.test)} == {splits[1]}


@pytest.mark.parametrize(
    ("train", "test"), [("Training", "Testing"), ("training", "test"), ("TRAIN", "TESTING")]
)
def test_training_and_testing_are_splits(tmp_path: Path, train: str, test: str) -> None:
    """Popular sets call their splits so; they are no two classes, here or in `evaluate`."""
    root = lay(tmp_path, f"{train}/a/1.png", f"{train}/b/2.png", f"{test}/a/3.png")

    dataset = data.scan(root)

    assert (dataset.layout, dataset.classes) == ("ready", ("a", "b"))
    assert names(dataset.test or ()) == {f"{test}/a/3.png"}
    assert not dataset.findings
    assert names(data.scan_labelled(root, ("a", "b")).pool) == {f"{test}/a/3.png"}


def test_training_beside_train_is_no_split(tmp_path: Path) -> None:
    """Where train/ and test/ are there, folders of like names are told as not used, as before."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "training/a/3.png", "testing/a/4.png")
    lay(root, "test/a/5.png")

    dataset = data.scan(root)

    assert names(dataset.pool) == {"train/a/1.png", "train/b/2.png"}
    assert [f.code for f in dataset.findings] == ["FT102"]


@pytest.mark.parametrize("part", ["test", "val"])
def test_empty_ready_made_split_is_reported(tmp_path: Path, part: str) -> None:
    """An empty test/ or val/ switches testing or validation off, and FT101 says so."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png")
    (root / part).mkdir()

    dataset = data.scan(root)

    assert getattr(dataset, part) == ()
    assert found(dataset) == {"FT101": {part}}


def test_two_validation_folders_are_a_fault(tmp_path: Path) -> None:
    """Which of val/ and valid/ is meant cannot be guessed."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "valid/a/4.png")

    with pytest.raises(DataError, match="val, valid"):
        data.scan(root)


@pytest.mark.parametrize("part", ["val", "test"])
def test_class_that_train_lacks_is_a_fault(tmp_path: Path, part: str) -> None:
    """A class that only val/ or test/ has could never be predicted; the fault names it."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", f"{part}/zebra/3.png")

    with pytest.raises(DataError, match="zebra") as caught:
        data.scan(root)

    assert part in caught.value.message


def test_folders_beside_ready_made_splits_are_reported(tmp_path: Path) -> None:
    """A folder beside train/ is not used, and FT102 says so; hidden ones are not worth a word."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "extra/3.png", ".git/config")

    dataset = data.scan(root)

    assert found(dataset) == {"FT102": {"extra"}}


def test_findings_cover_every_ready_made_split(tmp_path: Path) -> None:
    """What is odd in val/ and test/ is reported like what is odd in train/."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "test/a/4.png")
    lay(root, "val/loose.png", "test/a/deep/5.png")

    dataset = data.scan(root)

    assert found(dataset) == {"FT105": {"val/loose.png"}, "FT106": {"test/a/deep/5.png"}}


def test_bytes_of_a_ready_made_test_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scanning opens no file of test/: its digests stay empty until the end."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "test/a/4.png")
    opened = []
    real_open = Path.open

    def record(path: Path, *args: object, **options: object) -> object:
        opened.append(path.relative_to(root).parts[0])
        return real_open(path, *args, **options)

    monkeypatch.setattr(Path, "open", record)
    dataset = data.scan(root)

    assert Counter(opened) == {"train": 2, "val": 1}
    assert [s.digest for s in dataset.test or ()] == [""]
    assert all(s.digest for s in dataset.pool + (dataset.val or ()))


def test_ready_made_splits_are_kept(tmp_path: Path) -> None:
    """Whatever the fractions, the images of train/, val/ and test/ stay where they are."""
    root = lay(
        tmp_path,
        *(f"{p}/{c}/{i}.png" for p in ("train", "test", "val") for c in "ab" for i in range(5)),
    )

    splits = cut(data.scan(root), seed=7, val=0.5, test=0.5)

    assert {p.split("/")[0] for p in names(splits.train)} == {"train"}
    assert {p.split("/")[0] for p in names(splits.val)} == {"val"}
    assert {p.split("/")[0] for p in names(splits.test)} == {"test"}
    assert len(splits.train) == len(splits.val) == len(splits.test) == 10


def test_validation_is_cut_from_a_ready_made_train(tmp_path: Path) -> None:
    """With test/ but no val/, validation comes out of train/ and test/ stays."""
    root = lay(
        tmp_path, *(f"{p}/{c}/{i}.png" for p in ("train", "test") for c in "ab" for i in range(20))
    )

    splits = cut(data.scan(root))

    assert len(splits.test) == 40
    assert len(splits.train) + len(splits.val) == 40
    assert 0 < len(splits.val) < 20
    assert all(p.startswith("train/") for p in names(splits.train + splits.val))


def test_a_test_made_here_holds_no_copy_of_a_ready_made_validation_image(tmp_path: Path) -> None:
    """With val/ but no test/, an image whose copy lies in val/ stays with those trained on."""
    root = lay(
        tmp_path, *(f"{p}/{c}/{i}.png" for p in ("train", "val") for c in "ab" for i in range(20))
    )
    for label in "ab":
        for i in range(10):
            copy = (root / "val" / label / f"{i}.png").read_bytes()
            (root / "train" / label / f"copy{i}.png").write_bytes(copy)

    splits = cut(data.scan(root), test=0.5)

    assert splits.test
    assert not {s.digest for s in splits.test} & {s.digest for s in splits.fitting}
    assert {f"train/{c}/copy{i}.png" for c in "ab" for i in range(10)} <= names(splits.train)


# --- scan_labelled and list_images ----------------------------------------------------------------


def test_labelled_images_carry_the_runs_class_order(tmp_path: Path) -> None:
    """Labels are those of the run, in its order, whichever of its classes the folder holds."""
    root = lay(tmp_path, "b/1.png", "c/2.png")

    dataset = data.scan_labelled(root, ("c", "a", "b"))

    assert {s.path: s.label for s in dataset.pool} == {"b/1.png": 2, "c/2.png": 0}
    assert dataset.classes == ("c", "a", "b")
    assert all(s.digest for s in dataset.pool)


def test_labelled_images_come_from_test_where_there_is_one(tmp_path: Path) -> None:
    """Of ready-made splits the test images are measured; a class named test is not one."""
    root = lay(tmp_path, "train/a/1.png", "test/a/2.png", "test/b/3.png")
    vehicles = lay(tmp_path / "vehicles", "test/4.png", "car/5.png")

    ready = data.scan_labelled(root, ("a", "b"))
    of_class = data.scan_labelled(vehicles, ("car", "test"))

    assert names(ready.pool) == {"test/a/2.png", "test/b/3.png"}
    assert names(of_class.pool) == {"test/4.png", "car/5.png"}


@pytest.mark.parametrize("test", ["Test", "TEST"])
def test_the_test_is_found_in_any_case(tmp_path: Path, test: str) -> None:
    """Splits are recognised as training recognises them."""
    root = lay(tmp_path, "Train/a/1.png", f"{test}/a/2.png", "Val/a/3.png")

    assert names(data.scan_labelled(root, ("a", "b")).pool) == {f"{test}/a/2.png"}


@pytest.mark.parametrize("folders", [("train", "val"), ("Train", "Valid"), ("train",)])
def test_splits_without_a_test_are_not_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    """Which of them to measure on has to be said; the fault shows the command."""
    root = lay(tmp_path / "my data", *(f"{name}/a/{name}.png" for name in folders))

    with pytest.raises(DataError, match="but no test/") as caught:
        data.scan_labelled(root, ("a", "b"))

    assert f"finetune evaluate '{root / folders[-1]}'" in caught.value.hint
    assert data.scan_labelled(root / folders[-1], ("a", "b")).pool


def test_labelled_images_of_which_none_may_be_read(tmp_path: Path, monkeypatch) -> None:
    """Where no file's bytes can be had, that is the fault which is told."""
    root = lay(tmp_path, "a/1.png", "b/2.png")

    def refuse(_path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk, "digest_file", refuse)

    with pytest.raises(DataError, match="none of the 2 images"):
        data.scan_labelled(root, ("a", "b"))


@pytest.mark.parametrize(
    ("files", "expected"),
    [(("a/1.png", "zebra/2.png"), "unknown classes: zebra"), ((), "has no images")],
)
def test_labelled_images_of_other_classes_are_a_fault(
    tmp_path: Path, files: tuple[str, ...], expected: str
) -> None:
    """A class the run does not know, or no image at all, is a fault that lists what it knows."""
    root = lay(tmp_path, *files)

    with pytest.raises(DataError, match=expected) as caught:
        data.scan_labelled(root, ("a", "b"))

    assert "2 classes: a, b" in caught.value.hint


def test_missing_labelled_folder_is_a_fault(tmp_path: Path) -> None:
    """A folder that is not there is named."""
    with pytest.raises(DataError, match="nowhere"):
        data.scan_labelled(tmp_path / "nowhere", ("a", "b"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_list_images_never_waits_for_a_pipe_in_a_folder(tmp_path: Path) -> None:
    """A pipe that lies in a folder is a fault by name; one that is named directly is meant."""
    root = lay(tmp_path, "x/a.png")
    os.mkfifo(root / "x" / "pipe.png")
    (root / "x" / "dead.png").symlink_to("nowhere")

    listed = data.list_images([root / "x", root / "x" / "pipe.png"])

    assert listed.files == [root / "x" / n for n in ("a.png", "dead.png", "pipe.png", "pipe.png")]
    assert set(listed.faults) == {2}
    assert "pipe.png" in listed.faults[2]


def test_list_images_gives_files_that_may_not_be_looked_at(tmp_path: Path, monkeypatch) -> None:
    """Where the system refuses to say what a name is, reading it will tell why."""

    def refuse(*_: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        listed = data.list_images([tmp_path / "closed" / "x.png"])

    assert listed.files == [tmp_path / "closed" / "x.png"]
    assert not listed.faults


def test_list_images_keeps_the_order_asked_for(tmp_path: Path) -> None:
    """Files come as given, whatever their suffix and there or not; folders in name order."""
    root = lay(tmp_path, "x/b.png", "x/a/c.JPG", "x/.hidden.png", "x/notes.txt", "one.dat")

    listed = data.list_images([root / "one.dat", root / "gone.png", root / "x"])

    assert listed.files == [root / n for n in ("one.dat", "gone.png", "x/a/c.JPG", "x/b.png")]
    assert not listed.faults
    assert listed.others == 1


def test_list_images_names_what_it_cannot_read(tmp_path: Path, closed_folder) -> None:
    """Pictures of foreign kinds and closed folders stand in their places, each with its fault."""
    root = lay(tmp_path, "x/a.png", "x/b.HEIC", "x/c.png", "x/locked/d.png", "y/e.dng")
    closed_folder(root / "x" / "locked")

    listed = data.list_images([root / "x", root / "y", root / "x" / "locked"])

    names = ("x/a.png", "x/b.HEIC", "x/c.png", "x/locked", "y/e.dng", "x/locked")
    assert listed.files == [root / n for n in names]
    assert set(listed.faults) == {1, 3, 4, 5}
    assert "b.HEIC: HEIC is a format that is not read" in listed.faults[1]
    assert f"cannot list folder {root / 'x' / 'locked'}" in listed.faults[3]


def test_folder_without_images_is_a_fault(tmp_path: Path) -> None:
    """Asked for the images of a folder that has none, the fault names it."""
    root = lay(tmp_path, "docs/notes.txt")

    with pytest.raises(DataError, match="docs"):
        data.list_images([root / "docs"])


# --- split ----------------------------------------------------------------------------------------

# Few contents for many files: exact copies, also under two labels, are the rule here.
crowded = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), max_size=60).map(
    lambda pairs: plain(
        sample(f"c{label}/{i}.png", label, content) for i, (label, content) in enumerate(pairs)
    )
)
fraction = st.floats(0.0, 0.9)


@given(crowded, st.integers(0, 99), fraction, fraction)
def test_split_is_disjoint_and_complete(
    dataset: Dataset, seed: int, val: float, test: float
) -> None:
    """Every image is in exactly one split."""
    splits = cut(dataset, seed=seed, val=val, test=test)

    assert Counter(splits.train + splits.val + splits.test) == Counter(dataset.pool)


@given(crowded, st.integers(0, 99), fraction, fraction)
def test_split_keeps_copies_on_one_side(
    dataset: Dataset, seed: int, val: float, test: float
) -> None:
    """Exact copies fall in the same split, whatever their names and labels."""
    splits = cut(dataset, seed=seed, val=val, test=test)

    sides = [{s.digest for s in part} for part in (splits.train, splits.val, splits.test)]
    assert sum(map(len, sides)) == len(set.union(*sides))


@given(crowded, st.integers(0, 99), st.randoms())
def test_split_does_not_depend_on_the_order_of_files(
    dataset: Dataset, seed: int, shuffler: random.Random
) -> None:
    """The same seed gives the same split, in whatever order the files of a class come."""
    pool = sorted(dataset.pool, key=lambda s: s.label)
    shuffled = list(pool)
    shuffler.shuffle(shuffled)

    one = cut(plain(pool), seed=seed)
    two = cut(plain(sorted(shuffled, key=lambda s: s.label)), seed=seed)

    assert names(one.train) == names(two.train)
    assert names(one.val) == names(two.val)


@given(st.integers(1, 30), st.integers(0, 99), fraction, fraction)
def test_every_class_keeps_a_training_image(
    per_class: int, seed: int, val: float, test: float
) -> None:
    """However large the shares, no class loses all its images to validation and test."""
    splits = cut(plain(many(per_class, classes=3)), seed=seed, val=val, test=test)

    assert {s.label for s in splits.train} == {0, 1, 2}


# Each content may stand under any label, so that some classes consist of other classes' images.
crossed = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=12).map(
    lambda pairs: plain(sample(f"c{a}/{i}.png", a, b) for i, (a, b) in enumerate(sorted(pairs)))
)


@given(crossed, st.integers(0, 99))
def test_every_class_keeps_a_training_image_with_crossed_copies(
    dataset: Dataset, seed: int
) -> None:
    """An image under two labels costs no class its last training image."""
    splits = cut(dataset, seed=seed)

    assert {s.label for s in splits.train} == {s.label for s in dataset.pool}


@pytest.mark.parametrize("per_class", [3, 4, 5, 6, 10])
def test_every_class_of_three_is_in_every_split(per_class: int) -> None:
    """A class of three images is trained on, validated and tested, whatever the seed."""
    for seed in range(50):
        splits = cut(plain(many(per_class, classes=5)), seed=seed)

        for part in (splits.train, splits.val, splits.test):
            assert {s.label for s in part} == {0, 1, 2, 3, 4}


def test_another_seed_is_another_split() -> None:
    """The seed decides who is tested."""
    dataset = plain(many(30))

    tested = {frozenset(names(cut(dataset, seed=seed).test)) for seed in range(10)}

    assert len(tested) == 10


def test_adding_files_moves_no_other_file() -> None:
    """A split is stable while a data set grows: nobody moves from test to train."""
    small = many(30)

    before = cut(plain(small))
    after = cut(plain(small + many(40, salt="new")))

    for name in ("train", "val", "test"):
        assert names(getattr(before, name)) <= names(getattr(after, name))


def test_copies_of_real_files_stay_together(tmp_path: Path) -> None:
    """Ten files with the same bytes under ten names in two classes go one way."""
    root = lay(tmp_path, *(f"{c}/{i}.png" for c in "ab" for i in range(30)))
    for i in range(5):
        (root / "a" / f"copy{i}.png").write_bytes(b"same")
        (root / "b" / f"other{i}.jpg").write_bytes(b"same")

    splits = cut(data.scan(root))

    counts = [
        sum("copy" in p or "other" in p for p in names(part))
        for part in (splits.train, splits.val, splits.test)
    ]
    assert sorted(counts) == [0, 0, 10]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_shares_are_near_the_fractions(share: float) -> None:
    """In each class of 2000, test is near its share of all, validation of what is left."""
    splits = cut(plain(many(2000)), val=share, test=share)

    for label in (0, 1):
        test = sum(s.label == label for s in splits.test)
        val = sum(s.label == label for s in splits.val)
        # three standard deviations of a share among at least 1000 images are under 0.05
        assert test / 2000 == pytest.approx(share, abs=0.05)
        assert val / (2000 - test) == pytest.approx(share, abs=0.05)


def test_cap_leaves_the_test_images_alone() -> None:
    """--max-per-class caps train and validation together and changes no test image."""
    dataset = plain(many(100))

    free, capped = cut(dataset), cut(dataset, cap=20)

    assert capped.test == free.test
    assert Counter(s.label for s in capped.fitting) == {0: 20, 1: 20}
    assert names(capped.fitting) <= names(free.fitting)
    assert len(capped.val) > 0


def test_smaller_cap_is_part_of_the_larger() -> None:
    """A learning curve adds images: the 10 kept under one cap are among the 40 of another."""
    dataset = plain(many(100))

    few, more = cut(dataset, cap=10), cut(dataset, cap=40)

    assert names(few.fitting) < names(more.fitting)


def test_cap_larger_than_a_class_changes_nothing() -> None:
    """A cap that no class reaches leaves the split as it is."""
    dataset = plain(many(10))

    assert cut(dataset, cap=50) == cut(dataset)


@pytest.mark.parametrize("cap", [-1, 0, 1])
def test_cap_below_two_is_a_usage_error(cap: int) -> None:
    """One image of a class can be trained on or validated, not both."""
    with pytest.raises(UsageError, match=f"--max-per-class is {cap}"):
        cut(plain(many(10)), cap=cap)


@pytest.mark.parametrize("value", [-0.1, 0.91, 1.0, 20.0, float("nan")])
@pytest.mark.parametrize("option", ["val", "test"])
def test_fraction_out_of_range_is_a_usage_error(option: str, value: float) -> None:
    """A share must leave something to train on; the fault names option and value."""
    with pytest.raises(UsageError, match=f"--{option}-fraction is {value}"):
        cut(plain(many(10)), **{option: value})  # type: ignore[arg-type]


def test_fraction_of_zero_gives_no_split() -> None:
    """--test-fraction 0 tests nothing, --val-fraction 0 validates nothing."""
    splits = cut(plain(many(50)), val=0.0, test=0.0)

    assert (splits.val, splits.test) == ((), ())
    assert len(splits.train) == 100


# --- fingerprint, copies, leaks -------------------------------------------------------------------


def test_fingerprint_knows_content_not_order() -> None:
    """The same images in another order have the same fingerprint; any change has another."""
    samples = many(5)
    relabelled = [Sample(s.path, 1 - s.label, s.digest) for s in samples]

    same = data.fingerprint(samples)

    assert data.fingerprint(samples[::-1]) == same
    assert data.fingerprint(samples[1:]) != same
    assert data.fingerprint(samples + samples[:1]) != same
    assert data.fingerprint([*samples[1:], sample("c0/0.png", 0, "edited")]) != same
    assert data.fingerprint(relabelled) != same


def test_fingerprint_does_not_know_names() -> None:
    """A renamed file is the same image."""
    samples = many(5)

    renamed = [Sample(f"elsewhere/{i}.jpg", s.label, s.digest) for i, s in enumerate(samples)]

    assert data.fingerprint(renamed) == data.fingerprint(samples)


def test_copies_within_a_class_are_noted() -> None:
    """FT110 counts the superfluous copies and lists all files of each group."""
    samples = [*many(3), sample("c0/copy.png", 0, "-0-0"), sample("c0/third.png", 0, "-0-0")]

    (finding,) = data.copies(samples)

    assert (finding.code, finding.severity) == ("FT110", "note")
    assert finding.title.startswith("2 exact copies")
    assert set(finding.paths) == {"c0/0.png", "c0/copy.png", "c0/third.png"}


def test_copies_across_ready_made_splits_are_not_said_to_stay_together(tmp_path: Path) -> None:
    """FT110's title holds as well where train/ and val/ come ready-made and share an image."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "val/b/3.png")
    (root / "val/b/3.png").write_bytes((root / "train/b/2.png").read_bytes())
    dataset = data.scan(root)

    (finding,) = data.copies(dataset.pool + (dataset.val or ()))

    assert finding.title == "1 exact copies"


def test_image_under_two_labels_is_a_warning() -> None:
    """FT111 lists an image that two classes claim: one of the labels is wrong."""
    samples = [*many(3), sample("c1/again.png", 1, "-0-2")]

    findings = {f.code: f for f in data.copies(samples)}

    assert set(findings) == {"FT110", "FT111"}
    assert findings["FT111"].severity == "warning"
    assert set(findings["FT111"].paths) == {"c0/2.png", "c1/again.png"}


def test_no_copies_no_finding() -> None:
    """Different images give no finding about copies."""
    assert data.copies(many(20)) == ()


def test_test_images_among_the_fitted_are_a_warning() -> None:
    """FT112 lists the test images whose exact copies were trained on."""
    fitted = many(5)
    test = [sample("test/x.png", 1, "-0-3"), sample("test/y.png", 1, "new")]

    (finding,) = data.leaks(fitted, test)

    assert (finding.code, finding.severity) == ("FT112", "warning")
    assert finding.paths == ("test/x.png",)


def test_no_leak_no_finding() -> None:
    """Disjoint sets give no finding about leaks."""
    assert data.leaks(many(5), many(5, salt="other")) == ()
