"""Promises: labels and numbers are the same data, splits and model in whatever form they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import KINDS
from helpers import Recorder, options_for
from source_forms import FORMS, Given, as_csv, as_saved, drawn

from finetune.data import examination
from finetune.records.choices import OtherTarget
from finetune.records.dataset import Sample
from finetune.records.file_names import MODEL
from finetune.records.options import DataOptions
from finetune.records.target_result import TargetResult
from finetune.sources import readers
from finetune.workflows.train import run_training


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[OtherTarget, Given]:
    """The pictures of both kinds."""
    return {k: drawn(tmp_path_factory.mktemp("same") / k, k) for k in KINDS}


def essence(samples: tuple[Sample, ...]) -> list[tuple[str, int, tuple[float, ...]]]:
    """Bytes, stratum and truth of each image, in order; what it is called may differ."""
    return [(s.digest, s.label, s.values) for s in samples]


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_numbers_are_the_same_data(
    given: dict[OtherTarget, Given],
    tmp_path: Path,
    kind: OtherTarget,
    form: Callable[[Given, Path], str],
) -> None:
    """What is learned, its values, strata, order and splits are those of a plain CSV."""
    some = given[kind]
    (tmp_path / "csv").mkdir()
    (tmp_path / "other").mkdir()
    table, other = as_csv(some, tmp_path / "csv"), form(some, tmp_path / "other")

    one, two = readers.read(table), readers.read(other)
    splits = [
        examination.examine(DataOptions(root=of), 3, lambda *_: None).splits
        for of in (table, other)
    ]

    assert one.target is not None
    assert two.target is not None
    assert two.target.kind == one.target.kind == kind
    assert kind == "number" or two.target.names == ("bär", "cat", "dog")
    assert two.classes == one.classes
    assert essence(two.pool) == essence(one.pool)
    assert len(two.pool) == 40
    for part in ("train", "val", "test"):
        assert essence(getattr(splits[1], part)) == essence(getattr(splits[0], part))
    root = readers.root_of(other)
    assert all((root / s.path).read_bytes()[:4] == b"\x89PNG" for s in two.pool)


@pytest.mark.parametrize(
    "forms",
    [(as_csv, as_saved), pytest.param(FORMS, marks=pytest.mark.slow)],
    ids=["two", "all"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_numbers_give_the_same_model(
    given: dict[OtherTarget, Given],
    tmp_path: Path,
    kind: OtherTarget,
    forms: tuple[Callable[[Given, Path], str], ...],
) -> None:
    """A table, archives, shards and `datasets` give the same features, head and test."""
    runs = []
    for form in forms:
        place = tmp_path / form.__name__
        place.mkdir()
        options = options_for(
            root=form(given[kind], place),
            out=str(tmp_path / f"run-{form.__name__}"),
            strategy="linear-probe",
            backbone="lenet5",
            weights="random",
        )
        result = run_training(options, Recorder())
        assert isinstance(result, TargetResult)
        runs.append(result)

    first, *others = runs
    for result in others:
        assert result.test is not None
        assert first.test is not None
        numbers = [
            replace(test, per_number=tuple(replace(n, name="") for n in test.per_number))
            for test in (first.test, result.test)  # a column has a name, other forms have none
        ]
        assert numbers[0] == numbers[1]
        one, two = (Path(r.run) / MODEL for r in (first, result))
        assert one.read_bytes() == two.read_bytes()
