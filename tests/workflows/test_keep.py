"""A finished model is never thrown away: what goes wrong after its training is told."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Recorder, options_for

from finetune.data import examination
from finetune.deploy import inference_file
from finetune.records.errors import RunError
from finetune.records.run import RunResult
from finetune.report import html
from finetune.runs import listing, run_folder
from finetune.storage import atomic_files
from finetune.workflows import faults, final_test
from finetune.workflows.train import run_training

FULL = OSError(errno.ENOSPC, "No space left on device")


class At(Recorder):
    """Does something when a step begins."""

    def __init__(self, step: str, act: Callable[[], object]) -> None:
        super().__init__()
        self._step, self._act = step, act

    def step(self, name: str) -> None:
        if name.startswith(self._step):
            self._act()


@pytest.fixture
def ready(image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with train/ and test/; commands run beside it."""
    image_folder({"a": 8, "b": 8}, root=tmp_path / "data" / "train")
    image_folder({"a": 2, "b": 2}, root=tmp_path / "data" / "test", seed=1)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def train(root: Path, listener: Recorder | None = None, out: str | None = "run") -> RunResult:
    """A linear probe on a small network: a second."""
    tiny = {"backbone": "test_resnet", "weights": "random", "strategy": "linear-probe"}
    request = options_for(root=str(root), out=out, **tiny)
    return run_training(request, listener or Recorder())


def codes(result: RunResult) -> set[str]:
    """Those of what went wrong after the training."""
    return {f.code for f in result.findings} & {kind.code for kind in faults.KINDS}


def fails(fault: Exception) -> Callable[..., None]:
    """A function that raises."""

    def fail(*_: object) -> None:
        raise fault

    return fail


def kept(result: RunResult) -> RunResult:
    """What the run's own folder says, which can be read and has its model."""
    assert run_folder.load(Path(result.run)).facts.strategy == result.strategy
    return run_folder.load_result(Path(result.run))


def test_a_test_folder_that_vanishes_costs_the_test_only(ready: Path) -> None:
    """The model is kept with its cross-validated estimate; how to test it later is said."""
    result = train(ready, At("testing", lambda: (ready / "test").rename(ready / "away")))

    assert (result.test, codes(result)) == (None, {"FT201"})
    assert result.failed is not None
    assert result.failed.exit_code == 3
    assert "none of the 4 test images can be read" in result.failed.text
    assert result.failed.hint.endswith(f"finetune evaluate {ready} --unseen --run run")
    assert kept(result).failed == result.failed
    assert "FT201" in (Path(result.run) / "report.html").read_text("utf-8")


def test_a_test_image_that_vanishes_costs_itself_only(ready: Path) -> None:
    """It is a finding with its name, and the others are the test."""
    gone = ready / "test" / "a" / "0001.png"

    result = train(ready, At("testing", gone.unlink))

    assert result.test is not None
    assert (result.test.n, result.failed) == (3, None)
    assert [f.paths for f in result.findings if f.code == "FT120"] == [("test/a/0001.png",)]


@pytest.mark.parametrize(
    ("where", "name", "fault", "found", "code"),
    [
        (final_test, "examine", MemoryError(), {"FT201"}, 3),
        (final_test, "examine", PermissionError(13, "Permission denied", "x"), {"FT201"}, 3),
        (final_test, "measured", ZeroDivisionError(), {"FT201", "FT209"}, 1),
        (examination, "late_findings", OSError(5, "Input/output error"), {"FT205"}, None),
        (examination, "late_findings", KeyError("x"), {"FT205", "FT209"}, 1),
        (inference_file, "inference_file", FULL, {"FT202"}, None),
        (html, "to_html", ValueError("odd"), {"FT203", "FT209"}, 1),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value)[:30],
)
def test_any_fault_after_the_training_keeps_the_model(
    ready: Path, monkeypatch: pytest.MonkeyPatch, where, name: str, fault, found, code
) -> None:
    """A fault is a finding of the run; a bug is shown with its traceback, and ends with 1."""
    monkeypatch.setattr(where, name, fails(fault))

    result = train(ready, recorder := Recorder())

    assert codes(result) == codes(kept(result)) == found
    assert (None if result.failed is None else result.failed.exit_code) == code
    assert any("Traceback" in note for note in recorder.notes) == ("FT209" in found)
    assert (Path(result.run) / "report.html").exists() == ("FT203" not in found)


def test_without_room_for_the_inference_file_the_model_is_kept(ready: Path, monkeypatch) -> None:
    """The run is where it was to go, without what only makes it faster."""
    save = run_folder.save

    def small(path: Path, *rest: object, **files: object) -> None:
        if files["network"] is not None:
            raise RunError(f"cannot write the run to {path}: No space left", hint="Make room.")
        save(path, *rest, **files)  # type: ignore[arg-type]

    monkeypatch.setattr(run_folder, "save", small)

    result = train(ready)

    assert (result.run, codes(result), result.failed) == ("run", {"FT202"}, None)
    assert kept(result).test == result.test


def test_on_a_full_disk_the_run_goes_elsewhere(ready: Path, monkeypatch) -> None:
    """Below ./runs where there is room; the fault names both places and how to move it."""
    move = atomic_files.move

    def full(folder: Path, place: Path, instead_of: Path | None = None) -> None:
        if place == Path("run"):
            raise FULL
        move(folder, place, instead_of)

    monkeypatch.setattr(atomic_files, "move", full)

    result = train(ready)

    assert Path(result.run).parent == Path("runs")
    assert result.failed is not None
    assert result.failed.exit_code == 3
    assert "cannot write the run to run: No space left" in result.failed.text
    assert result.failed.hint == f"Make room, then move it: mv {result.run} run"
    assert "FT204" in codes(kept(result))
    assert {p.name for p in Path().iterdir()} == {"data", "runs"}
    assert [r.run for r in listing.rows()] == [result.run]


def test_a_place_that_is_taken_meanwhile_is_left_alone(ready: Path) -> None:
    """What a person has put there stays, and the run lies beside it."""

    def take() -> None:
        Path("run").mkdir()
        Path("run/mine.txt").write_text("mine")

    result = train(ready, At("testing", take))

    assert (result.run, codes(result)) == ("run-2", {"FT204"})
    assert Path("run/mine.txt").read_text() == "mine"
    assert kept(result).test == result.test


def test_the_command_ends_with_3_and_names_the_run(ready: Path, run_cli, monkeypatch) -> None:
    """The answer is on stdout as usual, the fault and one thing to try on stderr."""
    monkeypatch.setattr(final_test, "examine", fails(MemoryError("out of memory")))
    tiny = ("--strategy", "linear-probe", "--backbone", "test_resnet", "--weights", "random")

    done = run_cli("train", ready, *tiny, "--out", "run", "--json")

    assert done.code == 3
    assert json.loads(done.out)["run"] == "run"
    assert "FT201" in {f["code"] for f in json.loads(done.out)["findings"]}
    assert "error: the model could not be tested" in done.err
    assert "try:" in done.err


def test_stopped_before_a_decision_it_says_so(ready: Path) -> None:
    """Neither the table nor a budget is given as the reason for the probe that is kept."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    result = train(ready, At("forecasting", interrupt))

    advice = result.recommendation
    assert (advice.policy, advice.flips, advice.warning) == ("undecided", (), None)
    assert advice.reasons[-1].rule == "stopped"
    assert "stopped before anything was decided" in advice.reasons[-1].text
    assert not {r.rule for r in advice.reasons} & {"budget", "table", advice.rule}
    assert result.stopped is not None
    assert "nothing was decided yet, kept is" in result.stopped.text
    assert kept(result).recommendation == advice
