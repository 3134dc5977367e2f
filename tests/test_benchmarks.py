"""What the committed measurements say is what the program believes, and how they are made."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from finetune.decision import prior

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def regret(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark's own code."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import regret as module  # noqa: PLC0415 - it lies beside the package

    return module


def test_beliefs_are_those_of_the_committed_rows(regret: ModuleType) -> None:
    """Each belief in the program is fitted on the rows that are committed, to two decimals."""
    fitted = regret.fitted(regret.load())

    for column, beliefs in fitted.items():
        for name, belief in beliefs.items():
            kept = asdict(prior.BELIEFS[column][name])
            assert kept == pytest.approx(asdict(belief), abs=0.0051), (column, name)
    assert regret.per_decade(regret.load()) == pytest.approx(prior.PER_DECADE, abs=0.0051)


def test_beliefs_are_fitted_without_the_set_that_is_scored(regret: ModuleType) -> None:
    """Leaving a data set out leaves out every cell of it and nothing else."""
    known = regret.load()
    name = next(iter(known.rows))[0]

    rest = known.without(name)

    assert {c for c in known.rows if c[0] == name}.isdisjoint(rest.rows)
    assert len(rest.rows) + sum(c[0] == name for c in known.rows) == len(known.rows)


def test_the_oracle_is_picked_on_other_seeds(regret: ModuleType) -> None:
    """Where a set and size has several seeds, the best strategy is not chosen on the scored one."""
    known = regret.load()
    cell = next(c for c in known.rows if sum(o[:2] == c[:2] for o in known.rows) > 1)
    kind = known.best(cell)
    rigged = {k: r for k, r in known.rows[cell].items() if k != kind}

    assert regret.Known({**known.rows, cell: rigged}, known.evidence).best(cell) == kind


@pytest.mark.slow
def test_the_report_prints_from_the_rows_alone() -> None:
    """`--report` needs no data and ends in the mean regret of the default policy."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "regret.py"), "--report"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "| always deep |" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("mean regret ")


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The speed benchmark's own code; nothing of it runs a contender when imported."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import speed as module  # noqa: PLC0415 - it lies beside the package

    return module


def test_the_speed_report_prints_from_rows(speed: ModuleType, tmp_path: Path) -> None:
    """Ratios, extrapolated seconds, promises met and not, and what could not be run."""
    row = partial(speed.Row, "2026-11-23T00:00:00", "a machine", 0.1, "flowers5")
    rows = [
        row("probe-cold", 200, 100, 10.0, accuracy=0.9),
        row("probe-cold", 200, 100, 8.0, accuracy=0.9),
        row("probe-warm", 200, 100, 2.0, accuracy=0.9),
        row("fastai", 200, 100, 90.0, epochs_run=6, epochs_of=6, accuracy=0.95),
        row("timm", 200, 100, 60.0, 840.0, epochs_run=3, epochs_of=300, accuracy=0.5),
        row("predict-many", 1000, 0, 10.0),
        row("floor-many", 1000, 0, 9.0),
        row("engine-many", 1000, 0, 12.0, compute_s=7.5),
        row("autogluon", 0, 0, None, note="does not install: another torch"),
    ]
    speed.speed_rows.write(rows, tmp_path / "rows.csv")

    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "speed.py"), "--report", "--out", tmp_path / "rows.csv"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert speed.speed_rows.read(tmp_path / "rows.csv") == rows
    assert "| 3 of 300 | ≈ 900.00 |" in done.stdout
    assert "(50.0%) | 100.0 | 450.0 |" in done.stdout
    first = "| flowers5: probe, first run ever: times faster than others"
    assert f"{first} | 10.0 (least: fastai) | ≥ 20 | **no** |" in done.stdout
    assert "| 90.0%; above: fastai 95.0% | equal or better | **no** |" in done.stdout
    assert "| flowers5: second run, times faster | 4.5 | ≥ 3 | yes |" in done.stdout
    assert "share of the rate of the engine alone | 75% | ≥ 80 % | **no** |" in done.stdout
    assert "share of the rate of start, decode and forward passes | 90% |" in done.stdout
    assert "does not install: another torch" in done.stdout


