"""A training on labels or a number that goes on from one's own run, of its kind or of another."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples import START
from helpers import Recorder, options_for, train
from safetensors.numpy import load_file, save_file
from test_train_target import drawn, trained

from finetune.backbones import registry
from finetune.cli import render_targets
from finetune.decision.target_lead import lead
from finetune.heads import aims
from finetune.records.errors import UsageError
from finetune.records.file_names import FACTS, MODEL
from finetune.records.sharding import Shard
from finetune.records.target_result import TargetResult
from finetune.runs import run_folder
from finetune.workflows import old_target_answers
from finetune.workflows.evaluate import run_evaluation
from finetune.workflows.features import run_features
from finetune.workflows.train import run_training


def first_rows(table: Path, count: int, out: Path) -> Path:
    """A table of the first pictures of another."""
    out.mkdir(parents=True)
    lines = table.read_text().splitlines()
    for line in lines[1 : count + 1]:
        shutil.copy(table.parent / line.partition(",")[0], out)
    (out / "labels.csv").write_text("\n".join(lines[: count + 1]) + "\n")
    return out / "labels.csv"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("targets")


@pytest.fixture(scope="module")
def numbers(place: Path) -> Path:
    """Forty-four discs and their widths."""
    return drawn(place / "numbers", number=True, count=44)


@pytest.fixture(scope="module")
def old(place: Path, numbers: Path) -> Path:
    """A run on the first 16 of them whose network is not ImageNet's any more, as if it was tuned.

    Its weights are moved by a hundredth and its record says `partial`: a real tuning costs more.
    """
    run = place / "mine"
    trained(first_rows(numbers, 16, place / "few"), run)
    tensors = load_file(run / MODEL)
    rng = np.random.default_rng(0)
    for name, tensor in tensors.items():
        if name.startswith(registry.BODY) and name.endswith("conv_pw.weight"):
            moved = tensor * (1 + 0.01 * rng.normal(size=tensor.shape))
            tensors[name] = moved.astype(tensor.dtype)
    save_file(tensors, run / MODEL)
    facts = json.loads((run / FACTS).read_text("utf-8"))
    (run / FACTS).write_text(json.dumps({**facts, "strategy": "partial"}), "utf-8")
    return run


@pytest.fixture(scope="module")
def result(old: Path, numbers: Path, place: Path) -> TargetResult:
    """A probe on all of them that was to start from the run."""
    return trained(numbers, place / "second", start_from=str(old))


def test_the_same_number_with_more_images(old: Path, place: Path, result: TargetResult) -> None:
    """What taught the run measures nothing, both starts are told, the better one is taken."""
    known = {s.digest for s in run_folder.load_splits(old).fitting}
    splits = run_folder.load_splits(place / "second")
    held = {s.digest for s in (*splits.val, *splits.test)}
    choice, start = result.backbone_choice, result.start
    assert choice is not None
    assert start is not None

    assert known
    assert not known & held
    assert known <= {s.digest for s in splits.train}
    mine, rival = sorted(choice.candidates, key=lambda c: "run mine" not in c.name)
    assert mine.metric == rival.metric == "rmse"
    assert mine.images == rival.images == len(splits.fitting) - len(known)
    assert mine.score is not None
    assert rival.score is not None
    assert f"{mine.score:.4g}" in start.text
    assert f"{rival.score:.4g}" in start.text
    assert (start.target, start.shared, start.added) == ("number", ("width",), ())
    facts = run_folder.load_facts(place / "second")
    assert facts.backbone.weights.startswith("run mine") == (start.kept == "run")
    if mine.score < rival.score:  # less error in the number's own unit
        assert start.kept == "run"


def test_the_estimate_is_of_images_that_are_new_to_the_network(
    old: Path, numbers: Path, place: Path
) -> None:
    """A network that has learnt an image tells nothing by it: `--weights` is held to that."""
    found = trained(numbers, place / "weights", weights=str(old))

    known = {s.digest for s in run_folder.load_splits(old).fitting}
    fitting = run_folder.load_splits(place / "weights").fitting
    assert found.estimate.n == sum(s.digest not in known for s in fitting) < len(fitting)


def test_the_mae_of_the_old_run_is_what_evaluate_says(
    numbers: Path, old: Path, place: Path, result: TargetResult
) -> None:
    """On the test images: the old run's by `evaluate`, the new model's the test's own."""
    assert result.start is not None
    assert result.start.old is not None
    assert result.test is not None
    found = result.start.old
    tested = {s.path for s in run_folder.load_splits(place / "second").test}
    lines = numbers.read_text().splitlines()
    kept = [lines[0], *(line for line in lines[1:] if line.partition(",")[0] in tested)]
    apart = place / "apart"
    apart.mkdir()
    for name in tested:
        shutil.copy(numbers.parent / name, apart)
    (apart / "labels.csv").write_text("\n".join(kept))

    one = run_evaluation(apart / "labels.csv", old, device="cpu", unseen=False, listener=Recorder())

    assert found.metric == "mae"
    assert found.n == result.test.n
    assert found.before == pytest.approx(one.metrics.mae)
    assert found.after == pytest.approx(result.test.mae, rel=1e-4)
    assert found.gain == pytest.approx(found.before - found.after)
    assert [row.name for row in found.rows] == ["width"]


