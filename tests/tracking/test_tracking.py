"""Promises of --track: the real packages, offline, say what they were told; a run is never lost."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from examples import HISTORY, OPTIONS, RESULT
from helpers import SAMPLE, Recorder, options_for, small_run

from finetune.records.errors import UsageError
from finetune.records.option_tracking import TRACKERS
from finetune.records.run import RunResult
from finetune.records.training import EpochRecord
from finetune.runs import run_folder
from finetune.tracking import mlflow_model, outcome, tracker
from finetune.tracking.tracker import TrackedListener
from finetune.workflows import tracked, train

LEAF = SAMPLE / "oak" / "000.jpg"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run that answers."""
    return small_run(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, where trackers put what they keep; nobody's account is used."""
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI", "TENSORBOARD_LOGDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    return tmp_path


def needed(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")


def told(names: list[str], run: Path) -> tuple[Recorder, RunResult]:
    """What a training tells: a trial, the tuning in two folds, a result."""
    heard = Recorder()
    listener = TrackedListener(
        heard, names, project="trees", name="one", parameters=outcome.asked(OPTIONS)
    )
    listener.step("trying deep: 1 epochs at 64 px")
    listener.epoch(HISTORY[0])
    for _ in range(2):
        listener.step("deep: 2 epochs at 64 px")
        for record in HISTORY:
            listener.epoch(record)
    result = replace(run_folder.load_result(run), run=str(run))
    listener.end(outcome.of(result))
    if names[0] != "mlflow" or len(names) == 1:
        assert not [note for note in heard.notes if "is told no more" in note]
    assert heard.epochs == [HISTORY[0], *HISTORY, *HISTORY]
    return heard, result


# --- the listener ---------------------------------------------------------------------------------


class Fake:
    """A tracker that keeps what it is told, or fails."""

    def __init__(self, fails: str = "") -> None:
        self.place, self._fails = "here", fails
        self.curves: list[tuple[str, int]] = []
        self.ends: list[outcome.Outcome | None] = []

    def epoch(self, curve: str, record: EpochRecord) -> None:
        if self._fails == "epoch":
            raise RuntimeError("no route to host")
        self.curves.append((curve, record.epoch))

    def end(self, found: outcome.Outcome | None) -> None:
        sys.stdout.write("a tracker's own words")
        self.ends.append(found)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Fake]]:
    """Trackers that are asked for are these."""
    made = {"tensorboard": Fake(), "mlflow": Fake(fails="epoch")}

    def start(name: str) -> tracker.Start:
        if name == "wandb":
            raise ImportError("broken")
        return lambda *_: made[name]

    monkeypatch.setattr(tracker, "_start", start)
    monkeypatch.setattr(tracker, "_installed", lambda _module: True)
    return made


def test_each_training_has_a_curve_of_its_own(fakes: dict[str, Fake], run: Path) -> None:
    """Trials and folds are told apart, by the words of their steps and by a number."""
    told(["tensorboard"], run)

    first, *rest = fakes["tensorboard"].curves
    epochs = [record.epoch for record in HISTORY]
    assert first == ("trying-deep", HISTORY[0].epoch)
    assert rest == [("deep", e) for e in epochs] + [("deep-2", e) for e in epochs]


