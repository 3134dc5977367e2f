"""Promises of `finetune features`: train asks the network for nothing that was computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import SAMPLE, Recorder, options_for

from finetune.analysis import analyze
from finetune.analysis.clock import Clock
from finetune.records.errors import CacheError, DataError, UsageError
from finetune.records.sharding import Shard
from finetune.workflows.features import run_features

FEW = {"root": str(SAMPLE), "max_per_class": 4}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def analyzed() -> analyze.Analysis:
    return analyze.analyze(options_for(**FEW), listener := Recorder(), Clock(listener))


def test_training_finds_what_shards_have_computed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Bit by bit the features of one process, of which none is computed again."""
    shards = [
        run_features(options_for(**FEW), Recorder(), Shard(index=i, count=3)) for i in (1, 2, 3)
    ]
    found = analyzed()
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "other"))
    alone = analyzed()

    assert [s.images.computed for s in shards] == [8, 8, 8]
    assert [s.images.own for s in shards] == [8, 8, 8]
    assert all(len(s.parts) == 1 for s in shards)
    assert (found.table.fresh, alone.table.fresh) == (0, 24)
    assert found.table.rows[:].tobytes() == alone.table.rows[:].tobytes()


def test_what_is_known_is_not_computed_again(run_cli, place: Path) -> None:
    """A shard that is given again, or an image that training has run, costs no forward pass."""
    first = json.loads(run_cli("features", SAMPLE, "--max-per-class", 4, "--json").out)
    again = run_cli("features", SAMPLE, "--max-per-class", 4, "--shard", "1/2")

    assert tuple(first["images"][k] for k in ("computed", "known", "total")) == (24, 0, 24)
    assert (place / first["parts"][0]).stat().st_size == first["bytes"]
    assert "features of 0 images computed, 12 had them already" in again.out


class Vanishing(Recorder):
    """Takes a file away once the data was read and checked."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def step(self, name: str) -> None:
        if name.startswith("shard"):
            self._file.unlink()


@pytest.mark.parametrize("bad", ["skip", "error"])
def test_an_image_that_cannot_be_read_is_named_or_ends_it(image_folder, bad: str) -> None:
    """It is left out as in training, or with `--on-bad-image error` a fault."""
    root = image_folder({"a": 4, "b": 4})
    options = options_for(root=str(root), test_fraction=0, on_bad_image=bad)
    listener = Vanishing(root / "a" / "0003.png")

    if bad == "error":
        with pytest.raises(DataError, match="cannot be read"):
            run_features(options, listener, Shard())
        return
    made = run_features(options, listener, Shard())

    assert (made.images.own, made.images.computed, made.images.known) == (8, 7, 0)
    assert len(made.images.unreadable) == 1
    assert "0003.png" in made.images.unreadable[0]


def test_without_a_cache_or_a_backbone_there_is_nothing_to_keep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cache that is off, and a backbone that is to be chosen, are refused with what to do."""
    with pytest.raises(UsageError, match="--backbone auto"):
        run_features(options_for(**FEW, backbone="auto"), Recorder(), Shard())
    monkeypatch.setenv("FINETUNE_CACHE", "off")
    with pytest.raises(CacheError, match="FINETUNE_CACHE is off"):
        run_features(options_for(**FEW), Recorder(), Shard())