def test_terminal_report_and_json_say_where_it_started(
    place: Path, result: TargetResult, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason, the table and the old run's answers reach whoever reads any of the three."""
    assert result.start is not None
    assert result.start.old is not None

    render_targets.show_training(result)

    shown = " ".join(capsys.readouterr().out.split())
    kept = json.loads((place / "second" / "result.json").read_text("utf-8"))
    assert kept["start"]["old"]["metric"] == "mae"
    assert kept["backbone_choice"]["candidates"][0]["metric"] == "rmse"
    page = (place / "second" / "report.html").read_text("utf-8").replace("&#x27;", "'")
    for text in (result.start.text.partition(": ")[2][:50], result.start.old.text[:50]):
        assert text in shown
        assert text in page
    assert "RMSE" in shown
    assert "Where to start" in page
    assert "Before and after" in page


def test_features_of_a_runs_network_are_made_ahead_with_its_weights(
    old: Path, numbers: Path, result: TargetResult
) -> None:
    """`features --weights RUN` keeps what `train --start-from RUN` asks for: all are known."""
    assert result.start is not None
    options = options_for(root=str(numbers), label_column="width", weights=str(old))

    made = run_features(options, Recorder(), Shard())

    assert made.images.total == made.images.known == result.counts["train"] + result.counts["val"]
    assert made.images.computed == 0


@pytest.mark.slow
def test_labels_and_classes_go_on_from_a_number(old: Path, place: Path) -> None:
    """Another kind is another task: the body is compared, and no old answers are held against."""
    labels = drawn(place / "labels", number=False)
    found = trained(labels, place / "third", start_from=str(old))
    assert found.start is not None
    assert found.start.target == "number"
    assert found.start.old is None
    assert "it is another task" in found.start.text
    assert found.backbone_choice is not None
    assert found.backbone_choice.candidates[0].metric == "map"

    data = place / "classes"
    for i, name in enumerate(sorted(p.name for p in labels.parent.glob("*.png"))):
        (data / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(labels.parent / name, data / "ab"[i % 2])
    of_classes = train(data, place / "fourth", start_from=str(old), strategy="linear-probe")
    assert of_classes.start is not None
    assert of_classes.start.target == "number"
    assert of_classes.start.missing == ()
    assert of_classes.backbone_choice is not None
    assert of_classes.backbone_choice.candidates[0].log_loss is not None


@pytest.mark.slow
def test_each_old_label_has_its_precision_before_and_after(place: Path) -> None:
    """Labels are matched by name: what the run does not know is not held against it."""
    table = drawn(place / "again", number=False)
    few = first_rows(table, 24, place / "again-few")
    few.write_text(few.read_text().replace("green", "").replace(";;", ";"))
    trained(few, place / "two", target="labels")

    found = trained(table, place / "three", start_from=str(place / "two"), target="labels")

    assert found.start is not None
    assert found.start.shared == ("blue", "red")
    assert found.start.added == ("green",)
    assert found.start.kept == "imagenet"  # a probe's network is ImageNet's own
    assert found.start.old is not None
    assert found.test is not None
    after = {s.name: s.average_precision for s in found.test.per_label}
    assert {r.name for r in found.start.old.rows} == {"blue", "red"}
    for row in found.start.old.rows:
        assert row.before is not None
        assert row.after == pytest.approx(after[row.name])
    assert found.start.old.after == pytest.approx(np.mean([after["blue"], after["red"]]))


def test_a_loss_of_another_target_is_refused_with_a_start_too(
    old: Path, numbers: Path, place: Path
) -> None:
    """`--loss bce` is none of numbers, whatever the training starts from."""
    options = options_for(
        root=str(numbers),
        out=str(place / "no"),
        label_column="width",
        start_from=str(old),
        loss="bce",
    )
    with pytest.raises(UsageError, match="--loss bce is none of --target number"):
        run_training(options, Recorder())


def test_a_lead_is_clear_by_the_metric_or_where_that_ties_by_the_loss() -> None:
    """Outputs nearer to the truth lead; the same outputs lead neither way."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(80, 1))
    near, far = truth + 0.1 * rng.normal(size=(80, 1)), truth + rng.normal(size=(80, 1))
    aim = aims.NumbersAim(np.zeros(1), np.ones(1))

    assert lead(aim, None, (near, far), truth, None).clear
    assert not lead(aim, None, (far, near), truth, None).clear
    assert not lead(aim, None, (near, near), truth, None).clear


def test_old_labels_are_compared_by_their_precisions() -> None:
    """Before and after are scikit-learn's average precisions of the same images, and their mean."""
    sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(1)
    truth = (rng.random((30, 2)) < 0.4).astype(float)
    before, after = (truth + noise * rng.normal(size=(30, 2)) for noise in (1.5, 0.5))
    told = replace(START, shared=("ash", "oak"), added=("elm",), target="labels")

    old = old_target_answers.of_labels(told, (before, after), truth, None)

    wanted = [
        [sk.average_precision_score(truth[:, k], m[:, k]) for k in (0, 1)] for m in (before, after)
    ]
    assert [r.before for r in old.rows] == pytest.approx(wanted[0])
    assert [r.after for r in old.rows] == pytest.approx(wanted[1])
    assert old.before == pytest.approx(np.mean(wanted[0]))
    assert old.gain == pytest.approx(np.mean(wanted[1]) - np.mean(wanted[0]))
    assert "which also knows a new label" in old.text
