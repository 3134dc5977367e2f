"""Promises of `data.examination`: what is found, and what stays together."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import options_for
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from finetune.data import check_shortcuts, checks, examination
from finetune.data.examination import Examination
from finetune.pictures import decoding
from finetune.records.dataset import Check
from finetune.records.errors import DataError, UsageError
from finetune.sources import scan
from finetune.sources.files import digest_file


def examine(root: Path, **options: object) -> Examination:
    request = options_for(root=str(root), **options)
    seed = request.training.seed
    return examination.examine(request.data, seed, lambda *_: None, with_test=True)


def results(root: Path, **options: object) -> dict[str, Check]:
    return {c.code: c for c in examine(root, **options).checks}


def statuses(root: Path, **options: object) -> dict[str, str]:
    """Codes of what did not pass, with its status."""
    found = results(root, **options).values()
    return {c.code: c.status for c in found if c.status not in ("passed", "not-applicable")}


def picture(seed: int, size: tuple[int, int] = (144, 120)) -> Image.Image:
    """Soft blotches, different for each seed."""
    blotches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blotches).resize(size, Image.Resampling.BICUBIC)


def paint(root: Path, *names: str, first: int = 0, **options: object) -> Path:
    """A different picture for each name, in the format of its suffix."""
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(first + i).save(path, **options)
    return root


def sound(root: Path, count: int = 8) -> Path:
    """Two classes with nothing to complain of."""
    names = [f"{c}/{i}.png" for c in ("ash", "oak") for i in range(count)]
    return paint(root, *names)


# --- the table ------------------------------------------------------------------------------------


def test_a_sound_folder_passes_everything(tmp_path: Path) -> None:
    """Nothing is found, and what passed or does not apply is said, each with a text."""
    found = results(sound(tmp_path))

    assert {c.status for c in found.values()} == {"passed", "not-applicable"}
    assert all(c.text and c.title for c in found.values())
    assert {c for c, r in found.items() if r.status == "not-applicable"} == {
        *("FT101", "FT102", "FT112", "FT115", "FT119", "FT130"),
        *("FT161", "FT162", "FT163", "FT164"),
    }


def test_codes_are_unique_and_every_kind_says_what_to_do() -> None:
    """A code stands for one check, with a title and a hint that is a sentence."""
    kinds = [kind for kind, _ in checks.CHECKS]

    assert len({k.code for k in kinds}) == len(kinds)
    assert all(k.title and k.hint.endswith(".") for k in kinds)


def spoil_unreadable(root: Path) -> None:
    (root / "ash" / "empty.png").write_bytes(b"")
    whole = (root / "ash" / "0.png").read_bytes()
    (root / "ash" / "cut.png").write_bytes(whole[: len(whole) // 2])


def spoil_two_labels(root: Path) -> None:
    (root / "oak" / "again.png").write_bytes((root / "ash" / "0.png").read_bytes())


def spoil_near_copy(root: Path) -> None:
    picture(0).save(root / "ash" / "near.jpg", quality=60)


def spoil_near_labels(root: Path) -> None:
    picture(0).save(root / "oak" / "near.jpg", quality=60)


def spoil_twins(root: Path) -> None:
    paint(root, "ash/Twin.png", "ash/twin.png", first=90)


def spoil_class_twins(root: Path) -> None:
    paint(root, "Oak/1.png", "Oak/2.png", "Oak/3.png", first=90)


def spoil_class_without_images(root: Path) -> None:
    paint(root, "elm/1.png")
    (root / "elm" / "1.png").write_bytes(b"")


def spoil_suffix(root: Path) -> None:
    picture(90).save(root / "ash" / "really.png", format="JPEG")


def spoil_stray(root: Path) -> None:
    picture(90).save(root / "ash" / "photo.dat", format="JPEG")


def spoil_foreign(root: Path) -> None:
    (root / "ash" / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic")


def spoil_frames(root: Path) -> None:
    picture(90).save(root / "ash" / "moving.gif", save_all=True, append_images=[picture(91)])


def spoil_plain(root: Path) -> None:
    Image.new("RGB", (48, 40), "red").save(root / "ash" / "red.png")


def spoil_hidden(root: Path) -> None:
    icon = Image.new("RGBA", (48, 40), (255, 255, 255, 0))
    icon.paste((255, 255, 255, 255), (10, 10, 30, 30))
    icon.save(root / "ash" / "icon.png")


def spoil_single(root: Path) -> None:
    paint(root, "elm/1.png", first=90)


def spoil_balance(root: Path) -> None:
    paint(root, *[f"ash/more{i}.png" for i in range(20)], first=90)


def spoil_tiny(root: Path) -> None:
    picture(90, (15, 15)).save(root / "ash" / "tiny.png")


def spoil_long(root: Path) -> None:
    picture(90, (160, 40)).save(root / "ash" / "long.png")


def spoil_names(root: Path) -> None:
    (root / "ash").rename(root / "a")
    (root / "oak").rename(root / "b")


def test_a_picture_behind_a_foreign_suffix_is_told_once(tmp_path: Path) -> None:
    """It is no file "that is not an image" as well; what is one is still listed as such."""
    root = sound(tmp_path)
    spoil_stray(root)
    alone = results(root)["FT104"]
    (root / "ash" / "notes.txt").write_text("of a walk")
    both = results(root)["FT104"]

    assert (alone.status, alone.paths) == ("passed", ())
    assert (both.text, both.paths) == ("1 file(s) that are not images left out", ("ash/notes.txt",))
    assert both.numbers == {"files": 1}


@pytest.mark.parametrize(
    ("spoil", "code", "status", "path"),
    [
        (spoil_unreadable, "FT120", "warning", "ash/cut.png"),
        (spoil_two_labels, "FT111", "warning", "oak/again.png"),
        (spoil_two_labels, "FT110", "note", "oak/again.png"),
        (spoil_near_copy, "FT113", "note", "ash/near.jpg"),
        (spoil_near_labels, "FT114", "warning", "oak/near.jpg"),
        (spoil_twins, "FT116", "warning", "ash/Twin.png"),
        (spoil_class_twins, "FT116", "warning", "Oak"),
        (spoil_class_without_images, "FT121", "error", None),
        (spoil_suffix, "FT122", "note", "ash/really.png"),
        (spoil_stray, "FT123", "warning", "ash/photo.dat"),
        (spoil_foreign, "FT117", "warning", "ash/phone.HEIC"),
        (spoil_frames, "FT124", "note", "ash/moving.gif"),
        (spoil_plain, "FT125", "note", "ash/red.png"),
        (spoil_hidden, "FT126", "warning", "ash/icon.png"),
        (spoil_hidden, "FT125", "note", "ash/icon.png"),
        (spoil_single, "FT131", "warning", None),
        (spoil_single, "FT132", "warning", None),
        (spoil_balance, "FT133", "note", None),
        (spoil_tiny, "FT134", "warning", "ash/tiny.png"),
        (spoil_long, "FT135", "note", "ash/long.png"),
        (spoil_names, "FT139", "note", None),
    ],
    ids=lambda v: v.__name__.removeprefix("spoil_") if callable(v) else None,
)
def test_each_fault_is_found_by_its_check(
    tmp_path: Path, spoil: Callable[[Path], None], code: str, status: str, path: str | None
) -> None:
    """A folder that passed fails the check of the one thing that was spoilt, which names it."""
    root = sound(tmp_path)
    spoil(root)

    check = results(root)[code]

    assert check.status == status
    assert check.hint
    assert path is None or path in check.paths
    assert check.details == () or len(check.details) == len(check.paths)


@pytest.mark.parametrize(
    ("blank", "whole", "status"),
    [((1, 0), 10, "note"), ((2, 2), 16, "warning"), ((3, 0), 2, "warning"), ((6, 5), 5, "error")],
    ids=["few", "more than a tenth", "most of a class", "most of all"],
)
def test_blank_pictures_weigh_by_their_share(
    tmp_path: Path, blank: tuple[int, int], whole: int, status: str
) -> None:
    """A few are a note; a tenth, or most of a class, a warning; most of all an error."""
    for name, count in zip(("ash", "oak"), blank, strict=True):
        first = 0 if name == "ash" else 50
        others = whole if count else 30
        paint(tmp_path, *[f"{name}/{i}.png" for i in range(others)], first=first)
        for i in range(count):
            colour = (i, 10 * i, 7) if name == "ash" else (200, i, 10 * i)
            Image.new("RGB", (48, 40), colour).save(tmp_path / name / f"blank{i}.png")

    check = results(tmp_path)["FT125"]

    assert check.status == status
    assert check.numbers["images"] == sum(blank)
    assert ("most of ash" in check.text) == (blank[0] > whole)


@pytest.mark.parametrize(
    ("mode", "colour", "hidden"),
    [
        ("RGBA", "noise", True),
        ("LA", "noise", True),
        ("RGBA", "white", False),
        ("RGB", "white", False),
    ],
)
def test_what_transparency_hides_is_told_from_what_is_blank(
    tmp_path: Path, mode: str, colour: str, hidden: bool
) -> None:
    """Colours under full transparency are hidden; a white page is only blank."""
    root = sound(tmp_path)
    shown = picture(95).convert(mode) if colour == "noise" else Image.new(mode, (48, 40), "white")
    if "A" in mode:
        shown.putalpha(0 if hidden else 255)
    shown.save(root / "ash" / "icon.png")

    found = results(root)

    assert found["FT125"].paths == ("ash/icon.png",)
    assert found["FT126"].status == ("warning" if hidden else "passed")


def test_reasons_are_given_file_by_file(tmp_path: Path) -> None:
    """FT120 says of each unreadable file what is wrong with it."""
    root = sound(tmp_path)
    spoil_unreadable(root)
    (root / "oak" / "text.png").write_text("no picture")

    check = results(root)["FT120"]

    assert dict(zip(check.paths, check.details, strict=True)) == {
        "ash/cut.png": "it is truncated",
        "ash/empty.png": "it is empty",
        "oak/text.png": "it is a text, not a picture",
    }


@pytest.mark.parametrize(("side", "found"), [(15, True), (16, False)])
def test_tiny_begins_below_16(tmp_path: Path, side: int, found: bool) -> None:
    """The shorter side counts."""
    root = sound(tmp_path)
    picture(90, (40, side)).save(root / "ash" / "x.png")

    assert ("FT134" in statuses(root)) == found


@pytest.mark.parametrize(("extra", "found"), [(15, False), (16, True)])
def test_imbalance_begins_at_three_times(tmp_path: Path, extra: int, found: bool) -> None:
    """Where training begins to weigh classes."""
    root = paint(sound(tmp_path), *[f"ash/more{i}.png" for i in range(extra)], first=90)

    assert ("FT133" in statuses(root)) == found


def test_a_picture_that_would_take_too_much_memory_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decompression bomb is a finding with its number of pixels, read from the header."""
    root = sound(tmp_path)
    Image.new("1", (9000, 9000)).save(root / "ash" / "bomb.png")
    monkeypatch.setattr(decoding, "to_rgb", lambda image: image)  # it must not come that far

    check = results(root)["FT120"]

    assert check.paths == ("ash/bomb.png",)
    assert "81,000,000" in check.details[0]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_odd_names_break_no_line(tmp_path: Path) -> None:
    """Line breaks, emoji and 255 bytes in the names of broken files: one line each, and JSON."""
    root = sound(tmp_path)
    for name in ("line\nbreak.png", "🌷 tulip.png", "n" * 251 + ".png", "\x1b[31mred.png"):
        (root / "ash" / name).write_bytes(b"")

    with pytest.raises(DataError) as caught:
        examine(root, on_bad_image="error")

    assert "\n" not in caught.value.message
    assert "\x1b" not in caught.value.message
    assert len(results(root)["FT120"].paths) == 4