def test_a_tracker_that_fails_is_told_and_left_alone(
    fakes: dict[str, Fake], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At its start or later: once, with its reason; the others go on, and stdout stays clean."""
    heard, _ = told(["mlflow", "tensorboard", "wandb"], run)

    assert [n for n in heard.notes if "is told no more" in n] == [
        "wandb is told no more of this training, which goes on: ImportError broken",
        "mlflow is told no more of this training, which goes on: no route to host",
    ]
    assert fakes["mlflow"].ends == []
    assert fakes["tensorboard"].ends[0] is not None
    assert capsys.readouterr().out == ""


def test_names_are_a_list_and_what_there_is_not_is_refused(
    run_cli, fakes: dict[str, Fake], tmp_path: Path
) -> None:
    """With commas or one by one, each once; another name ends the command before any image."""
    assert tracker.require(["tensorboard, mlflow", "tensorboard"]) == ("tensorboard", "mlflow")
    assert tracker.require([]) == ()

    done = run_cli("train", tmp_path / "gone", "--track", "mlflow", "--track", "excel")

    assert done.code == 2
    assert "--track is 'excel'" in done.err
    assert "Give one of tensorboard, mlflow, wandb, trackio" in done.err


def test_a_package_that_is_not_there_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setattr(tracker, "_installed", lambda _module: False)

    with pytest.raises(UsageError, match="--track wandb needs a package") as caught:
        tracker.require(["wandb"])

    assert caught.value.hint == "pip install 'finetune-images[track]'"


@pytest.mark.parametrize("ends", [None, KeyboardInterrupt])
def test_trackers_hear_how_a_training_ends(
    fakes: dict[str, Fake], monkeypatch: pytest.MonkeyPatch, run: Path, ends: type | None
) -> None:
    """With its result; with nothing where it was interrupted before there was one."""

    def trained(*_: object) -> RunResult:
        if ends is not None:
            raise ends
        return RESULT

    monkeypatch.setattr(train, "run_training", trained)
    asked = options_for(root=str(SAMPLE), out="runs/one")

    if ends is None:
        assert tracked.run_tracked(asked, Recorder(), track=["tensorboard"]) is RESULT
    else:
        with pytest.raises(ends):
            tracked.run_tracked(asked, Recorder(), track=["tensorboard"])

    (found,) = fakes["tensorboard"].ends
    assert (found is None) == (ends is not None)


def test_an_outcome_has_plan_metrics_and_confusion(run: Path) -> None:
    """All settings of the plan, the test's rates, the matrix with its classes, the files."""
    result = run_folder.load_result(run)
    found = outcome.of(replace(result, run=str(run)))

    assert found.parameters["plan.lr"] == result.recommendation.plan.lr
    assert found.parameters["plan.augment.flip"] == result.recommendation.plan.augment.flip
    assert not [name for name in found.parameters if "why" in name]
    assert result.test is not None
    assert found.metrics["test.accuracy"] == result.test.accuracy
    head, *rows = csv.reader(found.confusion.splitlines())
    assert head == ["true class", *result.classes]
    assert [[int(n) for n in row[1:]] for row in rows] == [list(r) for r in result.test.confusion]
    assert [path.name for path in found.files] == ["report.html", "result.json"]


def test_a_model_of_mlflow_takes_what_its_callers_have() -> None:
    """One path, a list, an array, the bytes of a file: each is a list of pictures."""
    content = LEAF.read_bytes()

    assert list(mlflow_model.values("a.jpg")) == ["a.jpg"]
    assert list(mlflow_model.values(np.array(["a.jpg", "b.jpg"]))) == ["a.jpg", "b.jpg"]
    assert list(mlflow_model.values(SimpleNamespace(ndim=1, iloc=0, tolist=lambda: ["a"]))) == ["a"]
    assert mlflow_model.picture(content).size == (128, 128)
    assert mlflow_model.picture("a.jpg") == "a.jpg"


# --- the real packages ----------------------------------------------------------------------------


def test_tensorboard_reads_what_it_was_told(place: Path, run: Path) -> None:
    """Curves by epoch, metrics, plan and confusion, by TensorBoard's own reader; without torch."""
    needed("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    heard, result = told(["tensorboard"], run)
    told(["tensorboard"], run)

    found = EventAccumulator(str(place / "tensorboard" / "trees" / "one")).Reload()
    losses = found.Scalars("deep-2/train_loss")
    assert [(s.step, s.value) for s in losses] == [
        (r.epoch, pytest.approx(r.train_loss)) for r in HISTORY
    ]
    assert result.test is not None
    assert found.Scalars("test.accuracy")[0].value == pytest.approx(result.test.accuracy)
    (plan,) = found.Tensors("plan/text_summary")
    assert b"plan.lr" in plan.tensor_proto.string_val[0]
    assert {"confusion/text_summary", "options/text_summary"} <= set(found.Tags()["tensors"])
    assert "tensorboard --logdir" in heard.notes[-1]
    assert (place / "tensorboard" / "trees" / "one-2").is_dir()


def test_trackio_reads_what_it_was_told(place: Path, run: Path) -> None:
    """Options, curves, metrics and artifacts come back from its own database."""
    needed("trackio")
    script = (
        "import json, sys, trackio\n"
        "from trackio.sqlite_storage import SQLiteStorage\n"
        "(one,) = trackio.Api().runs('trees')\n"
        "logs = SQLiteStorage.get_logs('trees', 'one')\n"
        "print(json.dumps({'config': one.config, 'logs': logs}, default=str))\n"
    )
    told(["trackio"], run)

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=100
    )

    found = json.loads(done.stdout.splitlines()[-1])
    assert found["config"]["option.strategy"] == OPTIONS.decision.strategy
    losses = [log["deep-2/train_loss"] for log in found["logs"] if "deep-2/train_loss" in log]
    assert losses == [r.train_loss for r in HISTORY]
    assert "confusion" in found["logs"][-1]
    assert "test.accuracy" in found["logs"][-1]
    assert list((place / "trackio" / "artifacts" / "trees").rglob("*"))


def pieces(content: bytes) -> Iterator[bytes]:
    """The records of a `.wandb` file: LevelDB's log format, 7 bytes before it and each."""
    found, place, block = b"", 7, 32_768
    while place < len(content):
        if block - place % block < 7:
            place += block - place % block
        size, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        found += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield found
            found = b""


@pytest.mark.slow
def test_wandb_reads_what_it_was_told(place: Path, run: Path) -> None:
    """Offline without an account: config, curves, summary, table and report in its own file."""
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    heard, result = told(["wandb"], run)
    wandb.teardown()  # its own process has written all of it then, as at the end of a command

    (file,) = (place / "wandb").glob("offline-run-*/*.wandb")
    from wandb.proto import wandb_internal_pb2  # noqa: PLC0415 - an extra

    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    artifacts: list[str] = []
    for data in pieces(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(data)
        for update in (*record.run.config.update, *record.config.update):
            config["/".join(update.nested_key) or update.key] = json.loads(update.value_json)
        for item in record.summary.update:
            summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        if record.HasField("history"):
            rows.append(
                {
                    "/".join(i.nested_key) or i.key: json.loads(i.value_json)
                    for i in record.history.item
                }
            )
        artifacts += [entry.path for entry in record.artifact.manifest.contents]
    assert config["option.strategy"] == OPTIONS.decision.strategy
    assert config["plan.lr"] == result.recommendation.plan.lr
    losses = [row["deep-2/train_loss"] for row in rows if "deep-2/train_loss" in row]
    assert losses == [r.train_loss for r in HISTORY]
    assert result.test is not None
    assert summary["test.accuracy"] == result.test.accuracy
    assert "report.html" in artifacts
    assert "wandb sync" in heard.notes[-1]


@pytest.mark.slow
def test_mlflow_reads_what_it_was_told_and_its_model_answers(place: Path, run: Path) -> None:
    """Parameters, curves, metrics, files; a fresh process loads the model and gets answers."""
    needed("mlflow")
    told(["mlflow"], run)
    script = (
        "import json, sys, mlflow\n"
        "from mlflow import MlflowClient\n"
        "uri, leaf = sys.argv[1:]\n"
        "mlflow.set_tracking_uri(uri)\n"
        "client = MlflowClient(uri)\n"
        "number = client.get_experiment_by_name('trees').experiment_id\n"
        "(run,) = client.search_runs([number])\n"
        "key = run.info.run_id\n"
        "files = [f.path for f in client.list_artifacts(key)]\n"
        "curve = client.get_metric_history(key, 'deep-2/train_loss')\n"
        "model = mlflow.pyfunc.load_model(f'runs:/{key}/model')\n"
        "content = open(leaf, 'rb').read()\n"
        "answers = model.predict([leaf, 'gone.jpg']), model.predict([content])\n"
        "print(json.dumps([run.data.params, run.data.metrics, files, run.info.status,\n"
        "    [(m.step, m.value) for m in curve], answers, 'torch' in sys.modules]))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, (place / "mlruns").as_uri(), str(LEAF)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true"},
    )

    assert done.returncode == 0, done.stderr
    params, metrics, files, status, curve, answers, torch = json.loads(done.stdout.splitlines()[-1])
    result = run_folder.load_result(run)
    assert status == "FINISHED"
    assert params["option.strategy"] == OPTIONS.decision.strategy
    assert params["plan.lr"] == str(result.recommendation.plan.lr)
    assert result.test is not None
    assert metrics["test.accuracy"] == result.test.accuracy
    assert set(files) == {"report.html", "result.json", "confusion.csv", "model"}
    assert curve == [[r.epoch, r.train_loss] for r in HISTORY]
    (by_path, gone), (by_bytes,) = answers
    assert by_path["label"] in result.classes
    assert by_bytes["label"] == by_path["label"]
    assert by_bytes["probability"] == pytest.approx(by_path["probability"], abs=0.02)
    assert "gone.jpg" in gone["error"]
    assert torch is False


@pytest.mark.slow
def test_a_training_is_told_as_it_goes_on(run_cli, image_folder, place: Path) -> None:
    """The command line, all four at once: each tuning has its curve, the answer stays as it is."""
    for name in ("tensorboard", "mlflow", "wandb", "trackio"):
        needed(name)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    root = image_folder({"a": 14, "b": 14}, size=(64, 48))
    short = ("--strategy", "deep", "--epochs", 2, "--image-size", 32)
    tiny = ("--backbone", "test_resnet", "--weights", "random")

    done = run_cli(
        "train",
        root,
        "--out",
        place / "one",
        *short,
        *tiny,
        "--track",
        ",".join(TRACKERS),
        "--json",
    )

    assert done.code == 0
    answer = json.loads(done.out)
    assert "is told no more" not in done.err
    found = EventAccumulator(str(place / "tensorboard" / root.name / "one")).Reload()
    curves = [tag for tag in found.Tags()["scalars"] if tag.endswith("/train_loss")]
    assert curves
    assert found.Scalars("test.accuracy")[0].value == pytest.approx(answer["test"]["accuracy"])
