"""The main job end to end on real weights."""

from __future__ import annotations

import hashlib
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import SAMPLE, Recorder, options_for, train

from finetune.decision import choose, fitted
from finetune.metrics import classification
from finetune.pictures import decoding
from finetune.records import file_names
from finetune.records.dataset import Splits
from finetune.records.errors import DataError, RunError, UsageError
from finetune.records.run import RunResult
from finetune.runs import run_folder
from finetune.workflows import compare, compare_classes, predict, recommend
from finetune.workflows.train import run_training

RUN_FILES = {
    *("run.json", "result.json", "splits.json", "history.jsonl", "report.html"),
    "report.json",
    *("model.safetensors", "inference.xml", "inference.bin"),
}


def fingerprint(root: Path) -> str:
    """Names, bytes and modification times of everything below a folder."""
    lines = [
        f"{p.relative_to(root)} {p.stat().st_mtime_ns} "
        + (hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "")
        for p in sorted(root.rglob("*"))
    ]
    return "\n".join(lines)


def test_a_run_folder_has_exactly_its_files(leaves_run: tuple[RunResult, Path]) -> None:
    """A run is nine files, and the data folder is not one byte different."""
    _, out = leaves_run

    assert {p.name for p in out.iterdir()} == RUN_FILES == file_names.OF_A_RUN
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_sample_data_is_learnt_but_not_perfectly(leaves_run: tuple[RunResult, Path]) -> None:
    """On the sample data the probe is far above the commonest class and below 100 %."""
    result, _ = leaves_run

    assert result.test is not None
    assert result.test.majority_baseline + 0.3 < result.test.accuracy < 1.0
    assert result.strategy == result.recommendation.table
    assert result.requested_strategy == "auto"


def test_the_data_folder_is_not_written_to(image_folder, tmp_path: Path) -> None:
    """Training leaves names, bytes and times of the user's folder as they were."""
    root = image_folder({"a": 10, "b": 10})
    before = fingerprint(root)

    train(root, tmp_path / "run")

    assert fingerprint(root) == before


@pytest.mark.parametrize("strategy", ["auto", "deep"])
@pytest.mark.parametrize(
    ("flag", "given"), [("--patience", {"patience": 3}), ("--no-refit", {"refit": False})]
)
def test_options_about_validation_images_are_refused_where_these_are_few(
    strategy: str, flag: str, given: dict[str, object], image_folder, tmp_path: Path
) -> None:
    """With few validation images no epoch is judged: told before the network is loaded."""
    root = image_folder({"a": 10, "b": 10})

    with pytest.raises(UsageError, match=f"{flag} needs at least 100 validation images") as no:
        train(root, tmp_path / "run", strategy=strategy, options=given, backbone="none")

    assert "--val-fraction" in no.value.hint
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("which", ["leaves_run", "tuned_run"])
def test_prediction_equals_the_runs_own_evaluation(
    which: str, request: pytest.FixtureRequest
) -> None:
    """Predicting the test images one by one gives training's own figures to 1e-5."""
    result, out = request.getfixturevalue(which)
    splits = run_folder.load_splits(out)
    index = {name: i for i, name in enumerate(result.classes)}

    paths = [SAMPLE / s.path for s in splits.test]
    answers = list(
        predict.run_prediction(paths, out, top=len(index), device="cpu", listener=Recorder())
    )

    rows = np.zeros((len(answers), len(index)))
    for i, answer in enumerate(answers):
        for entry in answer.top:
            rows[i, index[entry.label]] = entry.probability
    labels = np.array([s.label for s in splits.test])
    assert result.test is not None
    loss = -np.log(rows[np.arange(len(labels)), labels]).mean()
    assert (rows.argmax(1) == labels).mean() == pytest.approx(result.test.accuracy, abs=1e-9)
    assert loss == pytest.approx(result.test.log_loss, abs=1e-5)


def test_a_tuned_run_keeps_its_history(tuned_run: tuple[RunResult, Path]) -> None:
    """The tuned model says what it is, and each epoch is a line of history."""
    result, out = tuned_run

    assert result.strategy == result.requested_strategy == "deep"
    assert len((out / "history.jsonl").read_text().splitlines()) == 2
    assert run_folder.load_facts(out).preprocess.side_px == 64


