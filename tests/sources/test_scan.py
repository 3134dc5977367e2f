"""Promises of `sources.scan`: what is an image of a class, and which split is ready-made."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from examples import lay

from finetune.records.codec import to_json
from finetune.records.dataset import Dataset, Sample
from finetune.records.errors import DataError
from finetune.sources import scan
from finetune.storage import atomic_files


def found(dataset: Dataset) -> dict[str, set[str]]:
    return {f.code: set(f.paths) for f in dataset.findings}


def names(samples: Iterable[Sample] | None) -> set[str]:
    assert samples is not None
    return {s.path for s in samples}


# --- scan: a plain set ----------------------------------------------------------------------------


def test_class_is_the_first_level_folder(tmp_path: Path) -> None:
    """A first-level folder is a class; its images carry its index and their path below the root."""
    root = lay(tmp_path, "dog/1.jpg", "cat/2.png", "cat/3.png")

    dataset = scan.scan(root)

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
    monkeypatch.setattr(scan, "MOST_CLASSES", 2)
    lay(tmp_path, "a/1.png", "b/1.png")
    assert scan.scan(tmp_path).classes == ("a", "b")
    lay(tmp_path, "c/1.png")

    with pytest.raises(DataError, match="3 class folders, more than 2"):
        scan.scan(tmp_path)


def test_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    """A sample's digest is the SHA-256 of its file's bytes."""
    root = lay(tmp_path, "a/1.png", "b/2.png")

    dataset = scan.scan(root)

    assert dataset.pool[0].digest == hashlib.sha256(b"a/1.png").hexdigest()


@pytest.mark.parametrize("suffix", [".JPG", ".Jpeg", ".PNG", ".tiff", ".WEBP", ".bmp", ".gif"])
def test_suffix_counts_in_any_case(tmp_path: Path, suffix: str) -> None:
    """Cameras write .JPG: an image suffix counts whatever its case."""
    root = lay(tmp_path, f"a/1{suffix}", f"b/2{suffix}")

    dataset = scan.scan(root)

    assert names(dataset.pool) == {f"a/1{suffix}", f"b/2{suffix}"}


def test_nested_images_belong_to_the_first_level_and_are_reported(tmp_path: Path) -> None:
    """Images in folders below a class folder count for that class, and FT106 says so."""
    root = lay(tmp_path, "a/1.png", "a/more/deep/2.png", "b/3.png")

    dataset = scan.scan(root)

    assert dataset.classes == ("a", "b")
    assert [s.label for s in dataset.pool] == [0, 0, 1]
    assert found(dataset) == {"FT106": {"a/more/deep/2.png"}}


def test_hidden_and_system_files_are_left_out_and_reported(tmp_path: Path) -> None:
    """What systems and tools leave behind is no image and no class; FT103 lists it."""
    hidden = {"a/.DS_Store", "a/Thumbs.db", "b/._2.png", "desktop.ini", ".hidden", "__MACOSX"}
    root = lay(tmp_path, "a/1.png", "b/2.png", *hidden - {".hidden", "__MACOSX"})
    lay(root, ".hidden/3.png", "__MACOSX/a/1.png", "a/.cache/4.png")

    dataset = scan.scan(root)

    assert names(dataset.pool) == {"a/1.png", "b/2.png"}
    assert found(dataset) == {"FT103": hidden | {"a/.cache"}}


def test_files_that_are_no_images_are_left_out_and_reported(tmp_path: Path) -> None:
    """A text file among the images is no fault; FT104 lists it."""
    root = lay(tmp_path, "a/1.png", "b/2.png", "a/labels.csv", "README")

    dataset = scan.scan(root)

    assert names(dataset.pool) == {"a/1.png", "b/2.png"}
    assert found(dataset) == {"FT104": {"a/labels.csv", "README"}}


def test_empty_class_folder_is_left_out_and_reported(tmp_path: Path) -> None:
    """A class folder without images is no class; FT107 names it."""
    root = lay(tmp_path, "a/1.png", "b/2.png", "text/notes.txt")
    (root / "empty").mkdir()

    dataset = scan.scan(root)

    assert dataset.classes == ("a", "b")
    assert found(dataset)["FT107"] == {"empty", "text"}


def test_loose_images_are_left_out_and_reported(tmp_path: Path) -> None:
    """An image beside the class folders has no label; FT105 names it."""
    root = lay(tmp_path, "a/1.png", "b/2.png", "loose.JPG")

    dataset = scan.scan(root)

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
        scan.scan(root)

    assert str(root) in caught.value.message
    assert f"{root}/cat/1.jpg" in caught.value.hint


def test_missing_folder_is_a_fault(tmp_path: Path) -> None:
    """A path that is not there, or is a file, is a fault that names it."""
    lay(tmp_path, "file.png")

    for path in (tmp_path / "nowhere", tmp_path / "file.png"):
        with pytest.raises(DataError, match=path.name):
            scan.scan(path)


def test_class_named_train_beside_others_is_a_plain_set(tmp_path: Path) -> None:
    """Vehicles have a class `train`: without class folders inside, it is a class."""
    root = lay(tmp_path, "train/1.png", "car/2.png", "bus/3.png")

    dataset = scan.scan(root)

    assert dataset.layout == "plain"
    assert dataset.classes == ("bus", "car", "train")
    assert found(dataset) == {"FT151": {"train"}}


def test_link_that_leads_back_ends(tmp_path: Path) -> None:
    """A link to a folder above neither hangs the scan nor counts images twice."""
    root = lay(tmp_path, "a/1.png", "a/deep/2.png", "b/3.png")
    (root / "a" / "deep" / "again").symlink_to(root / "a", target_is_directory=True)

    dataset = scan.scan(root)

    assert names(dataset.pool) == {"a/1.png", "a/deep/2.png", "b/3.png"}


def test_linked_class_folder_counts(tmp_path: Path) -> None:
    """A class folder may be a link to a folder elsewhere."""
    elsewhere = lay(tmp_path / "elsewhere", "1.png", "2.png")
    root = lay(tmp_path / "data", "a/3.png")
    (root / "b").symlink_to(elsewhere, target_is_directory=True)

    dataset = scan.scan(root)

    assert names(dataset.pool) == {"a/3.png", "b/1.png", "b/2.png"}


@pytest.mark.parametrize("name", ["with space.png", "🌷 tulpe.png", "line\nbreak.png", "ünï.png"])
def test_odd_names_work(tmp_path: Path, name: str) -> None:
    """Spaces, emoji and line breaks are fine in file and class names, and in JSON."""
    root = lay(tmp_path, f"a/{name}", f"c {name[:2]}/1.png")

    dataset = scan.scan(root)

    assert names(dataset.pool) == {f"a/{name}", f"c {name[:2]}/1.png"}
    assert to_json(dataset)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_name_that_is_not_utf8_is_left_out_and_reported(tmp_path: Path) -> None:
    """Such a name cannot be written to JSON: FT108 lists it with the bad byte spelt out."""
    root = lay(tmp_path, "a/1.png", "b/2.png")
    Path(os.fsdecode(os.fsencode(root / "a") + b"/caf\xe9.png")).write_bytes(b"x")

    dataset = scan.scan(root)

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

    assert to_json(scan.scan(root))


def test_broken_link_does_not_stop_the_scan(tmp_path: Path) -> None:
    """A link to nowhere is left out, and FT109 names it."""
    root = lay(tmp_path, "a/1.png", "b/2.png")
    (root / "a" / "dead.png").symlink_to("nowhere.png")

    dataset = scan.scan(root)

    assert names(dataset.pool) == {"a/1.png", "b/2.png"}
    assert found(dataset) == {"FT109": {"a/dead.png"}}


@pytest.mark.parametrize("suffix", [".heic", ".HEIF", ".cr2", ".psd", ".svg"])
def test_pictures_of_kinds_not_read_here_are_a_warning(tmp_path: Path, suffix: str) -> None:
    """A phone's HEIC is no text file: FT117 says that pictures are missing."""
    root = lay(tmp_path, "a/1.png", "b/2.png", f"a/3{suffix}")

    dataset = scan.scan(root)

    assert names(dataset.pool) == {"a/1.png", "b/2.png"}
    assert found(dataset) == {"FT117": {f"a/3{suffix}"}}
    assert dataset.findings[0].severity == "warning"