def test_a_file_that_may_not_be_read_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No right to read one file stops nothing, unless bad images are an error."""
    root = sound(tmp_path)
    real = digest_file

    def refuse(path: Path) -> str:
        if path.name == "0.png":
            raise DataError(f"cannot read {path}: Permission denied", hint="Ask.")
        return real(path)

    monkeypatch.setattr(scan, "digest_file", refuse)

    check = results(root)["FT118"]

    assert (check.status, check.paths) == ("warning", ("ash/0.png", "oak/0.png"))
    with pytest.raises(DataError, match=r"2 image\(s\).*ash/0\.png"):
        examine(root, on_bad_image="error")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_folder_that_may_not_be_listed_is_named(tmp_path: Path) -> None:
    """A class folder without the right to list it is not taken for an empty one only."""
    root = sound(tmp_path)
    paint(root, "elm/1.png")
    (root / "elm").chmod(0)

    found = statuses(root)

    (root / "elm").chmod(0o700)
    assert found["FT118"] == "warning"


# --- a class given away ---------------------------------------------------------------------------


def test_a_class_given_away_by_its_format_is_caught(tmp_path: Path) -> None:
    """The demonstration: one class saved as JPEG, the others as PNG, and nothing else differs."""
    names = [f"{c}/{i}.png" for c in ("ash", "elm") for i in range(10)]
    root = paint(tmp_path, *names, *[f"oak/{i}.jpg" for i in range(10)])

    check = results(root)["FT136"]

    assert check.status == "warning"
    assert "'oak' (JPEG: 100% of it, 0% of the others" in check.text


def test_a_class_given_away_by_its_size_is_caught(tmp_path: Path) -> None:
    """Sizes need not be equal: a class of larger pictures is told by about how large they are."""
    rng = np.random.default_rng(0)
    for name, side in (("ash", 60), ("elm", 60), ("oak", 200)):
        (tmp_path / name).mkdir()
        for i in range(20):
            size = tuple(int(s) for s in rng.uniform(0.95, 1.05, 2) * side)
            picture(int(rng.integers(2**31)), size).save(tmp_path / name / f"{i}.png")

    check = results(tmp_path)["FT137"]

    assert check.status == "warning"
    assert "'oak'" in check.text


def test_a_class_given_away_by_its_colour_mode_is_caught(tmp_path: Path) -> None:
    """Grey files in one class, colour files in the other; two classes are told as one."""
    root = sound(tmp_path)
    for path in (root / "oak").iterdir():
        with Image.open(path) as image:
            image.convert("L").save(path)

    check = results(root)["FT138"]

    assert check.status == "warning"
    assert check.numbers["classes"] == 1


def test_formats_that_are_mixed_alike_give_nothing_away(tmp_path: Path) -> None:
    """Half JPEG and half PNG in each class is no shortcut."""
    names = [f"{c}/{i}.{s}" for c in ("ash", "oak") for i in range(6) for s in ("png", "jpg")]

    assert "FT136" not in statuses(paint(tmp_path, *names))


def test_values_that_are_all_different_give_nothing_away() -> None:
    """Sizes that no two images share tell nothing of an image not seen: a guess is even."""
    values = [str(i) for i in range(40)]

    assert check_shortcuts.guesses(values, [i % 2 for i in range(40)]) == {0: 0.5, 1: 0.5}


def test_guesses_are_those_of_leaving_one_out() -> None:
    """The closed form agrees with guessing each image from the others, one after the other."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60).tolist()
    values = [f"{rng.integers(0, 4) + (2 if y == 1 else 0)}" for y in labels]

    found = check_shortcuts.guesses(values, labels)

    for label, score in found.items():
        recalls = []
        for side in (True, False):
            right = []
            for i, y in enumerate(labels):
                if (y == label) != side:
                    continue
                rest = [
                    (v, z == label)
                    for j, (v, z) in enumerate(zip(values, labels, strict=True))
                    if j != i
                ]
                inside = np.mean([v == values[i] for v, is_in in rest if is_in])
                outside = np.mean([v == values[i] for v, is_in in rest if not is_in])
                mine, theirs = (inside, outside) if side else (outside, inside)
                right.append(0.5 if mine == theirs else float(mine > theirs))
            recalls.append(np.mean(right))
        assert score == pytest.approx(np.mean(recalls))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), max_size=60))
