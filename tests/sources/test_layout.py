"""Promises of `sources.unclear_layouts`: splits are no classes, and that is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from examples import lay

from finetune.records.dataset import Dataset
from finetune.records.errors import DataError
from finetune.sources import scan


def both(*folders: str, count: int = 2) -> list[str]:
    """Files of the classes cat and dog, which stand in braces in the names of folders."""
    return [
        f"{folder.format(label)}/{label[0]}{i}.png"
        for folder in folders
        for label in ("cat", "dog")
        for i in range(count)
    ]


def parts(dataset: Dataset) -> tuple[int, int | None, int | None]:
    val, test = dataset.val, dataset.test
    return len(dataset.pool), None if val is None else len(val), None if test is None else len(test)


def said(dataset: Dataset) -> dict[str, str]:
    return {f.code: f.title for f in dataset.findings}


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("seg_train/seg_train/{}", "seg_test/seg_test/{}"), (4, None, 4)),
        (("training_set/{}", "test_set/{}"), (4, None, 4)),
        (("training_set/training_set/{}", "test_set/test_set/{}"), (4, None, 4)),
        (("Train_images/{}", "Test_images/{}"), (4, None, 4)),
        (("TrainSet/{}", "TestSet/{}", "ValSet/{}"), (4, 4, 4)),
        (("train2017/{}", "val2017/{}"), (4, 4, None)),
        (("train data/{}", "test data/{}"), (4, None, 4)),
        (("{}/train", "{}/test"), (4, None, 4)),
        (("{}/train_set", "{}/val_set", "{}/test_set"), (4, 4, 4)),
        (("wrap/wrap/train/{}", "wrap/wrap/valid/{}", "wrap/wrap/test/{}"), (4, 4, 4)),
        (("train/{}", "validation/{}", "evaluation/{}"), (4, 4, 4)),
        (("pets/images/{}",), (4, None, None)),
        (("images/{}", "masks/{}"), (4, None, None)),
    ],
)
def test_a_clear_layout_is_used_and_said(
    tmp_path: Path, folders: tuple[str, ...], expected: tuple[int, int | None, int | None]
) -> None:
    """Whatever splits are called and wherever they lie, cat and dog are the classes; FT150 says."""
    dataset = scan.scan(lay(tmp_path, *both(*folders)))

    assert dataset.classes == ("cat", "dog")
    assert parts(dataset) == expected
    assert "FT150" in said(dataset)


@pytest.mark.parametrize(
    "folders",
    [
        ("seg_train/seg_train/{}", "seg_test/seg_test/{}"),
        ("training_set/{}", "test_set/{}"),
        ("{}/train", "{}/test"),
        ("wrap/train/{}", "wrap/test/{}"),
    ],
)
def test_evaluate_measures_on_the_same_test(tmp_path: Path, folders: tuple[str, ...]) -> None:
    """The images measured are those that training would test on, and that is said."""
    root = lay(tmp_path, *both(*folders))

    found = scan.scan_labelled(root, ("cat", "dog"))

    assert {s.path for s in found.pool} == {s.path for s in scan.scan(root).test or ()}
    assert "test" in said(found)["FT150"]


def test_a_split_that_is_given_itself_is_measured(tmp_path: Path) -> None:
    """`evaluate seg_train` measures on seg_train/seg_train, whatever it is called."""
    root = lay(tmp_path, *both("seg_train/seg_train/{}", "seg_test/seg_test/{}"))

    for split in ("seg_train", "seg_test"):
        assert len(scan.scan_labelled(root / split, ("cat", "dog")).pool) == 4


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("train/1.png", "test/2.png"), "names of splits are not classes"),
        (("train/1.png", "valid/2.png", "train/_classes.csv"), "multi-label export of Roboflow"),
        (("train2017/1.png", "val2017/2.png", "annotations/a.json"), "detection, such as COCO"),
        (("train/images/1.png", "train/labels/1.txt", "val/images/2.png"), "such as YOLO"),
        (("images/train/1.png", "images/val/1.png", "labels/train/1.txt"), "such as YOLO"),
        (("Train/1.png", "Test/2.png", "labels.csv"), "perhaps in labels.csv"),
        (("train/1.png", "test/2.png", "extra/3.png"), "names of splits are not classes"),
        (("val/a/1.png", "val/b/2.png"), "but no train/"),
        (("val/a/1.png", "test/b/2.png"), "but no train/"),
        (("train/1.png", "val/a/1.png", "val/b/1.png"), "has pictures in train/"),
        (("a/train/1.png", "a/test/1.png", "b/2.png"), "not all images of b/"),
        (("a/val/1.png", "a/test/1.png", "b/test/2.png"), "but no train/"),
        (("train_a/1.png", "test_a/2.png", "train_b/3.png"), "name a split and a class at once"),
        (("a/1.png", "b/2.png", "test/a/3.png", "test/b/4.png"), "that is a split or a copy"),
        (("a/1.png", "b/2.png", "masks/a/1.png", "masks/b/2.png"), "that is a split or a copy"),
        (("images/1.png", "masks/1.png"), "looks like segmentation"),
        (("train2014/a/1.png", "train2017/a/2.png"), "more than one training folder"),
    ],
)
def test_what_is_not_clear_is_refused(
    tmp_path: Path, files: tuple[str, ...], expected: str
) -> None:
    """Splits, masks and sets for other tasks never become classes; the fault says what it is."""
    with pytest.raises(DataError, match=re.escape(expected)):
        scan.scan(lay(tmp_path, *files))


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (("train/1.png", "car/2.png", "bus/3.png"), "FT151"),
        (("train/s1/1.png", "car/s1/2.png", "bus/s1/3.png"), "FT151"),
        (("train/1.png", "train/more/2.png", "car/3.png"), "FT151"),
        (("test/1.png", "control/2.png"), "FT152"),
        (("valid/1.png", "invalid/2.png"), "FT152"),
        (("cat/1.png", "dog/2.png", "test/3.png"), "FT152"),
        (("train/1.png", "test/2.png", "car/3.png", "bus/4.png"), "FT152"),
    ],
)
def test_a_class_called_like_a_split_is_told(
    tmp_path: Path, files: tuple[str, ...], code: str
) -> None:
    """Vehicles have trains; a test/ among classes may be one, or a split: that is a warning."""
    dataset = scan.scan(lay(tmp_path, *files))

    assert dataset.classes == tuple(sorted({f.split("/")[0] for f in files}))
    assert "like a split" in said(dataset)[code]


def test_vehicles_whose_train_may_be_a_split_are_refused(tmp_path: Path) -> None:
    """A train/ with folders that nothing beside it has may be either: that is asked."""
    root = lay(tmp_path, "train/a/1.png", "train/b/2.png", "car/3.png", "bus/4.png")

    with pytest.raises(DataError, match="may be a split, with the classes a, b, or a class"):
        scan.scan(root)


def test_a_test_without_labels_is_not_used_and_one_is_made(tmp_path: Path) -> None:
    """What a contest asks for has no labels: the test comes from train/, and FT150 says so."""
    for test in ("test", "test/test", "test/unlabeled"):
        root = lay(tmp_path / test.replace("/", "-"), *both("train/{}"), f"{test}/1.png")

        dataset = scan.scan(root)

        assert parts(dataset)[2] is None
        assert "the test split is made from train/" in said(dataset)["FT150"]


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("images/1.png", "masks/1.png"),
        ("Images/1.png", "GroundTruth/1.png"),
        ("1.png", "masks/1.png"),
        ("1.png", "mask/1_mask.png"),
        ("1.png", "1_mask.png"),
        ("a (1).png", "a (1)_mask_1.png"),
    ],
)
def test_masks_are_no_examples(tmp_path: Path, picture: str, mask: str) -> None:
    """Masks beside the pictures of a class are left out, and FT153 lists them."""
    root = lay(tmp_path, *(f"{c}/{name}" for c in ("cat", "dog") for name in (picture, mask)))

    dataset = scan.scan(root)

    assert {s.path for s in dataset.pool} == {f"cat/{picture}", f"dog/{picture}"}
    masks = next(f for f in dataset.findings if f.code == "FT153")
    assert set(masks.paths) == {f"cat/{mask}", f"dog/{mask}"}


def test_classes_of_masks_are_classes(tmp_path: Path) -> None:
    """Faces with and without a mask are two classes."""
    root = lay(tmp_path, "mask/1.png", "no_mask/1.png", "mask/a_mask.png")

    dataset = scan.scan(root)

    assert dataset.classes == ("mask", "no_mask")
    assert len(dataset.pool) == 3


def test_classes_one_level_down_are_asked_for(tmp_path: Path) -> None:
    """Where all images lie deeper, the deeper folders may be the classes: FT156 names them."""
    deep = scan.scan(
        lay(tmp_path / "a", *(f"{c}/1.png" for c in ("x/cat", "x/dog", "y/bus", "y/car")))
    )
    folds = scan.scan(lay(tmp_path / "b", *both("fold1/{}", "fold2/{}")))

    assert "such as cat/ and dog/ in x/" in said(deep)["FT156"]
    assert "each of them has the same folders in it: cat, dog" in said(folds)["FT156"]


def test_files_beside_splits_are_told(tmp_path: Path) -> None:
    """What lies in the folder of splits, or around the classes, is listed with why."""
    root = lay(tmp_path, *both("train/{}"), "loose.png", "labels.csv")

    codes = {f.code: f.paths for f in scan.scan(root).findings}

    assert codes == {"FT104": ("labels.csv",), "FT105": ("loose.png",)}


# --- labels in the names of files -----------------------------------------------------------------

LABEL = re.compile(r"^([a-z]+)\.")


def contest(root: Path) -> Path:
    return lay(
        root,
        *(f"train/{c}.{i}.jpg" for c in ("cat", "dog") for i in range(3)),
        *("train/README.jpg", "test/1.jpg", "test/2.jpg"),
    )


def test_labels_are_found_in_the_names_of_files(tmp_path: Path) -> None:
    """The first bracket is the label; what has none is listed; a test without any is not used."""
    dataset = scan.scan(contest(tmp_path), LABEL)

    assert dataset.classes == ("cat", "dog")
    assert {(s.path, s.label) for s in dataset.pool} == {
        (f"train/{c}.{i}.jpg", k) for k, c in enumerate(("cat", "dog")) for i in range(3)
    }
    assert dataset.test is None
    codes = {f.code: f.paths for f in dataset.findings}
    assert codes["FT154"] == ("train/README.jpg",)
    assert "test/ has a label" in said(dataset)["FT150"]


def test_labelled_names_in_every_split_are_used(tmp_path: Path) -> None:
    """Splits hold where the files of all of them have labels, flat or in folders."""
    files = [
        f"{p}/{c}.{i}.jpg" for p in ("train", "test/more") for c in ("cat", "dog") for i in (1, 2)
    ]
    root = lay(tmp_path, *files)

    dataset = scan.scan(root, LABEL)
    measured = scan.scan_labelled(root, ("cat", "dog"), LABEL)

    assert parts(dataset) == (4, None, 4)
    assert {s.path for s in measured.pool} == {f for f in files if f.startswith("test")}


def test_a_flat_folder_has_labels_in_names(tmp_path: Path) -> None:
    """A flat folder can be trained on and measured with the same expression."""
    root = lay(tmp_path, "cat.1.jpg", "dog.2.jpg")

    assert scan.scan(root, LABEL).classes == ("cat", "dog")
    assert len(scan.scan_labelled(root, ("cat", "dog", "elk"), LABEL).pool) == 2


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("zzz(.)", "finds no label in the names"), ("(jpg)", "finds only 'jpg'")],
)
def test_an_expression_that_tells_no_two_classes_is_a_fault(
    tmp_path: Path, expression: str, expected: str
) -> None:
    """The fault names the expression, and suggests one where the names look like labels."""
    root = lay(tmp_path, *(f"{c}.{i}.jpg" for c in ("cat", "dog") for i in range(4)))

    with pytest.raises(DataError, match=re.escape(expected)) as caught:
        scan.scan(root, re.compile(expression))

    assert r"--label-from '^([a-z]+)\.'" in caught.value.hint


@pytest.mark.parametrize("folder", ["", "train/", "images/", "train/train/"])
def test_names_that_look_like_labels_are_pointed_out(tmp_path: Path, folder: str) -> None:
    """A flat folder, or a flat train/, is refused with the expression to try, which works."""
    files = [f"{folder}{c}_{i:03}.jpg" for c in ("Cat", "Dog") for i in range(4)]
    root = lay(tmp_path, *files, *(["test/1.jpg"] if folder.startswith("train") else []))

    with pytest.raises(DataError) as caught:
        scan.scan(root)

    assert r"--label-from '^(.+)_\d+\.'" in caught.value.hint
    assert scan.scan(root, re.compile(r"^(.+)_\d+\.")).classes == ("Cat", "Dog")