def test_a_link_to_itself_does_not_stop_the_scan(tmp_path: Path) -> None:
    """A file or folder that links to itself is not followed for ever; FT109 names the file."""
    root = lay(tmp_path, "a/1.png", "b/2.png")
    (root / "a" / "loop.png").symlink_to("loop.png")
    (root / "b" / "self").symlink_to(root / "b", target_is_directory=True)

    dataset = scan.scan(root)

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
        scan.scan(root)


def test_split_folders_that_differ_in_case_are_a_fault(tmp_path: Path) -> None:
    """Train/ beside train/ would lose one of them without a word."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "Train/a/3.png")

    with pytest.raises(DataError, match="both Train/ and train/"):
        scan.scan(root)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_pipe_does_not_hang_the_scan(tmp_path: Path) -> None:
    """A named pipe under the name of an image is no image; FT109 names it."""
    lay(tmp_path, "a/1.png", "b/2.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    script = (
        "import sys; from pathlib import Path; from finetune.sources import scan; "
        "print(*(f.code for f in scan.scan(Path(sys.argv[1])).findings))"
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


def test_scan_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    """Nothing is written into the user's folder: names, bytes and times stay."""

    def state() -> list[tuple[str, bytes, int]]:
        return [
            (str(p), p.read_bytes() if p.is_file() else b"", p.stat().st_mtime_ns)
            for p in sorted([tmp_path, *tmp_path.rglob("*")])
        ]

    root = lay(tmp_path, "a/1.png", "a/deep/2.png", "b/3.png", ".hidden/4.png", "b/notes.txt")
    before = state()

    scan.scan(root)

    assert state() == before


