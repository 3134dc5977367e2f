"""Nothing lost: killed, interrupted and faulty trainings, and the same once more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from helpers import Recorder, changed, options_for

from finetune.decision import baseline
from finetune.pictures import decoding
from finetune.records import training
from finetune.records.errors import ImageError, LostRankError, RunError
from finetune.records.metrics import Baseline
from finetune.records.options import Options, flat
from finetune.records.run import RunResult
from finetune.records.training import EpochRecord
from finetune.runs import fit_slot, listing, run_folder
from finetune.runs import places as runs_places
from finetune.runs.places import FIT
from finetune.storage import atomic_files
from finetune.training import setup, state
from finetune.workflows import begin, train

KEEP_TUNED = Baseline("tuned", 100, 0.9, 0.5, 1.0, 1.0, "made up by a test")
# Random weights of a small network: three epochs take a second.
SMALL = {"backbone": "test_resnet", "weights": "random", "policy": "table"}
OPTIONS = {"epochs": 3, "batch_size": 8, "side_px": 64}


class Killed(BaseException):
    """The end of a process: nothing catches it, and what is on the disk is all that stays."""


class Stopper(Recorder):
    """Ends the training when so many epochs, in all fits together, have ended, or at a step."""

    def __init__(self, after: int | None = None, step: str = "", how: type = Killed) -> None:
        super().__init__()
        self._after, self._step, self._how = after, step, how

    def epoch(self, record: EpochRecord) -> None:
        super().epoch(record)
        if len(self.epochs) == self._after:
            raise self._how

    def step(self, name: str) -> None:
        if self._step and name.startswith(self._step):
            raise self._how


@pytest.fixture(autouse=True)
def _every_epoch_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_slot, "PAUSE", 0)


@pytest.fixture
def kept_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tuned models are returned, whether or not they beat the probe."""
    monkeypatch.setattr(baseline, "judge", lambda *_, **_options: KEEP_TUNED)


@pytest.fixture
def ask(image_folder, tmp_path: Path) -> Callable[..., Options]:
    """A request on one small folder of pictures; `--out` is a name below `tmp_path`."""
    root = image_folder({"a": 16, "b": 14})

    def request(out: str, **changes: object) -> Options:
        options = {**SMALL, "strategy": "deep", "options": OPTIONS, **changes}
        return options_for(root=str(root), out=str(tmp_path / out), **options)

    return request


@dataclass(frozen=True)
class Unbroken:
    """What the same training ends in when nothing happens to it."""

    result: RunResult
    model: bytes
    epochs: int


@pytest.fixture(scope="module")
def known() -> dict[str, Unbroken]:
    return {}


@pytest.fixture
def unbroken(ask, known: dict[str, Unbroken]) -> Callable[..., Unbroken]:
    """Train once for all tests that ask for the same: the pictures have the same bytes in each."""

    def make(**changes: object) -> Unbroken:
        if str(changes) not in known:
            result = run(ask("whole", **changes), recorder := Recorder())
            known[str(changes)] = Unbroken(result, model(result.run), len(recorder.epochs))
            shutil.rmtree(result.run)
        return known[str(changes)]

    return make


def run(request: Options, listener: Recorder | None = None) -> RunResult:
    return train.run_training(request, listener or Recorder())


def model(path: str | Path) -> bytes:
    return (Path(path) / run_folder.MODEL).read_bytes()


def folder_of(request: Options) -> Path:
    return runs_places.place(request, run_folder.HOME)


def killed(request: Options, stopper: Stopper) -> Stopper:
    """Train until the stopper ends it."""
    with pytest.raises(Killed):
        run(request, stopper)
    return stopper