def test_repeated_images_differ_in_bytes_only(speed: ModuleType, tmp_path: Path) -> None:
    """The large folder holds as many different files as asked for, with the same pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for label in ("a", "b"):
        (tmp_path / "few" / label).mkdir(parents=True)
        Image.fromarray(noise).save(tmp_path / "few" / label / "one.jpg")

    speed.repeat(tmp_path / "few", 6, tmp_path / "many")

    files = sorted((tmp_path / "many").rglob("*.jpg"))
    assert len({f.read_bytes() for f in files}) == len(files) == 6
    with Image.open(files[0]) as one, Image.open(files[5]) as two:
        assert one.tobytes() == two.tobytes()


def test_a_measured_process_is_timed_and_read(speed: ModuleType) -> None:
    """Exit code, output, seconds and memory of a process, with the environment asked for."""
    code = "import os, time; x = bytearray(50_000_000); time.sleep(0.5); print(os.environ['A'])"
    found = speed.speed_rows.measure([sys.executable, "-c", code], {"A": "b"})

    assert (found.code, found.out, found.err) == (0, "b\n", "")
    assert 0.5 < found.seconds < 30
    assert found.peak_mb > 50


def test_thinned_classes_are_scored_by_how_frequent_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Six images of one class and two of the other to fit, the rest a test; accuracy by share."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import imbalance  # noqa: PLC0415 - it lies beside the package

    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(9):
            (tmp_path / label / f"{i}.png").touch()

    thin = imbalance.Thinned.of(tmp_path, (6, 2), 0, 2)
    always_a = np.tile([1.0, 0.0], (len(thin.test), 1))
    figures = thin._figures(always_a)

    assert thin.counts.tolist() == [6, 2]
    assert not set(thin.fit) & set(thin.test)
    assert np.bincount(thin.test_labels).tolist() == [3, 3]
    assert np.bincount(thin.labels[thin.held]).tolist() == [2, 1]
    assert figures[:5] == pytest.approx((0.75, 0.5, 1.0, 0.0, 0.25))


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What makes one data set out of many."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import joined as module  # noqa: PLC0415 - it lies beside the package

    return module


def test_classes_of_several_sets_lie_side_by_side(joined: ModuleType, tmp_path: Path) -> None:
    """Each class is named after its set; at most so many images, or as many as asked for."""
    rng = np.random.default_rng(0)
    for name, count in (("one", 3), ("two", 12)):
        (tmp_path / "sets" / name / "a").mkdir(parents=True)
        for i in range(count):
            noise = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "sets" / name / "a" / f"{i:03d}.png")

    joined.join(tmp_path / "sets", tmp_path / "few", ("one", "two"), 5)
    joined.enlarge(tmp_path / "sets", tmp_path / "many", 2, 16)

    few, many = (
        {d.name: sorted(d.iterdir()) for d in (tmp_path / made).iterdir()}
        for made in ("few", "many")
    )
    assert {name: len(files) for name, files in few.items()} == {"one_a": 3, "two_a": 5}
    assert {name: len(files) for name, files in many.items()} == {"one_a": 8, "two_a": 8}
    pixels = [Image.open(f).convert("RGB").resize((32, 32)).tobytes() for f in many["one_a"]]
    assert len(set(pixels)) == 8


def test_what_many_classes_cost_is_fitted_on_the_committed_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The share that beliefs lose beyond the measured classes is that of the joined sets' rows."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import crowding  # noqa: PLC0415 - it lies beside the package

    cells = crowding.load()

    assert all(seen.classes >= 50 for seen, _ in cells.values())
    assert crowding.crowding() == pytest.approx(prior.CROWDING, abs=0.0051)