def test_guesses_are_shares_of_classes_large_enough(rows: list[tuple[str, int]]) -> None:
    """Scores are between 0 and 1, of classes with five images and five others."""
    values, labels = [v for v, _ in rows], [y for _, y in rows]

    for label, score in check_shortcuts.guesses(values, labels).items():
        assert 0 <= score <= 1
        assert 5 <= labels.count(label) <= len(labels) - 5


# --- leaks ----------------------------------------------------------------------------------------


def ready(root: Path) -> Path:
    """Ready-made splits of two classes with nothing to complain of."""
    names = [
        f"{p}/{c}/{i}.png"
        for p in ("train", "val", "test")
        for c in ("ash", "oak")
        for i in range(6)
    ]
    return paint(root, *names)


def test_copies_across_ready_made_splits_are_caught(tmp_path: Path) -> None:
    """The demonstration: an exact copy in test/ and a re-encoded one in val/ are both named."""
    root = ready(tmp_path)
    first = root / "train" / "ash" / "0.png"
    (root / "test" / "ash" / "exact.png").write_bytes(first.read_bytes())
    with Image.open(first) as image:
        image.resize((100, 83)).save(root / "val" / "ash" / "near.jpg", quality=70)

    found = results(root)

    assert found["FT112"].paths == ("test/ash/exact.png",)
    assert found["FT115"].paths == ("val/ash/near.jpg",)
    assert found["FT115"].details == ("like train/ash/0.png",)
    assert {found["FT112"].status, found["FT115"].status} == {"warning"}