@pytest.mark.parametrize(
    "after",
    [
        pytest.param(1, marks=pytest.mark.slow),
        3,
        *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 8)),
    ],
)
@pytest.mark.usefixtures("kept_tuned")
def test_killed_after_any_epoch_it_goes_on_to_the_same_model(ask, unbroken, after: int) -> None:
    """In either half or in the final fit: the same bytes, no epoch twice, nothing left beside."""
    whole = unbroken()

    first = killed(ask("cut"), Stopper(after))
    assert not Path(ask("cut").output.out).exists()
    result = run(changed(ask("cut"), resume=True), rest := Recorder())

    assert model(result.run) == whole.model
    assert result.test == whole.result.test
    assert len(first.epochs) + len(rest.epochs) == whole.epochs == 9
    assert [p.name for p in Path(result.run).parent.glob("[!i]*")] == ["cut"]


def test_a_killed_blend_goes_on_to_the_same_blend(ask, unbroken) -> None:
    """Killed in the last of its fits: the same two networks, weights and answers to the bit."""
    whole = unbroken(strategy="blend")

    killed(ask("cut", strategy="blend"), Stopper(8))
    result = run(changed(ask("cut", strategy="blend"), resume=True), rest := Recorder())

    assert result.strategy == "blend"
    assert len(rest.epochs) == whole.epochs - 8
    assert model(result.run) == whole.model
    assert (result.parts, result.test) == (whole.result.parts, whole.result.test)


@pytest.mark.slow
def test_killed_again_and_again_it_still_ends_at_the_same_model(ask, unbroken) -> None:
    """Early stopping, best epoch and BatchNorm statistics of `scratch` go on as well."""
    options = {**OPTIONS, "epochs": 6, "patience": 2}
    whole = unbroken(strategy="scratch", options=options)
    request = changed(ask("cut", strategy="scratch", options=options), resume=True)

    while not Path(request.output.out).exists():
        try:
            result = run(request, Stopper(1))
        except Killed:
            continue

    assert model(result.run) == whole.model
    assert result.estimate == whole.result.estimate


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("trying", marks=pytest.mark.slow),
        pytest.param("partial on all", marks=pytest.mark.slow),
        pytest.param("testing", marks=pytest.mark.slow),
        "writing",
    ],
)
@pytest.mark.usefixtures("kept_tuned")
def test_killed_between_two_fits_it_goes_on(ask, unbroken, monkeypatch, step: str) -> None:
    """By evidence, with trials: the decision is the same though the forecast takes other times."""
    monkeypatch.setattr("finetune.decision.prior.wins", lambda _: True)
    monkeypatch.setattr("finetune.decision.prior.worth_trying", lambda *_: True)
    monkeypatch.setattr(
        "finetune.decision.prior.candidate",
        lambda beliefs, *_, **_options: ("partial", beliefs["partial"]),
    )
    asked = {"strategy": "auto", "policy": "measured", "single": True}
    whole = unbroken(**asked)

    killed(ask("cut", **asked), Stopper(1) if step == "trying" else Stopper(step=step))
    slow = lambda *_args, **_options: 1e9  # noqa: E731 - forecast anew, nothing would fit
    monkeypatch.setattr(setup, "seconds_per_step", slow)
    result = run(changed(ask("cut", **asked), resume=True))

    assert result.strategy == whole.result.strategy == "partial"
    assert model(result.run) == whole.model


def test_an_unfinished_training_is_not_thrown_away(ask) -> None:
    """Without --resume it is named with both ways on, and stays."""
    killed(ask("cut"), Stopper(2))

    with pytest.raises(RunError, match="unfinished training") as caught:
        run(ask("cut"))

    assert "--resume" in caught.value.hint
    assert str(folder_of(ask("cut"))) in caught.value.hint
    run(changed(ask("cut"), resume=True), rest := Recorder())
    assert "going on after epoch 2 of 3" in rest.notes


