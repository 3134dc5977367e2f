"""Promises of `sources.files`: which files there are, and what is said of their contents."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from examples import lay

from finetune.records.dataset import Sample
from finetune.records.errors import DataError
from finetune.sources import files, scan
from finetune.sources.findings import copies, leaks


def sample(path: str, label: int, content: object) -> Sample:
    return Sample(path, label, hashlib.sha256(str(content).encode()).hexdigest())


def many(per_class: int, classes: int = 2, salt: str = "") -> list[Sample]:
    """Samples of `classes` classes, all with different bytes."""
    return [
        sample(f"c{c}/{salt}{i}.png", c, f"{salt}-{c}-{i}")
        for c in range(classes)
        for i in range(per_class)
    ]


def test_file_that_cannot_be_read_is_a_fault_naming_it(tmp_path: Path) -> None:
    """A file whose bytes cannot be had is named."""
    with pytest.raises(DataError, match=r"gone\.png"):
        files.digest_file(tmp_path / "gone.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_list_images_never_waits_for_a_pipe_in_a_folder(tmp_path: Path) -> None:
    """A pipe that lies in a folder is a fault by name; one that is named directly is meant."""
    root = lay(tmp_path, "x/a.png")
    os.mkfifo(root / "x" / "pipe.png")
    (root / "x" / "dead.png").symlink_to("nowhere")

    listed = files.list_images([root / "x", root / "x" / "pipe.png"])

    assert listed.files == [root / "x" / n for n in ("a.png", "dead.png", "pipe.png", "pipe.png")]
    assert set(listed.faults) == {2}
    assert "pipe.png" in listed.faults[2]


def test_list_images_gives_files_that_may_not_be_looked_at(tmp_path: Path, monkeypatch) -> None:
    """Where the system refuses to say what a name is, reading it will tell why."""

    def refuse(*_: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        listed = files.list_images([tmp_path / "closed" / "x.png"])

    assert listed.files == [tmp_path / "closed" / "x.png"]
    assert not listed.faults


def test_list_images_keeps_the_order_asked_for(tmp_path: Path) -> None:
    """Files come as given, whatever their suffix and there or not; folders in name order."""
    root = lay(tmp_path, "x/b.png", "x/a/c.JPG", "x/.hidden.png", "x/notes.txt", "one.dat")

    listed = files.list_images([root / "one.dat", root / "gone.png", root / "x"])

    assert listed.files == [root / n for n in ("one.dat", "gone.png", "x/a/c.JPG", "x/b.png")]
    assert not listed.faults
    assert listed.others == 1


def test_list_images_names_what_it_cannot_read(tmp_path: Path, closed_folder) -> None:
    """Pictures of foreign kinds and closed folders stand in their places, each with its fault."""
    root = lay(tmp_path, "x/a.png", "x/b.HEIC", "x/c.png", "x/locked/d.png", "y/e.dng")
    closed_folder(root / "x" / "locked")

    listed = files.list_images([root / "x", root / "y", root / "x" / "locked"])

    names = ("x/a.png", "x/b.HEIC", "x/c.png", "x/locked", "y/e.dng", "x/locked")
    assert listed.files == [root / n for n in names]
    assert set(listed.faults) == {1, 3, 4, 5}
    assert "b.HEIC: HEIC is a format that is not read" in listed.faults[1]
    assert f"cannot list folder {root / 'x' / 'locked'}" in listed.faults[3]


def test_folder_without_images_is_a_fault(tmp_path: Path) -> None:
    """Asked for the images of a folder that has none, the fault names it."""
    root = lay(tmp_path, "docs/notes.txt")

    with pytest.raises(DataError, match="docs"):
        files.list_images([root / "docs"])


# --- fingerprint, copies, leaks -------------------------------------------------------------------


def test_fingerprint_knows_content_not_order() -> None:
    """The same images in another order have the same fingerprint; any change has another."""
    samples = many(5)
    relabelled = [Sample(s.path, 1 - s.label, s.digest) for s in samples]

    same = files.fingerprint(samples)

    assert files.fingerprint(samples[::-1]) == same
    assert files.fingerprint(samples[1:]) != same
    assert files.fingerprint(samples + samples[:1]) != same
    assert files.fingerprint([*samples[1:], sample("c0/0.png", 0, "edited")]) != same
    assert files.fingerprint(relabelled) != same


def test_fingerprint_does_not_know_names() -> None:
    """A renamed file is the same image."""
    samples = many(5)

    renamed = [Sample(f"elsewhere/{i}.jpg", s.label, s.digest) for i, s in enumerate(samples)]

    assert files.fingerprint(renamed) == files.fingerprint(samples)


def test_copies_within_a_class_are_noted() -> None:
    """FT110 counts the superfluous copies and lists all files of each group."""
    samples = [*many(3), sample("c0/copy.png", 0, "-0-0"), sample("c0/third.png", 0, "-0-0")]

    (finding,) = copies(samples)

    assert (finding.code, finding.severity) == ("FT110", "note")
    assert finding.title.startswith("2 exact copies")
    assert set(finding.paths) == {"c0/0.png", "c0/copy.png", "c0/third.png"}


def test_copies_across_ready_made_splits_are_not_said_to_stay_together(tmp_path: Path) -> None:
    """FT110's title holds as well where train/ and val/ come ready-made and share an image."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "val/b/3.png")
    (root / "val/b/3.png").write_bytes((root / "train/b/2.png").read_bytes())
    dataset = scan.scan(root)

    (finding,) = copies(dataset.pool + (dataset.val or ()))

    assert finding.title == "1 exact copies"


def test_image_under_two_labels_is_a_warning() -> None:
    """FT111 lists an image that two classes claim: one of the labels is wrong."""
    samples = [*many(3), sample("c1/again.png", 1, "-0-2")]

    findings = {f.code: f for f in copies(samples)}

    assert set(findings) == {"FT110", "FT111"}
    assert findings["FT111"].severity == "warning"
    assert set(findings["FT111"].paths) == {"c0/2.png", "c1/again.png"}


def test_no_copies_no_finding() -> None:
    """Different images give no finding about copies."""
    assert copies(many(20)) == ()


def test_test_images_among_the_fitted_are_a_warning() -> None:
    """FT112 lists the test images whose exact copies were trained on."""
    fitted = many(5)
    test = [sample("test/x.png", 1, "-0-3"), sample("test/y.png", 1, "new")]

    (finding,) = leaks(fitted, test)

    assert (finding.code, finding.severity) == ("FT112", "warning")
    assert finding.paths == ("test/x.png",)


def test_no_leak_no_finding() -> None:
    """Disjoint sets give no finding about leaks."""
    assert leaks(many(5), many(5, salt="other")) == ()