@pytest.mark.slow
def test_a_tuned_model_is_returned_when_it_beats_the_probe(tmp_path: Path) -> None:
    """On the sample data, tuned by the default plan, tuning wins on held-out images."""
    result = train(SAMPLE, tmp_path / "run", strategy="deep")

    assert result.floor is not None
    assert result.floor.kept == "tuned"
    assert result.floor.tuned_log_loss < result.floor.probe_log_loss


@pytest.mark.parametrize(
    "seeds", [range(1, 4), pytest.param(range(5), marks=pytest.mark.slow)], ids=["probes", "tuned"]
)
def test_shuffled_labels_give_chance_and_no_tuned_model(tmp_path: Path, seeds: range) -> None:
    """When labels mean nothing, tests say so, taken together, and the floor keeps the probe."""
    correct = judged = 0
    for seed in seeds:
        files = sorted(SAMPLE.rglob("*.jpg"))
        random.Random(seed).shuffle(files)
        data = tmp_path / f"data{seed}"
        for i, file in enumerate(files[:120]):
            folder = data / f"class{i % 4}"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / f"{i}.jpg")
        kind = "linear-probe" if seed else "deep"
        options = {} if seed else {"epochs": 2, "side_px": 64}
        result = train(data, tmp_path / f"run{seed}", strategy=kind, options=options)
        assert result.test is not None
        correct += round(result.test.accuracy * result.test.n)
        judged += result.test.n
        if not seed:
            assert result.floor is not None
            assert result.floor.kept == "probe"
            assert result.strategy in ("linear-probe", "stage-probe")

    low, high = classification.wilson(correct, judged)
    assert low < 0.25 < high