def test_another_request_is_not_gone_on_with(ask) -> None:
    """What differs is named, and what was kept stays."""
    killed(ask("cut"), Stopper(2))

    for changes, says in (
        ({"seed": 1}, "--seed was 0 and is 1"),
        ({"options": {**OPTIONS, "epochs": 4}}, "--epochs was 3 and is 4"),
        ({"options": {**OPTIONS, "lr": 0.5}}, "--lr was by rule and is 0.5"),
        ({"strategy": "partial"}, "--strategy was deep and is partial"),
        ({"budget_s": 60.0}, "--budget was None and is 60.0"),
    ):
        with pytest.raises(RunError, match=says):
            run(changed(ask("cut", **changes), resume=True))

    assert run(changed(ask("cut"), resume=True)).stopped is None


def test_changed_images_are_not_gone_on_with(ask) -> None:
    """A picture exchanged under the same name is noticed."""
    request = ask("cut")
    killed(request, Stopper(2))
    first, second = (Path(request.data.root) / "a" / f"000{i}.png" for i in (0, 1))
    saved = first.read_bytes()
    shutil.copy(second, first)

    with pytest.raises(RunError, match="the images, their names or their classes have changed"):
        run(changed(request, resume=True))

    first.write_bytes(saved)
    assert run(changed(request, resume=True)).stopped is None


