"""A training that goes on from one's own run: `--start-from RUN`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SAMPLE, Recorder, options_for, train

from finetune import api
from finetune.analysis import taught
from finetune.decision import baseline, start_judged
from finetune.records.choices import PROBES
from finetune.records.dataset import Sample
from finetune.records.errors import BackboneError, RunError, UsageError
from finetune.records.metrics import Baseline
from finetune.records.run import RunResult
from finetune.runs import run_folder, start
from finetune.workflows import begin
from finetune.workflows import train as training
from finetune.workflows.evaluate import run_evaluation

KEPT = Baseline("tuned", 100, 0.9, 0.5, 1.0, 1.0, "made up by a test")
PROBE = {"strategy": "linear-probe"}


def some(root: Path, classes: Sequence[str], first: int, last: int) -> Path:
    """A folder of some of the sample leaves: of each class its files from `first` to `last`."""
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for file in sorted((SAMPLE / name).iterdir())[first:last]:
            shutil.copy(file, root / name)
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("start")


@pytest.fixture(scope="module")
def old(place: Path) -> Path:
    """A run that tuned ImageNet's network on two classes of 15 images."""
    data = some(place / "old", ("oak", "maple"), 0, 15)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baseline, "judge", lambda *_, **_options: KEPT)
        options = {"epochs": 1, "side_px": 64}
        train(data, place / "mine", strategy="partial", single=True, options=options)
    return place / "mine"


@pytest.fixture(scope="module")
def more(place: Path) -> Path:
    """The same images, as many new ones, and a class more."""
    return some(place / "more", ("maple", "birch", "oak"), 0, 40)


@pytest.fixture(scope="module")
def result(old: Path, more: Path, place: Path) -> RunResult:
    """A probe on these that was to start from the run."""
    return train(more, place / "second", start_from=str(old), **PROBE)


def learnt_of(run: Path) -> set[str]:
    return {s.digest for s in run_folder.load_splits(run).fitting}


def test_no_image_that_the_run_learnt_from_measures_anything(
    old: Path, place: Path, result: RunResult
) -> None:
    """They are trained on; validation and test are of the others, each class with its share."""
    assert run_folder.load_facts(old).strategy not in PROBES
    known, splits = learnt_of(old), run_folder.load_splits(place / "second")

    held = {s.digest for s in (*splits.val, *splits.test)}

    assert known
    assert not known & held
    assert known <= {s.digest for s in splits.train}
    assert {s.label for s in splits.test} == {0, 1, 2}
    assert len(splits.test) == pytest.approx(0.2 * (120 - len(known)), abs=2)


def test_the_better_start_is_kept_and_both_figures_are_told(
    old: Path, place: Path, result: RunResult
) -> None:
    """Both probes are judged on the same new images; what is kept is what the log losses say."""
    choice, told = result.backbone_choice, result.start
    assert choice is not None
    assert told is not None
    rows = {("run" in c.name.partition(", ")[2].split()): c for c in choice.candidates}
    mine, rival = rows[True], rows[False]
    new = 120 - len(run_folder.load_splits(place / "second").test) - len(learnt_of(old))

    assert mine.images == rival.images == new
    assert mine.log_loss is not None
    assert rival.log_loss is not None
    worse = max(mine.noise or 0.0, rival.noise or 0.0)
    assert told.kept == ("imagenet" if mine.log_loss - rival.log_loss > worse else "run")
    won, lost = sorted((mine, rival), key=lambda row: row.standing != "chosen")
    assert won.log_loss is not None
    assert lost.log_loss is not None
    assert float(lost.why.split()[0]) == pytest.approx(lost.log_loss - won.log_loss, abs=6e-4)
    facts = run_folder.load_facts(place / "second")
    assert facts.backbone.weights.startswith("run mine") == (told.kept == "run")
    assert f"{mine.log_loss:.3f}" in told.text
    assert f"{rival.log_loss:.3f}" in told.text
    assert told.shared == ("maple", "oak")
    assert told.added == ("birch",)
    assert told.missing == ()