def test_a_class_folder_that_may_not_be_read_is_no_missing_class(
    tmp_path: Path, closed_folder
) -> None:
    """Where one class is left as another's folder is closed, the fault says which."""
    root = lay(tmp_path, "daisy/1.png", "roses/2.png")
    closed_folder(root / "roses")

    with pytest.raises(DataError, match="only 'daisy', and roses may not be read") as caught:
        scan.scan(root)

    assert "permissions" in caught.value.hint


# --- scan: ready-made splits ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_ready_made_splits_are_recognised(tmp_path: Path, name: str) -> None:
    """Folders train/, test/ and one of three names for validation are splits, not classes."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", f"{name}/a/3.png", "test/b/4.png")

    dataset = scan.scan(root)

    assert dataset.layout == "ready"
    assert dataset.classes == ("a", "b")
    assert names(dataset.pool) == {"train/a/1.png", "train/b/2.png"}
    assert [(s.path, s.label) for s in dataset.val or ()] == [(f"{name}/a/3.png", 0)]
    assert [(s.path, s.label) for s in dataset.test or ()] == [("test/b/4.png", 1)]
    assert dataset.findings == ()


def test_ready_made_train_may_stand_alone(tmp_path: Path) -> None:
    """Without val/ and test/ these are cut from train/."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png")

    dataset = scan.scan(root)

    assert (dataset.layout, dataset.val, dataset.test) == ("ready", None, None)


@pytest.mark.parametrize("splits", [("Train", "Test"), ("TRAIN", "TEST")])
def test_split_folders_count_in_any_case(tmp_path: Path, splits: tuple[str, str]) -> None:
    """Train/ and Test/ are splits, not the two classes of a very odd data set."""
    root = lay(tmp_path, *(f"{s}/{c}/{i}.png" for s in splits for c in "ab" for i in range(3)))

    dataset = scan.scan(root)

    assert (dataset.layout, dataset.classes) == ("ready", ("a", "b"))
    assert {p.split("/")[0] for p in names(dataset.test)} == {splits[1]}


@pytest.mark.parametrize(
    ("train", "test"), [("Training", "Testing"), ("training", "test"), ("TRAIN", "TESTING")]
)
def test_training_and_testing_are_splits(tmp_path: Path, train: str, test: str) -> None:
    """Popular sets call their splits so; they are no two classes, here or in `evaluate`."""
    root = lay(tmp_path, f"{train}/a/1.png", f"{train}/b/2.png", f"{test}/a/3.png")

    dataset = scan.scan(root)

    assert (dataset.layout, dataset.classes) == ("ready", ("a", "b"))
    assert names(dataset.test or ()) == {f"{test}/a/3.png"}
    assert not dataset.findings
    assert names(scan.scan_labelled(root, ("a", "b")).pool) == {f"{test}/a/3.png"}


def test_training_beside_train_is_no_split(tmp_path: Path) -> None:
    """Where train/ and test/ are there, folders of like names are told as not used, as before."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "training/a/3.png", "testing/a/4.png")
    lay(root, "test/a/5.png")

    dataset = scan.scan(root)

    assert names(dataset.pool) == {"train/a/1.png", "train/b/2.png"}
    assert [f.code for f in dataset.findings] == ["FT102"]


@pytest.mark.parametrize("part", ["test", "val"])
def test_empty_ready_made_split_is_reported(tmp_path: Path, part: str) -> None:
    """An empty test/ or val/ switches testing or validation off, and FT101 says so."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png")
    (root / part).mkdir()

    dataset = scan.scan(root)

    assert getattr(dataset, part) == ()
    assert found(dataset) == {"FT101": {part}}