def test_ready_made_splits_without_leaks_pass(tmp_path: Path) -> None:
    """Nothing is said of splits that share nothing."""
    found = results(ready(tmp_path))

    assert {found[c].status for c in ("FT112", "FT115", "FT101", "FT102")} == {"passed"}


def test_an_image_changed_between_scan_and_look_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was seen in its place does not come back as the old picture, for ever."""
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    root = sound(tmp_path / "images", 2)
    samples = scan.scan(root).pool[:1]
    file = root / samples[0].path
    old = file.read_bytes()
    picture(900, (30, 20)).save(file)
    changed = examination.look(root, samples, 32, lambda *_: None)
    file.write_bytes(old)

    again = examination.look(root, samples, 32, lambda *_: None)

    assert changed.glances[samples[0].path].width_px == 30
    assert again.glances[samples[0].path].width_px == 144


def test_a_ready_made_test_is_left_alone_until_the_end(tmp_path: Path) -> None:
    """Training looks at test/ after the test only, and then finds what leaked into it."""
    root = ready(tmp_path)
    with Image.open(root / "train" / "ash" / "0.png") as image:
        image.save(root / "test" / "oak" / "near.jpg", quality=70)
    request = options_for(root=str(root), group="^([0-5])")

    before = examination.examine(request.data, 0, lambda *_: None)

    assert not any(p.startswith("test") for p in before.subject.glances)
    assert all(s.digest == "" for s in before.dataset.test or ())
    late = {f.code: f.paths for f in examination.late_findings(before, root)}
    assert late["FT115"] == ("test/oak/near.jpg",)
    assert "FT119" in late


def test_groups_across_ready_made_splits_are_caught(tmp_path: Path) -> None:
    """A patient in train/ and in test/ leaks, too."""
    root = paint(
        tmp_path,
        *[f"train/{c}/p{i}_a.png" for c in ("ash", "oak") for i in range(4)],
        *[f"test/{c}/p{i}_b.png" for c in ("ash", "oak") for i in range(3, 6)],
    )

    check = results(root, group="^(p[0-9])")["FT119"]

    assert check.status == "warning"
    assert set(check.details) == {"p3"}
    assert len(check.paths) == 4


# --- groups ---------------------------------------------------------------------------------------


def sides(found: Examination) -> dict[str, str]:
    return found.subject.part_of


def test_near_copies_are_on_one_side(tmp_path: Path) -> None:
    """However the split falls, an image and its re-encoded copies are not divided."""
    root = sound(tmp_path, 12)
    for i in range(12):
        picture(i).save(root / "ash" / f"copy{i}.jpg", quality=60)
    # ash/i.png is picture i
    for seed in range(5):
        part = sides(examine(root, seed=seed))

        assert all(part[f"ash/{i}.png"] == part[f"ash/copy{i}.jpg"] for i in range(12))
        assert len(set(part.values())) == 3


def test_near_copies_can_be_ignored(tmp_path: Path) -> None:
    """Without looking for them, each file is alone and the check says that it was not made."""
    root = sound(tmp_path)
    spoil_near_copy(root)

    found = examine(root, near_copies="ignore")

    assert all(s.group == "" for s in found.dataset.pool)
    assert {c.code: c.status for c in found.checks}["FT113"] == "not-applicable"


def test_groups_by_file_name_are_on_one_side(tmp_path: Path) -> None:
    """The first bracket names the group, in whatever class its images are."""
    root = paint(
        tmp_path,
        *[f"{c}/patient{p}_{i}.png" for c in ("ash", "oak") for p in range(9) for i in range(3)],
    )

    for seed in range(5):
        part = sides(examine(root, group="^(patient[0-9]+)_", seed=seed))

        for p in range(9):
            own = {side for path, side in part.items() if f"patient{p}_" in path}
            assert len(own) == 1
        assert len(set(part.values())) == 3


def test_groups_and_near_copies_are_joined(tmp_path: Path) -> None:
    """A near copy of a patient's image is of that patient's group."""
    root = paint(tmp_path, *[f"{c}/p{i}.png" for c in ("ash", "oak") for i in range(8)])
    picture(0).save(root / "ash" / "other.jpg", quality=60)

    found = examine(root, group="^p[0-9]")

    groups = {s.path: s.group for s in found.dataset.pool}
    assert groups["ash/p0.png"] == groups["oak/p0.png"] == groups["ash/other.jpg"] == "group p0"


def test_near_copies_of_known_images_move_few_others(tmp_path: Path) -> None:
    """A near copy of one of 20 images of a class joins it, and moves four others at most."""
    root = sound(tmp_path, 20)
    before = sides(examine(root))
    picture(0).save(root / "ash" / "near.jpg", quality=60)

    after = sides(examine(root))

    assert after["ash/near.jpg"] == after["ash/0.png"]
    assert sum(after[path] != side for path, side in before.items()) <= 4


def test_without_copies_the_split_is_that_of_the_hashes(tmp_path: Path) -> None:
    """Looking for near duplicates changes nothing where there are none."""
    root = sound(tmp_path, 20)

    looked, ignored = examine(root), examine(root, near_copies="ignore")

    assert looked.splits == ignored.splits


@pytest.mark.parametrize("text", ["(", "[a", "*", "(?P<x"])
def test_a_bad_expression_is_a_usage_error(tmp_path: Path, text: str) -> None:
    """It is told before anything is read, with the expression."""
    with pytest.raises(UsageError) as caught:
        examine(tmp_path / "nowhere", group=text)

    assert f"--group '{text}'" in caught.value.message


def test_an_expression_that_matches_nothing_is_a_usage_error(tmp_path: Path) -> None:
    """A group that no file is in is a slip of the pen."""
    with pytest.raises(UsageError, match="--group 'zebra' matches no file name"):
        examine(sound(tmp_path), group="zebra")


# --- policies -------------------------------------------------------------------------------------


def test_unreadable_images_are_in_no_split(tmp_path: Path) -> None:
    """They are left out before the split, so no class is left with a broken file for a test."""
    root = sound(tmp_path)
    spoil_unreadable(root)

    found = examine(root)

    assert not {"ash/cut.png", "ash/empty.png"} & set(sides(found))
    assert len(sides(found)) == 16


def test_strict_stops_at_a_warning_and_not_at_a_note(tmp_path: Path) -> None:
    """The fault names the codes and how to see the files; notes let it pass."""
    root = sound(tmp_path)
    spoil_near_copy(root)
    examine(root, strict=True)

    spoil_tiny(root)

    with pytest.raises(DataError, match=r"--strict: .* 1 warning\(s\): FT134") as caught:
        examine(root, strict=True)
    assert f"finetune check {root}" in caught.value.hint


def test_strict_looks_at_a_ready_made_test(tmp_path: Path) -> None:
    """A leak can be stopped only where it can be seen."""
    root = ready(tmp_path)
    copy = (root / "train" / "ash" / "0.png").read_bytes()
    (root / "test" / "ash" / "exact.png").write_bytes(copy)

    with pytest.raises(DataError, match="FT112"):
        examination.examine(options_for(root=str(root), strict=True).data, 0, lambda *_: None)


def test_progress_counts_every_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listener hears of each image once."""
    monkeypatch.setenv("FINETUNE_CACHE", "off")
    heard: list[tuple[int, int]] = []

    examination.examine(
        options_for(root=str(sound(tmp_path))).data, 0, lambda *at: heard.append(at)
    )

    assert heard == [(i, 16) for i in range(17)]