def test_accuracy_on_the_old_classes_is_told_before_and_after(
    old: Path, more: Path, place: Path, result: RunResult
) -> None:
    """The old run's figure is what `evaluate` says of it on the test images of its classes."""
    assert result.start is not None
    assert result.start.old is not None
    assert result.test is not None
    found, splits = result.start.old, run_folder.load_splits(place / "second")
    classes = result.classes
    apart = place / "apart"
    for s in splits.test:
        if classes[s.label] != "birch":
            (apart / classes[s.label]).mkdir(parents=True, exist_ok=True)
            shutil.copy(more / s.path, apart / classes[s.label])

    one = run_evaluation(apart, old, device="cpu", unseen=False, listener=Recorder())
    recalls = {c.name: (c.n, c.recall) for c in result.test.per_class}

    assert found.n == one.metrics.n == sum(recalls[c][0] for c in ("maple", "oak"))
    assert found.before == pytest.approx(one.metrics.accuracy)
    right = sum(recalls[c][0] * (recalls[c][1] or 0.0) for c in ("maple", "oak"))
    assert found.after == pytest.approx(right / found.n)
    assert found.gain == pytest.approx(found.after - found.before)


def test_terminal_report_and_json_say_where_it_started(
    run_cli: Callable[..., Any], old: Path, more: Path, place: Path, result: RunResult
) -> None:
    """The reason and the old run's answers reach whoever reads any of the three."""
    assert result.start is not None
    assert result.start.old is not None
    out = place / "shown"

    done = run_cli(
        *("train", more, "--start-from", old, "--out", out, "--policy", "table"),
        *("--strategy", "linear-probe"),
    )

    assert done.code == 0, done.err
    page = (out / "report.html").read_text("utf-8")
    kept = json.loads((out / "result.json").read_text("utf-8"))
    assert kept["start"]["old"]["n"] == result.start.old.n
    for text in (result.start.text.partition(": ")[2][:60], result.start.old.text[:60]):
        assert text in done.out.replace("\n", " ")
        assert text in page.replace("&#x27;", "'")
    assert "Where to start" in page


def test_it_predicts_and_is_repeated_as_any_other_run(place: Path, result: RunResult) -> None:
    """`predict` answers among all classes, and `--from-run` gives the same model."""
    heard = Recorder()
    again = training.repetition(place / "second", options_for(root="", out=str(place / "again")))

    repeated = training.run_training(again, heard, place / "second")

    assert any("the same model, bit for bit" in note for note in heard.notes), heard.notes
    assert repeated.start == result.start
    picture = next((SAMPLE / "birch").iterdir())
    answer = api.load(place / "again", device="cpu").predict(picture)
    assert answer[0].label in {"maple", "birch", "oak"}