def test_other_versions_are_not_gone_on_with(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another torch would give other numbers, so it is named."""
    killed(ask("cut"), Stopper(2))
    monkeypatch.setattr(begin, "versions", lambda: {"torch": "1.0"})

    with pytest.raises(RunError, match=r"torch was .* and is 1\.0"):
        run(changed(ask("cut"), resume=True))


def test_nothing_to_resume_is_told_and_trained(ask) -> None:
    """--resume may always be given: it starts where there is nothing, and says so."""
    run(changed(ask("run"), resume=True), recorder := Recorder())

    assert any("nothing to resume" in note for note in recorder.notes)
    assert len(recorder.epochs) == 6


def test_default_places_are_found_again(ask, tmp_path: Path, monkeypatch) -> None:
    """Without --out the folder is named after the request, and the listing shows it."""
    monkeypatch.chdir(tmp_path)
    request = changed(ask("x"), out=None, command="finetune train images --strategy deep")
    killed(request, Stopper(4))

    rows = listing.rows()
    assert [r.error for r in rows] == ["unfinished: finetune train images --strategy deep"]
    result = run(changed(request, resume=True), rest := Recorder())

    assert len(rest.epochs) == 2
    assert [r.run for r in listing.rows()] == [result.run]


def test_a_run_that_was_finished_when_killed_is_not_made_twice(
    ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the rename and the end, --resume answers with the run that is there."""
    whole, move = ask("run"), atomic_files.move

    def move_and_die(*places: Path) -> None:
        move(*places)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(atomic_files, "move", move_and_die)
        killed(whole, Stopper())
    result = run(changed(whole, resume=True), recorder := Recorder())

    assert "nothing left to resume" in recorder.notes[-1]
    assert (result.run, result.stopped) == (whole.output.out, None)
    assert not folder_of(whole).exists()


def test_a_finished_run_is_not_made_again(ask) -> None:
    """--resume on a run that is whole answers with it; another request finds the place taken."""
    whole = ask("run")
    first = run(whole, Stopper())

    again = run(changed(whole, resume=True), recorder := Recorder())

    assert "nothing left to resume" in recorder.notes[-1]
    assert replace(again, seconds={}) == replace(first, seconds={})
    assert not folder_of(whole).exists()
    with pytest.raises(RunError, match=r"exists already, a finished run.* --seed was 0 and is 5"):
        run(changed(whole, seed=5, resume=True), Recorder())


@pytest.mark.usefixtures("kept_tuned")
def test_interrupted_the_best_epoch_is_kept_where_it_was_judged(ask) -> None:
    """With validation images the best epoch so far is the run, which says so and can be used."""
    request = ask("run", strategy="scratch")

    result = run(request, Stopper(2, how=KeyboardInterrupt))

    assert result.stopped is not None
    assert result.stopped.exit_code == 130
    assert "kept is scratch" in result.stopped.text
    assert "--resume" in result.stopped.hint
    assert (result.strategy, result.test) == ("scratch", None)
    assert run_folder.load(Path(result.run)).facts.accuracy_source.endswith("stopped early")
    assert "Stopped early: interrupted" in (Path(result.run) / "report.html").read_text("utf-8")
    assert len((Path(result.run) / "history.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "after", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(7, marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("kept_tuned")
def test_interrupted_where_nothing_is_proved_the_probe_is_kept(ask, after: int) -> None:
    """On halves, or in a last fit without validation, the best probe is the run."""
    result = run(ask("run"), Stopper(after, how=KeyboardInterrupt))

    assert result.strategy in ("linear-probe", "stage-probe")
    assert result.stopped is not None
    assert run_folder.load(Path(result.run)).facts.strategy == result.strategy


@pytest.mark.parametrize("strategy", [pytest.param("scratch", marks=pytest.mark.slow), "deep"])
@pytest.mark.usefixtures("kept_tuned")
def test_an_interrupted_run_is_replaced_by_the_whole_one(ask, unbroken, strategy: str) -> None:
    """--resume ends at the unbroken model in the same place, and leaves nothing beside it."""
    whole = unbroken(strategy=strategy)
    request = ask("run", strategy=strategy)
    run(request, Stopper(2, how=KeyboardInterrupt))
    again = run(changed(request, resume=True), Stopper(1, how=KeyboardInterrupt))

    result = run(changed(request, resume=True))

    assert again.stopped is not None
    assert result.stopped is None
    assert model(result.run) == whole.model
    assert [p.name for p in Path(request.output.out).parent.glob("[!i]*")] == ["run"]


def test_an_interrupted_run_is_not_thrown_away(ask) -> None:
    """Without --resume its progress stays, and so does the run."""
    request = ask("run", strategy="scratch")
    first = run(request, Stopper(2, how=KeyboardInterrupt))

    with pytest.raises(RunError, match="unfinished training"):
        run(request)

    assert model(first.run)
    run(changed(request, resume=True), rest := Recorder())
    assert len(rest.epochs) == 1


def test_an_interrupted_probe_is_replaced_too(ask) -> None:
    """Where no fit was kept --resume trains from the start, in the same place."""
    request = ask("run", strategy="linear-probe")
    first = run(request, Stopper(step="testing", how=KeyboardInterrupt))

    result = run(changed(request, resume=True))

    assert first.stopped is not None
    assert (result.run, result.stopped) == (first.run, None)
    assert not folder_of(request).exists()


def test_a_note_in_an_interrupted_run_is_not_deleted_with_it(ask) -> None:
    """What a person has put into the folder is no part of the run: it is named and stays."""
    request = ask("run", strategy="linear-probe")
    first = run(request, Stopper(step="testing", how=KeyboardInterrupt))
    note = Path(first.run) / "notes.txt"
    note.write_text("mine")

    with pytest.raises(RunError, match=r"holds notes\.txt"):
        run(changed(request, resume=True))

    assert note.read_text() == "mine"
    note.unlink()
    assert run(changed(request, resume=True)).stopped is None


def test_something_else_in_the_place_of_an_interrupted_run_stays(ask) -> None:
    """What a person has put there meanwhile is not replaced."""
    request = ask("run")
    run(request, Stopper(2, how=KeyboardInterrupt))
    shutil.rmtree(request.output.out)
    Path(request.output.out).mkdir()
    (Path(request.output.out) / "mine.txt").write_text("mine")

    with pytest.raises(RunError, match="exists already"):
        run(changed(request, resume=True))

    assert (Path(request.output.out) / "mine.txt").read_text() == "mine"
    assert folder_of(request).exists()


@pytest.mark.parametrize("step", ["reading", "one forward", "cross-validating"])
def test_interrupted_before_the_probes_nothing_is_left(ask, step: str) -> None:
    """There is nothing to keep yet: no run, no folder beside it, and it is said."""
    request, stopper = ask("run"), Stopper(step=step, how=KeyboardInterrupt)

    with pytest.raises(KeyboardInterrupt):
        run(request, stopper)

    assert "interrupted before there was anything to keep" in stopper.notes[-1]
    assert not Path(request.output.out).exists()
    assert not folder_of(request).exists()


@pytest.mark.parametrize("step", ["testing", "writing"])
@pytest.mark.usefixtures("kept_tuned")
def test_interrupted_at_the_end_the_finished_model_is_kept(ask, unbroken, step: str) -> None:
    """In the test or while the run is written the model is there already: it is the run."""

    class Once(Stopper):
        def step(self, name: str) -> None:
            armed, self._step = self._step, "" if name.startswith(self._step) else self._step
            if armed != self._step:
                raise KeyboardInterrupt

    result = run(ask("run"), Once(step=step))

    assert result.strategy == "deep"
    assert model(result.run) == unbroken().model
    assert (result.test is None) == (step == "testing")
    assert result.stopped is not None


def diverging(at: int) -> Callable[..., float]:
    """A step whose loss is no number from some step on."""
    step, count = state.Loop.step, iter(range(1000))

    def diverge(self: state.Loop, *arguments: object) -> float:
        loss = step(self, *arguments)  # type: ignore[arg-type]
        return float("nan") if next(count) >= at else loss

    return diverge


@pytest.mark.parametrize(("strategy", "kept"), [("scratch", "scratch"), ("deep", "probe")])
def test_a_loss_that_is_no_number_keeps_the_best(ask, monkeypatch, strategy, kept) -> None:
    """The run has the best that was proved, and says the step; nothing is left to resume."""
    monkeypatch.setattr(state.Loop, "step", diverging(7))
    request = ask("run", strategy=strategy)

    result = run(request)

    assert result.stopped is not None
    assert result.stopped.exit_code == 3
    assert "the loss became nan at step" in result.stopped.text
    assert "--lr" in result.stopped.hint
    assert kept in result.strategy
    assert run_folder.load(Path(result.run))
    assert not folder_of(request).exists()


@pytest.mark.usefixtures("kept_tuned")
def test_a_lost_rank_leaves_a_training_to_go_on_with(ask, unbroken, monkeypatch) -> None:
    """Where another process of `torchrun` ends, what was kept stays: --resume ends as unbroken."""
    take, count = state.Loop.step, iter(range(1000))

    def lost(*arguments: object, **options: object) -> object:
        if next(count) == 9:
            raise LostRankError("another process ended", hint="--resume")
        return take(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(state.Loop, "step", lost)
        first = run(ask("run"), heard := Recorder())
    second = run(ask("run", resume=True))

    assert first.stopped is not None
    assert first.stopped.text.startswith("another process ended; kept is ")
    assert "another process ended" in heard.notes
    assert second.stopped is None
    assert model(second.run) == unbroken().model


@pytest.mark.usefixtures("kept_tuned")
def test_a_full_disk_ends_the_training_and_loses_nothing(ask, unbroken, monkeypatch) -> None:
    """What was kept before stays, and with room again it goes on to the same model."""
    request = ask("run")
    put, count = atomic_files.put, iter(range(100))

    def fill(file: Path, content: bytes) -> None:
        if file.suffix == FIT and next(count) == 2:
            raise OSError(28, "No space left on device")
        put(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(atomic_files, "put", fill)
        with pytest.raises(RunError, match="No space left") as caught:
            run(request)

    assert str(folder_of(request)) in caught.value.message
    run(changed(request, resume=True), rest := Recorder())
    assert len(rest.epochs) == 7
    assert model(request.output.out) == unbroken().model


def test_a_disk_that_is_full_at_the_end_loses_nothing(ask, monkeypatch) -> None:
    """The run is absent, the fits are kept, and --resume only tests and saves."""
    request = ask("run")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "serialised", fail)
        with pytest.raises(RunError, match="No space left"):
            run(request)

    assert not Path(request.output.out).exists()
    run(changed(request, resume=True), rest := Recorder())
    assert rest.epochs == []
    assert run_folder.load(Path(request.output.out))


def test_a_place_that_cannot_be_written_is_told_first(ask, tmp_path: Path, monkeypatch) -> None:
    """A read-only parent is a fault before any work."""
    monkeypatch.setattr(os, "access", lambda *_: False)

    with pytest.raises(RunError, match="no right to write"):
        run(ask("run"), Stopper(step="reading"))


def test_an_image_that_vanishes_is_named(ask) -> None:
    """Deleted after its features were taken, it is named, and nothing of ours is left half made."""
    request = ask("run")
    gone = Path(request.data.root) / "a" / "0003.png"

    class Deleter(Recorder):
        def step(self, name: str) -> None:
            if name.startswith("decoding"):
                gone.unlink()

    with pytest.raises(ImageError, match=r"0003\.png"):
        run(request, Deleter())

    assert not Path(request.output.out).exists()


def test_two_trainings_into_one_place_do_not_collide(ask) -> None:
    """The second is told at once, with the first's progress untouched."""
    request = ask("run")

    with (
        atomic_files.held(folder_of(request)),
        pytest.raises(RunError, match="under way") as caught,
    ):
        run(request)

    assert "--out" in caught.value.hint
    assert run(request).stopped is None


def test_the_same_twice_at_once_without_a_place_are_two_runs(ask, tmp_path, monkeypatch) -> None:
    """Each has its own progress; one that was killed is found again by --resume."""
    monkeypatch.chdir(tmp_path)
    request = changed(ask("x", strategy="linear-probe"), out=None)
    first = folder_of(request)

    with atomic_files.held(first):
        one = run(request)
        with pytest.raises(RunError, match="under way"):
            run(changed(request, resume=True))
    two = run(request)
    killed(changed(request, strategy="scratch"), Stopper(1))
    again = run(changed(request, strategy="scratch", resume=True), rest := Recorder())

    assert len({one.run, two.run, again.run}) == 3
    assert len(rest.epochs) == 2
    assert sorted(r.run for r in listing.rows()) == sorted({one.run, two.run, again.run})


def test_a_finished_run_without_a_place_is_found_again(ask, tmp_path, monkeypatch) -> None:
    """--resume answers with the newest run of the same request; without it there is another."""
    monkeypatch.chdir(tmp_path)
    request = changed(ask("x", strategy="linear-probe"), out=None)
    first = run(request)

    again = run(changed(request, resume=True), recorder := Recorder())
    other = run(changed(request, resume=True, seed=1))

    assert again.run == first.run != other.run
    assert f"{first.run} is finished (linear-probe, " in recorder.notes[-1]


def test_a_training_is_listed_from_its_beginning_on(ask, tmp_path, monkeypatch) -> None:
    """It is no run: `runs` shows it as unfinished, and the newest run is another."""
    monkeypatch.chdir(tmp_path)
    request = changed(ask("x", strategy="linear-probe"), out=None, command="finetune train me")
    done = run(request)
    seen = []

    class Looks(Recorder):
        def step(self, name: str) -> None:
            super().step(name)
            seen.append(([r.error for r in listing.rows() if r.error], str(listing.latest())))

    run(changed(request, seed=1), Looks())

    assert set(map(str, seen)) == {str((["unfinished: finetune train me"], done.run))}


@pytest.mark.parametrize("kind", ["link", "dangling link"])
def test_a_link_is_no_place_for_a_run(ask, tmp_path: Path, kind: str) -> None:
    """A rename could not replace it: that is told before the work, with a place that works."""
    target = tmp_path / "elsewhere"
    if kind == "link":
        target.mkdir()
    Path(ask("run").output.out).symlink_to(target)

    with pytest.raises(RunError, match="is a link") as caught:
        run(ask("run"), Stopper(step="reading"))

    assert str(Path(ask("run").output.out) / "run") in caught.value.hint


def test_the_last_epoch_need_not_be_kept(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is full when the model is trained, the model is kept all the same."""
    request = ask("run", strategy="scratch")
    put, count = atomic_files.put, iter(range(100))

    def fill(file: Path, content: bytes) -> None:
        if file.suffix == FIT and next(count) == 2:
            raise OSError(28, "No space left on device")
        put(file, content)

    monkeypatch.setattr(atomic_files, "put", fill)

    result = run(request, recorder := Recorder())

    assert (result.stopped, result.failed) == (None, None)
    assert any("No space left on device; going on" in note for note in recorder.notes)
    assert run_folder.load(Path(request.output.out))


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, through links too, with their bytes."""
    return {
        str(Path(top) / name): (Path(top) / name).read_bytes()
        for top, _, names in os.walk(folder, followlinks=True)
        for name in names
    }


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "sub/notes.txt",
        "lock",
        "run/notes.txt",
        "before/sub/run.json",
        "0a.safetensors",
    ],
)
@pytest.mark.parametrize("options", [{}, {"resume": True}], ids=str)
def test_a_persons_own_folder_beside_the_run_is_left_alone(ask, name: str, options) -> None:
    """Refused by the name of what is there: nothing is deleted and nothing is put beside it."""
    request = changed(ask("mine"), **options)
    file = folder_of(request) / name
    file.parent.mkdir(parents=True)
    file.write_text("precious")

    with pytest.raises(RunError, match=f"not finetune's.*{Path(name).parts[0]}") as caught:
        run(request)

    assert "--out" in caught.value.hint
    assert contents(folder_of(request)) == {str(file): b"precious"}


@pytest.mark.parametrize("link", ["", "run", "0123456789abcdef.safetensors"])
def test_what_a_link_leads_to_is_left_alone(ask, tmp_path: Path, link: str) -> None:
    """A link in the place of the progress, or in it, is refused, and its target stays whole."""
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / "run.json").write_text("precious")
    place = folder_of(ask("mine")) / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(target, target_is_directory=True)

    with pytest.raises(RunError, match=r"link|not finetune's"):
        run(ask("mine"))

    assert contents(target) == {str(target / "run.json"): b"precious"}
    assert place.is_symlink()


def test_what_a_person_puts_there_meanwhile_stays(ask) -> None:
    """At the end only what the training has made is removed."""
    request = ask("typo", resume=True)
    place = folder_of(request)

    class Writer(Stopper):
        def step(self, name: str) -> None:
            (place / "notes.txt").write_text("precious")
            super().step(name)

    with pytest.raises(KeyboardInterrupt):
        run(request, Writer(step="reading", how=KeyboardInterrupt))

    assert contents(place) == {str(place / "notes.txt"): b"precious"}


def test_all_that_a_killed_training_leaves_is_known_as_ours(ask, leaves_run) -> None:
    """Drafts, half-written runs and scratch folders do not stand in the way of a fresh start."""
    place = folder_of(ask("run"))
    left = [".begun.json", "lock", "finetune-a_b0c1d2/network.bin", ".0123456789abcdef.safetensors"]
    left += [f"{aside}/{p.name}" for aside in ("run", "before") for p in leaves_run[1].iterdir()]
    for name in left:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()

    with pytest.raises(KeyboardInterrupt):
        run(ask("run"), Stopper(step="reading", how=KeyboardInterrupt))

    assert not place.exists()


def test_a_folder_is_held_by_one_alone_until_let_go(tmp_path: Path) -> None:
    """Whoever comes second is refused, and once it is free it can be held again."""
    with atomic_files.held(tmp_path / "x"):
        with pytest.raises(BlockingIOError), atomic_files.held(tmp_path / "x"):
            pass
        shutil.rmtree(tmp_path / "x")
        with atomic_files.held(tmp_path / "x"):
            pass


def test_a_file_is_the_old_or_the_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault before the rename leaves the old bytes and nothing beside them."""
    file = tmp_path / "f"
    atomic_files.put(file, b"old")

    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic_files, "flush", fail)
        with pytest.raises(OSError, match="No space"):
            atomic_files.put(file, b"new")

    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_damaged_progress_is_named(ask) -> None:
    """A file of progress that cannot be read is no traceback."""
    killed(ask("cut"), Stopper(2))
    file = next(folder_of(ask("cut")).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-7])

    with pytest.raises(RunError, match=file.name) as caught:
        run(changed(ask("cut"), resume=True))

    assert "Remove" in caught.value.hint


def test_progress_is_kept_no_more_often_than_it_is_worth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After keeping took a second, the next is due when twenty more have passed."""
    monkeypatch.setattr(fit_slot, "PAUSE", 20)
    now = iter([0.0, 100.0, 101.0, 120.9, 121.1])
    monkeypatch.setattr(fit_slot.time, "monotonic", lambda: next(now))
    slot = fit_slot.Slot(tmp_path / f"x{FIT}")

    assert slot.due
    facts = training.FitProgress(
        history=(), best_epoch=0, best_loss=None, done=0, parts=1, scaler={}
    )
    slot.keep({"a": np.ones(2)}, facts)

    assert [slot.due, slot.due] == [False, True]
    found = slot.read()
    assert found is not None
    assert found[1] == facts


@pytest.mark.usefixtures("kept_tuned")
def test_a_run_is_repeated_bit_for_bit(ask, tmp_path: Path) -> None:
    """--from-run asks for the same again and says that the model is the same."""
    first = run(ask("first", seed=3))

    request = train.repetition(Path(first.run), options_for(root="", out=str(tmp_path / "again")))
    train.run_training(request, recorder := Recorder(), Path(first.run))

    again = flat(request)
    assert (again.seed, again.strategy, again.options) == (3, "deep", OPTIONS)
    assert "the same model, bit for bit" in recorder.notes[-1]
    assert model(tmp_path / "again") == model(first.run)
    assert not [n for n in recorder.notes if "may differ" in n]


def test_what_differs_in_a_repetition_is_told(ask, tmp_path: Path, monkeypatch) -> None:
    """Other versions and other images are named; the result is told from the first."""
    first = run(ask("first"))
    (Path(ask("x").data.root) / "a" / "0001.png").unlink()
    versions = begin.versions()
    monkeypatch.setattr(begin, "versions", lambda: {**versions, "torch": "9.9"})

    request = train.repetition(Path(first.run), options_for(root="", out=str(tmp_path / "again")))
    train.run_training(request, recorder := Recorder(), Path(first.run))

    told = next(n for n in recorder.notes if "may differ" in n)
    assert f"torch was {versions['torch']} and is 9.9" in told
    assert "the images are others" in told
    assert "not the same model as" in recorder.notes[-1]


def test_a_run_that_does_not_say_what_was_asked_cannot_be_repeated(ask) -> None:
    """A run of an older version is refused with its command line."""
    first = Path(run(ask("first", strategy="linear-probe")).run)
    text = (first / "run.json").read_text("utf-8")
    (first / "run.json").write_text(text.replace('"request": {', '"was": {'), "utf-8")

    with pytest.raises(RunError, match="does not say what was asked") as caught:
        train.repetition(first, options_for(root=""))

    assert "finetune train" in caught.value.hint


@pytest.mark.usefixtures("kept_tuned")
def test_the_number_of_decoding_threads_changes_nothing(ask, monkeypatch) -> None:
    """One thread and four give the same bytes, without a cache in between."""
    monkeypatch.setenv("FINETUNE_CACHE", "off")
    models, in_order = [], decoding.in_order
    for threads in (1, 4):
        with monkeypatch.context() as patch:
            patch.setattr(
                decoding, "in_order", lambda i, w, ahead, _, n=threads: in_order(i, w, ahead, n)
            )
            models.append(model(run(ask(f"threads{threads}")).run))

    assert models[0] == models[1]