def test_findings_are_the_checks_that_did_not_pass(tmp_path: Path) -> None:
    """What a run records has the same codes, texts and files as the check."""
    root = sound(tmp_path)
    spoil_unreadable(root)
    found = examine(root)

    (finding,) = found.findings

    check = {c.code: c for c in found.checks}["FT120"]
    assert (finding.code, finding.title, finding.paths) == (check.code, check.text, check.paths)
    assert finding.severity == check.status
    assert replace(check, status="passed").alarming is False


def test_what_was_glanced_at_is_not_unpacked_again(image_folder, monkeypatch) -> None:
    """The second look at the same files reads the cache and sees the same."""
    root = image_folder({"a": 5, "b": 5}, seed=77)
    samples = scan.scan(root).pool
    first = examination.look(root, samples, 32, lambda *_: None)
    monkeypatch.setattr(decoding, "glance", lambda *_: pytest.fail("unpacked again"))

    second = examination.look(root, samples, 32, lambda *_: None)

    assert second.faults == {}
    assert list(second.glances.items()) == list(first.glances.items())
    np.testing.assert_array_equal(second.small, first.small)


def test_ctrl_c_leaves_the_other_images_unread(
    image_folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted at the first image, the queue is dropped and not looked at to its end."""
    root = image_folder({"a": 40, "b": 40}, seed=78)
    samples, looked, glance = scan.scan(root).pool, [], decoding.glance

    def slow(path: Path, *rest: object) -> decoding.Glance:
        looked.append(path)
        time.sleep(0.02)
        return glance(path, *rest)  # type: ignore[arg-type]

    def interrupted(done: int, _: int) -> None:
        if done:
            raise KeyboardInterrupt

    monkeypatch.setattr(decoding, "glance", slow)

    with pytest.raises(KeyboardInterrupt):
        examination.look(root, samples, 32, interrupted)

    assert len(looked) < 40


def test_classes_that_differ_in_little_are_a_warning(tmp_path: Path) -> None:
    """Capitals, a trailing blank, an accent in two ways: FT155 names both, letters are exempt."""
    apart = unicodedata.normalize("NFD", "café")
    pairs = ("dog", "Dog", "elk", "elk ", "café", apart, "A", "a", "oak")

    check = results(paint(tmp_path, *(f"{c}/{i}.png" for c in pairs for i in range(3))))["FT155"]

    assert check.status == "warning"
    assert "'Dog' and 'dog'" in check.text
    assert "'elk' and 'elk '" in check.text
    assert f"'{apart}' (accents apart) and 'café' (accents composed)" in check.text
    assert check.numbers == {"classes": 6.0}
    assert results(sound(tmp_path / "sound"))["FT155"].status == "passed"


def test_the_layout_that_was_used_is_a_check(tmp_path: Path) -> None:
    """What was made of the folders is a note with the folders; nothing of it stops --strict."""
    files = [f"{s}/{c}/{i}.png" for s in ("train_set", "test_set") for c in "xy" for i in range(4)]
    root = paint(tmp_path, *files)

    check = results(root, strict=True)["FT150"]

    assert check.status == "note"
    assert "train_set/ is the training split; test_set/ is the test split" in check.text
    assert check.paths == ("train_set", "test_set")
