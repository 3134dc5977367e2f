"""What the committed measurements say is what the program believes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType

import pytest

from finetune import strategy

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
            kept = asdict(strategy.BELIEFS[column][name])
            assert kept == pytest.approx(asdict(belief), abs=0.0051), (column, name)


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