def test_what_a_network_learnt_is_remembered_through_a_probe_between(
    old: Path, more: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe on a tuned network teaches it nothing, and forgets nothing of what had taught it."""
    between = train(more, place / "between", weights=str(old), **PROBE)

    assert start.learnt(between.run) == learnt_of(old)
    assert start.learnt(str(place / "nothing")) == frozenset()


def test_a_probe_as_a_start_is_imagenets_network_and_said_to_be(more: Path, place: Path) -> None:
    """A probe leaves the network as it was: no image is barred from the test, nothing compared."""
    data = some(place / "few", ("oak", "maple"), 0, 15)
    train(data, place / "probe", **PROBE)

    found = train(more, place / "third", start_from=str(place / "probe"), **PROBE)

    assert found.start is not None
    assert found.start.kept == "imagenet"
    assert "it is a linear-probe" in found.start.text
    assert found.start.learnt == 0
    assert found.start.old is not None
    assert found.counts["test"] == 24


def test_where_nothing_new_can_judge_imagenets_network_is_taken(old: Path, place: Path) -> None:
    """On images that it learnt from, a tuned network cannot be compared."""
    found = train(place / "old", place / "fourth", start_from=str(old), **PROBE)

    assert found.start is not None
    assert found.start.kept == "imagenet"
    assert "nothing can be told" in found.start.text
    assert f"--weights {old}" in found.start.text


def test_weights_of_a_run_take_its_network_and_warn_where_nothing_new_can_judge(
    old: Path, place: Path
) -> None:
    """`--weights RUN` is obeyed; FT162 says that its estimates are too good."""
    found = train(place / "old", place / "fifth", weights=str(old), **PROBE)

    assert "FT162" in {f.code for f in found.findings}
    assert run_folder.load_facts(place / "fifth").backbone.weights.startswith("run mine")


def test_an_image_that_it_knows_in_a_ready_made_test_is_told(old: Path, place: Path) -> None:
    """Ready-made splits are the user's word: they stay, and FT161 counts what flatters."""
    ready = place / "ready"
    some(ready / "train", ("oak", "maple"), 15, 40)
    some(ready / "test", ("oak", "maple"), 0, 15)

    found = train(ready, place / "sixth", weights=str(old), **PROBE)

    told = next(f for f in found.findings if f.code == "FT161")
    assert len(told.paths) == len(learnt_of(old))


def test_another_task_goes_on_from_the_tuned_network(old: Path, place: Path) -> None:
    """No class is shared: there is nothing to hold the old answers against, and that is said."""
    data = some(place / "other", ("ginkgo", "willow"), 0, 14)

    found = train(data, place / "seventh", start_from=str(old), **PROBE)

    assert found.start is not None
    assert found.start.old is None
    assert "it is another task" in found.start.text
    assert found.start.missing == ("maple", "oak")


@pytest.mark.parametrize(
    ("asked", "kind", "says"),
    [
        ({"start_from": "{nowhere}"}, RunError, "no run at"),
        ({"start_from": "{old}", "weights": "random"}, UsageError, "--weights is random"),
        ({"start_from": "{old}", "backbone": "auto"}, UsageError, "--backbone auto"),
        ({"start_from": "{old}", "strategy": "scratch"}, UsageError, "random weights, not from"),
        ({"start_from": "{old}", "backbone": "resnet18"}, BackboneError, "not of resnet18"),
    ],
)
def test_what_cannot_be_a_start_is_refused_before_any_image_is_read(
    old: Path, tmp_path: Path, asked: dict[str, str], kind: type[Exception], says: str
) -> None:
    """No run, a run of another network, or a second source of weights: told with what to give."""
    given = {k: v.format(nowhere=tmp_path / "no", old=old) for k, v in asked.items()}

    with pytest.raises(kind, match=says) as caught:
        begin.check_options(options_for(root=str(tmp_path / "unread"), **given))

    assert caught.value.hint  # type: ignore[attr-defined]


def test_copies_and_groups_of_what_it_knows_judge_nothing_either() -> None:
    """A near duplicate or the same patient gives the answer away as the image itself does."""
    samples = [
        *(Sample("a/1", 0, "d1", "g"), Sample("a/2", 0, "d2", "g"), Sample("a/3", 0, "d3")),
        Sample("a/4", 0, "d4"),
    ]

    assert taught.rows(samples, ["d1", "d4"]).tolist() == [True, True, False, True]


@pytest.mark.parametrize("new", [50, 700, 3000])
def test_half_of_the_ranked_images_at_most_are_known(new: int) -> None:
    """Of many images, those that can judge do not drown among those that cannot."""
    labels = np.tile(np.arange(4), 1000)
    learnt = np.arange(4000) >= new

    rows = taught.ranked(labels, learnt)

    judging = int((~learnt[rows]).sum())
    assert judging >= min(new, 400) - 8
    assert 700 <= len(rows) <= 820
    assert start_judged.IMAGENET  # the name that users read