def test_the_test_images_are_read_last(
    image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No byte of a ready-made test/ is decoded or hashed before the model is final."""
    root = tmp_path / "data"
    image_folder({"a": 12, "b": 12}, root=root / "train")
    image_folder({"a": 4, "b": 4}, root=root / "test", seed=1)
    events: list[str] = []
    decode, opened = decoding.decode, Path.open

    def spy_decode(path: Path, side_px: int, *rest: object) -> object:
        events.append(str(path.relative_to(root)))
        return decode(path, side_px, *rest)

    def spy_open(self: Path, *args: object, **kwargs: object) -> object:
        if self.is_relative_to(root):
            events.append(str(self.relative_to(root)))
        return opened(self, *args, **kwargs)  # type: ignore[call-overload]

    class Listener(Recorder):
        def step(self, name: str) -> None:
            events.append(f"step {name}")

    monkeypatch.setattr(decoding, "decode", spy_decode)
    monkeypatch.setattr(Path, "open", spy_open)
    options = {"epochs": 1, "side_px": 64}
    request = options_for(
        root=str(root),
        out=str(tmp_path / "run"),
        strategy="partial",
        options=options,
        backbone="test_resnet",
        weights="random",
    )
    result = run_training(request, Listener())

    first = next(i for i, e in enumerate(events) if e.startswith("test/"))
    assert events[:first][-1].startswith("step testing on 8 images")
    assert result.counts["test"] == 8


def test_ready_made_splits_are_used_as_they_stand(image_folder, tmp_path: Path) -> None:
    """train/, valid/ and test/ keep their images, and copies across them are reported."""
    root = tmp_path / "data"
    image_folder({"a": 10, "b": 10}, root=root / "train")
    image_folder({"a": 3, "b": 3}, root=root / "valid", seed=1)
    image_folder({"a": 4, "b": 4}, root=root / "test", seed=2)
    shutil.copy(root / "train" / "a" / "0000.png", root / "test" / "a" / "copy.png")

    result = train(root, tmp_path / "run", strategy="linear-probe")

    splits: Splits = run_folder.load_splits(tmp_path / "run")
    assert {s.path.split("/")[0] for s in splits.test} == {"test"}
    assert {s.path.split("/")[0] for s in splits.val} == {"valid"}
    assert result.counts == {"train": 20, "val": 6, "test": 9}
    assert "FT112" in {f.code for f in result.findings}


def test_without_a_test_split_the_estimate_says_what_it_is(image_folder, tmp_path: Path) -> None:
    """`--test-fraction 0` fits on everything and reports cross-validation as such."""
    root = image_folder({"a": 10, "b": 10})

    result = train(root, tmp_path / "run", test_fraction=0.0)

    assert result.test is None
    assert result.estimate.n == 20
    assert "cross-validation" in result.estimate_source
    facts = run_folder.load_facts(tmp_path / "run")
    assert facts.accuracy == result.estimate.accuracy
    assert "cross-validation" in facts.accuracy_source


def test_unreadable_images_are_left_out_and_named(image_folder, tmp_path: Path) -> None:
    """A damaged file costs itself only, and stands in the findings."""
    root = image_folder({"a": 12, "b": 12})
    (root / "a" / "broken.png").write_bytes(b"not a picture")

    result = train(root, tmp_path / "run", test_fraction=0.0)

    finding = next(f for f in result.findings if f.code == "FT120")
    assert finding.paths == ("a/broken.png",)
    assert result.estimate.n == 24


def test_unreadable_images_stop_the_run_when_asked(image_folder, tmp_path: Path) -> None:
    """`--on-bad-image error` names the file and leaves no run behind."""
    root = image_folder({"a": 12, "b": 12})
    (root / "a" / "broken.png").write_bytes(b"not a picture")

    with pytest.raises(DataError, match=r"broken\.png"):
        train(root, tmp_path / "run", test_fraction=0.0, on_bad_image="error")

    assert not (tmp_path / "run").exists()


def test_copies_of_one_image_are_not_enough(image_folder, tmp_path: Path) -> None:
    """A folder of copies is no training set, and the fault counts the different images."""
    root = image_folder({"a": 1, "b": 1})
    for name in ("a", "b"):
        for i in range(8):
            shutil.copy(root / "a" / "0000.png", root / name / f"copy{i}.png")
    (root / "b" / "0000.png").unlink()

    with pytest.raises(DataError, match="1 different training images for 2 classes"):
        train(root, tmp_path / "run", test_fraction=0.0)

    assert not (tmp_path / "run").exists()


def test_one_group_for_all_images_is_not_enough(image_folder, tmp_path: Path) -> None:
    """A `--group` that finds the same in every name leaves nothing to judge on: a fault says so."""
    root = image_folder({"a": 6, "b": 6})

    with pytest.raises(DataError, match="--group count as one"):
        train(root, tmp_path / "run", group="^(0)")

    assert not (tmp_path / "run").exists()


def undecided(seen, probes, measured, *_: object, **__: object) -> choose.Decision:
    """A decision that costs no time."""
    return choose.Decision(choose.undecided(seen, probes, measured))


def test_a_comparison_ends_with_ctrl_c(image_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a training is not compared as if it were whole: Ctrl-C ends the command."""
    monkeypatch.setattr(choose, "decide", undecided)
    stopped = KeyboardInterrupt()
    monkeypatch.setattr(
        compare_classes.ClassRivals,
        "_trained",
        lambda self, *_: (
            replace(
                fitted.probed(self._analysis, self._probes.best, self._probes.name),
                stopped=stopped,
            ),
            None,
        ),
    )
    root = image_folder({"a": 12, "b": 12})

    with pytest.raises(KeyboardInterrupt):
        compare.run_comparison(options_for(root=str(root)), Recorder())


def test_a_comparison_of_classes_says_what_the_test_does_not_tell_apart(
    image_folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two probes that answer the same are tied, and the first of them is the best."""
    monkeypatch.setattr(choose, "decide", undecided)
    monkeypatch.setattr(compare, "TRANSFERS", ("linear-probe", "stage-probe"))
    root = image_folder({"a": 12, "b": 12})
    asked = options_for(root=str(root), single=True, backbone="test_resnet", weights="random")

    found = compare.run_comparison(asked, Recorder())

    rows = found.contenders
    assert [c.strategy for c in rows] == ["linear-probe", "stage-probe"]
    assert found.target is None
    for c in rows:
        assert c.accuracy == c.score
        assert c.behind is not None
        assert c.noise is not None
        assert c.tied == (c.behind <= 1.959964 * c.noise)
    assert rows[[c.strategy for c in rows].index(found.best)].behind == 0
    assert found.chosen in ("linear-probe", "stage-probe")


def test_a_comparison_needs_a_test_image_that_can_be_read(
    image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no image of a ready-made test can be read the fault names the folder."""
    monkeypatch.setattr(choose, "decide", undecided)
    root = tmp_path / "data"
    image_folder({"a": 6, "b": 6}, root=root / "train")
    image_folder({"a": 1, "b": 1}, root=root / "test")
    for file in (root / "test").rglob("*.png"):
        file.write_bytes(b"not a picture")

    with pytest.raises(DataError, match="none of the 2 test images"):
        compare.run_comparison(options_for(root=str(root)), Recorder())


def test_same_seed_same_run(image_folder, tmp_path: Path) -> None:
    """Two runs with one seed hold the same tensors and the same figures."""
    root = image_folder({"a": 12, "b": 12})
    options = {"epochs": 1, "side_px": 64}
    asked = {"strategy": "partial", "backbone": "test_efficientnet", "weights": "random"}

    one, two = (train(root, tmp_path / name, options=options, **asked) for name in ("one", "two"))

    assert one.test == two.test
    files = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("one", "two")]
    assert files[0] == files[1]


def test_size_and_similarity_by_hand_choose_the_cell(image_folder, tmp_path: Path) -> None:
    """What the user says of the data outranks the measurement, and the reason says so."""
    root = image_folder({"a": 12, "b": 12})

    result = train(root, tmp_path / "run", size="small", similarity="different")

    advice = result.recommendation
    assert (advice.strategy, advice.size, advice.similarity) == (
        "stage-probe",
        "small",
        "different",
    )
    assert result.strategy == "stage-probe"
    assert len(result.stages) > 5
    assert {r.rule for r in advice.reasons[:2]} == {"user"}


def test_a_taken_out_folder_is_refused_before_work(image_folder, tmp_path: Path) -> None:
    """An existing run is not overwritten, and the fault is told at once."""
    root = image_folder({"a": 4, "b": 4})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "keep.txt").write_text("mine")

    with pytest.raises(RunError, match="exists already"):
        train(root, tmp_path / "run")

    assert (tmp_path / "run" / "keep.txt").read_text() == "mine"


