"""Promises of `sources.names`: what a folder's or a file's name says, and what it does not."""

from __future__ import annotations

import re
import unicodedata

import pytest

from finetune.records.errors import UsageError
from finetune.sources import names


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *((n, "train") for n in ("train", "TRAIN", "Training", "train2017", "seg_train")),
        *((n, "train") for n in ("training_set", "Train_images", "trainset", "TrainData")),
        *((n, "val") for n in ("val", "valid", "Validation", "val2017", "dev", "val_256")),
        *((n, "test") for n in ("test", "Testing", "test1", "test_set", "TestSet", "evaluation")),
        *((n, None) for n in ("cat", "trains", "train_cat", "training shoe", "contest", "latest")),
        *((n, None) for n in ("invalid", "images", "2017", "", "тест", "test_tube")),
    ],
)
def test_the_split_that_a_name_stands_for(name: str, role: str | None) -> None:
    """Split words with years and fillers are splits; words of another meaning are not."""
    assert names.role_of(name) == role


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["cat.0.jpg", "dog.1.jpg"], r"^([a-z]+)\."),
        (["Cat.0.jpg", "dog.1.jpg"], r"^([A-Za-z]+)\."),
        (["cat_001.jpg", "dog_002.jpg"], r"^(.+)_\d+\."),
        (["great_dane_1.jpg", "pug_2.jpg"], r"^(.+)_\d+\."),
        (["cat-1.jpg", "dog-2.jpg"], r"^(.+)-\d+\."),
        (["cat (1).jpg", "dog (2).jpg"], r"^(.+?) ?\(\d+\)\."),
        (["cat1.jpg", "dog2.jpg"], r"^([a-z]+)\d+\."),
        (["1_cat.jpg", "2_dog.jpg"], r"[_-]([a-z]+)\."),
        (["IMG_0001.jpg", "DSC_0002.jpg"], None),
        (["0001.jpg", "0002.jpg"], None),
        (["d41d8cd98f00b204.jpg", "e41d8cd98f00b205.jpg"], None),
        (["holiday.jpg", "beach.jpg"], None),
    ],
)
def test_an_expression_is_suggested_where_names_look_like_labels(
    files: list[str], expected: str | None
) -> None:
    """Several images a label are needed, and cameras' names are no labels."""
    varied = [
        re.sub(r"\d+(?=\D*$)", lambda m, i=i: f"{int(m[0]) + i:03}", f)
        for f in files
        for i in range(3)
    ]
    several = varied if expected else files

    found = names.suggested(several)

    assert found == expected
    if found is not None:
        labels = {names.found_in(re.compile(found), f) for f in several}
        assert len(labels) == 2


def test_an_expression_that_is_none_is_a_usage_error() -> None:
    """The fault names the option and shows one that works."""
    with pytest.raises(UsageError, match=r"--label-from '\(' is not a regular") as caught:
        names.compiled("--label-from", "(", r"^([a-z]+)\.")

    assert r"--label-from '^([a-z]+)\.'" in caught.value.hint


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Cat", "cat", True),
        ("cat ", "cat", True),
        ("golden_retriever", "Golden Retriever", True),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café"), True),
        ("cafe", "café", True),
        ("cat", "cats", False),
        ("か", "が", False),
        ("и", "й", False),
    ],
)
def test_names_that_a_person_takes_for_one(one: str, other: str, same: bool) -> None:
    """Capitals, accents of Latin letters and blanks do not count; other scripts' marks do."""
    assert (names.folded(one) == names.folded(other)) == same