def test_two_validation_folders_are_a_fault(tmp_path: Path) -> None:
    """Which of val/ and valid/ is meant cannot be guessed."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "valid/a/4.png")

    with pytest.raises(DataError, match="val, valid"):
        scan.scan(root)


@pytest.mark.parametrize("part", ["val", "test"])
def test_class_that_train_lacks_is_a_fault(tmp_path: Path, part: str) -> None:
    """A class that only val/ or test/ has could never be predicted; the fault names it."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", f"{part}/zebra/3.png")

    with pytest.raises(DataError, match="zebra") as caught:
        scan.scan(root)

    assert part in caught.value.message


def test_folders_beside_ready_made_splits_are_reported(tmp_path: Path) -> None:
    """A folder beside train/ is not used, and FT102 says so; hidden ones are not worth a word."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "extra/3.png", ".git/config")

    dataset = scan.scan(root)

    assert found(dataset) == {"FT102": {"extra"}}


def test_findings_cover_every_ready_made_split(tmp_path: Path) -> None:
    """What is odd in val/ and test/ is reported like what is odd in train/."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "val/a/3.png", "test/a/4.png")
    lay(root, "val/loose.png", "test/a/deep/5.png")

    dataset = scan.scan(root)

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
    dataset = scan.scan(root)

    assert Counter(opened) == {"train": 2, "val": 1}
    assert [s.digest for s in dataset.test or ()] == [""]
    assert all(s.digest for s in dataset.pool + (dataset.val or ()))


# --- scan_labelled --------------------------------------------------------------------------------


def test_labelled_images_carry_the_runs_class_order(tmp_path: Path) -> None:
    """Labels are those of the run, in its order, whichever of its classes the folder holds."""
    root = lay(tmp_path, "b/1.png", "c/2.png")

    dataset = scan.scan_labelled(root, ("c", "a", "b"))

    assert {s.path: s.label for s in dataset.pool} == {"b/1.png": 2, "c/2.png": 0}
    assert dataset.classes == ("c", "a", "b")
    assert all(s.digest for s in dataset.pool)


def test_labelled_images_come_from_test_where_there_is_one(tmp_path: Path) -> None:
    """Of ready-made splits the test images are measured; a class named test is not one."""
    root = lay(tmp_path, "train/a/1.png", "test/a/2.png", "test/b/3.png")
    vehicles = lay(tmp_path / "vehicles", "test/4.png", "car/5.png")

    ready = scan.scan_labelled(root, ("a", "b"))
    of_class = scan.scan_labelled(vehicles, ("car", "test"))

    assert names(ready.pool) == {"test/a/2.png", "test/b/3.png"}
    assert names(of_class.pool) == {"test/4.png", "car/5.png"}


@pytest.mark.parametrize("test", ["Test", "TEST"])
def test_the_test_is_found_in_any_case(tmp_path: Path, test: str) -> None:
    """Splits are recognised as training recognises them."""
    root = lay(tmp_path, "Train/a/1.png", f"{test}/a/2.png", "Val/a/3.png")

    assert names(scan.scan_labelled(root, ("a", "b")).pool) == {f"{test}/a/2.png"}


@pytest.mark.parametrize("folders", [("train", "val"), ("Train", "Valid"), ("train",)])
def test_splits_without_a_test_are_not_classes(tmp_path: Path, folders: tuple[str, ...]) -> None:
    """Which of them to measure on has to be said; the fault shows the command."""
    root = lay(tmp_path / "my data", *(f"{name}/a/{name}.png" for name in folders))

    with pytest.raises(DataError, match="but no test/") as caught:
        scan.scan_labelled(root, ("a", "b"))

    assert f"finetune evaluate '{root / folders[-1]}'" in caught.value.hint
    assert scan.scan_labelled(root / folders[-1], ("a", "b")).pool


def test_labelled_images_of_which_none_may_be_read(tmp_path: Path, monkeypatch) -> None:
    """Where no file's bytes can be had, that is the fault which is told."""
    root = lay(tmp_path, "a/1.png", "b/2.png")

    def refuse(_path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(atomic_files, "digest_file", refuse)

    with pytest.raises(DataError, match="none of the 2 images"):
        scan.scan_labelled(root, ("a", "b"))


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
        scan.scan_labelled(root, ("a", "b"))

    assert "2 classes: a, b" in caught.value.hint


def test_missing_labelled_folder_is_a_fault(tmp_path: Path) -> None:
    """A folder that is not there is named."""
    with pytest.raises(DataError, match="nowhere"):
        scan.scan_labelled(tmp_path / "nowhere", ("a", "b"))