def test_lenet_is_trained_from_scratch_only(image_folder, tmp_path: Path) -> None:
    """LeNet-5 has no pretrained weights: it says so, and trains with `scratch`."""
    root = image_folder({"a": 12, "b": 12})

    with pytest.raises(UsageError, match="no pretrained weights"):
        train(root, tmp_path / "no", backbone="lenet5")
    result = train(
        root, tmp_path / "run", backbone="lenet5", strategy="scratch", options={"epochs": 2}
    )

    assert result.strategy == "scratch"
    assert result.test is not None


def test_recommendation_of_a_folder_trains_nothing(
    image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`recommend DIR` measures, shows the stages, and leaves nothing behind."""
    root = image_folder({"digit_1": 12, "digit_2": 12})
    monkeypatch.chdir(tmp_path)
    before = fingerprint(tmp_path)

    advice = recommend.run_recommendation(
        options_for(root=str(root), policy="table", size="large", similarity="different"),
        Recorder(),
    )

    assert fingerprint(tmp_path) == before
    assert advice.profile.size.verdict == "small"
    assert advice.recommendation.strategy == "deep"
    assert advice.profile.symbols
    assert advice.recommendation.plan.augment.flip == 0.0
    assert "look like letters" in advice.recommendation.plan.why["flip"]
    assert len(advice.stages) > 5


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv3_small_100",
        # small members of these families are trained in the next test
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18", "convnext_atto")),
        # 240 and 500 MB of weights
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("alexnet", "vgg11")),
    ],
)
def test_every_family_goes_through_the_same_code(name: str, image_folder, tmp_path: Path) -> None:
    """Random weights, asked for, take every family through probes and tuning."""
    root = image_folder({"a": 8, "b": 8})
    options = {"epochs": 1, "batch_size": 4}

    result = train(
        root, tmp_path / "run", backbone=name, weights="random", strategy="deep", options=options
    )

    assert result.floor is not None
    assert run_folder.load_facts(tmp_path / "run").backbone.weights == "random"


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "test_convnext"])
def test_families_with_and_without_batchnorm_are_tuned(
    name: str, image_folder, tmp_path: Path
) -> None:
    """Small members of four families go through features, probes, tuning, test and saving."""
    root = image_folder({"a": 10, "b": 10})
    options = {"epochs": 1, "batch_size": 4}

    result = train(
        root, tmp_path / "run", backbone=name, weights="random", strategy="deep", options=options
    )

    assert result.floor is not None
    assert result.test is not None
    loaded = run_folder.load(tmp_path / "run")
    assert loaded.facts.backbone.name == name
