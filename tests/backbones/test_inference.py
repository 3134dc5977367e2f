"""Promises of the inference file: predict and evaluate answer from it without torch, or say why."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import openvino
import pytest
import torch
from helpers import SAMPLE, Recorder, train

from finetune.backbones import engine, inference, load, stages
from finetune.deploy import inference_file, predictor
from finetune.deploy.predictor import Predictor
from finetune.heads import ridge
from finetune.records.answers import Evaluation, Prediction
from finetune.records.errors import DeviceError, RunError
from finetune.records.run import RunResult
from finetune.runs import run_folder
from finetune.workflows import evaluate, predict

CPU = torch.device("cpu")
PICTURES = sorted(SAMPLE.rglob("*.jpg"))[::60]
HEAVY = ("torch", "torchvision", "timm", "scipy", "openvino_telemetry", "openvino.tools.ovc")


def answers(run: Path, device: str = "auto") -> tuple[list[Prediction], list[str]]:
    """What a run says of a few pictures, all classes listed, and the notes."""
    heard = Recorder()
    found = list(predict.run_prediction(PICTURES, run, top=99, device=device, listener=heard))
    return found, heard.notes


def rows(found: list[Prediction], run: Path) -> np.ndarray:
    """Probabilities float64[N,C] in the order of the classes."""
    classes = run_folder.load_facts(run).classes
    by_name = [{entry.label: entry.probability for entry in one.top} for one in found]
    return np.array([[names[label] for label in classes] for names in by_name])


def copied(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def without_file(run: Path, to: Path) -> Path:
    """A copy of a run whose inference file was deleted."""
    copied(run, to)
    for name in inference.FILES:
        (to / name).unlink()
    return to


def edit_facts(run: Path, **changes: Any) -> None:
    plain = json.loads((run / "run.json").read_text("utf-8"))
    (run / "run.json").write_text(json.dumps(plain | changes), "utf-8")


def forge(run: Path, **contents: bytes) -> None:
    """Replace `xml` or `bin` and make run.json name the new digest."""
    digests = dict(run_folder.load_facts(run).inference)
    for suffix, content in contents.items():
        (run / f"inference.{suffix}").write_bytes(content)
        digests[f"inference.{suffix}"] = hashlib.sha256(content).hexdigest()
    edit_facts(run, inference=digests)


def command(*arguments: object) -> tuple[Any, list[str]]:
    """Run the command line in a fresh interpreter: its JSON lines, the heavy modules it loaded."""
    script = (
        "import sys\n"
        "from finetune.cli.process import run\n"
        "code = run(sys.argv[1:])\n"
        f"print([m for m in {HEAVY!r} if sys.modules.get(m)])\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    *lines, loaded = done.stdout.splitlines()
    return [json.loads(line) for line in lines], json.loads(loaded.replace("'", '"'))


# --- the commands ---------------------------------------------------------------------------------


def test_predict_loads_no_torch_and_gives_the_same_numbers(
    leaves_run: tuple[RunResult, Path], tmp_path: Path
) -> None:
    """A whole process answers without torch, timm, torchvision or scipy, to 1e-5 as with torch."""
    _, run = leaves_run
    slow = without_file(run, tmp_path / "slow")

    found, loaded = command("predict", *PICTURES, "--run", run, "--top", 99)
    plain, _ = answers(slow)

    assert loaded == []
    by_name = [{e["label"]: e["probability"] for e in one["top"]} for one in found]
    quick = np.array([[names[c] for c in run_folder.load_facts(run).classes] for names in by_name])
    assert np.abs(quick - rows(plain, slow)).max() < 1e-5


def test_evaluate_loads_no_torch_and_gives_the_same_figures(
    leaves_run: tuple[RunResult, Path], tmp_path: Path
) -> None:
    """`evaluate` takes the same path, with the figures of the slow one."""
    _, run = leaves_run
    data = tmp_path / "data"
    for picture in sorted(SAMPLE.rglob("*.jpg"))[::12]:
        (data / picture.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, data / picture.parent.name)

    (quick,), loaded = command("evaluate", data, "--run", run)
    slow = evaluated(data, without_file(run, tmp_path / "slow"))

    assert loaded == []
    assert quick["metrics"]["accuracy"] == slow.metrics.accuracy
    assert quick["metrics"]["log_loss"] == pytest.approx(slow.metrics.log_loss, abs=1e-5)
    assert quick["metrics"]["n"] == 20


def evaluated(data: Path, run: Path) -> Evaluation:
    return evaluate.run_evaluation(data, run, device="cpu", unseen=False, listener=Recorder())


@pytest.mark.parametrize("which", ["leaves_run", "tuned_run"])
def test_both_ways_give_the_same_probabilities(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A probe and a tuned model answer the same from the inference file and from torch."""
    _, run = request.getfixturevalue(which)
    slow = without_file(run, tmp_path / "slow")

    quick, notes = answers(run)
    plain, _ = answers(slow)

    assert notes == []
    assert [a.label for a in quick] == [a.label for a in plain]
    assert np.abs(rows(quick, run) - rows(plain, slow)).max() < 1e-5


def test_an_unreadable_picture_is_a_record_here_too(
    leaves_run: tuple[RunResult, Path], tmp_path: Path
) -> None:
    """A damaged file among good ones costs itself only."""
    _, run = leaves_run
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")

    found = list(
        predict.run_prediction(
            [PICTURES[0], bad, PICTURES[1]], run, top=1, device="cpu", listener=Recorder()
        )
    )

    assert [a.error is None for a in found] == [True, False, True]
    assert "bad.jpg" in str(found[1].error)
    assert found[1].label is None


def test_predicting_leaves_the_run_as_it_was(leaves_run: tuple[RunResult, Path]) -> None:
    """Neither a cache nor anything else is written into the run."""
    _, run = leaves_run
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in run.iterdir()}

    answers(run)

    assert {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in run.iterdir()} == before


# --- where there is no usable file ----------------------------------------------------------------


def test_without_a_file_torch_answers_and_that_is_said(
    leaves_run: tuple[RunResult, Path], tmp_path: Path
) -> None:
    """A run whose two files were deleted answers as before, with a note."""
    found, notes = answers(without_file(leaves_run[1], tmp_path / "slow"))

    assert all(a.error is None for a in found)
    assert len(notes) == 1
    assert "no inference.xml" in notes[0]
    assert "with torch" in notes[0]


def test_a_run_of_an_older_version_is_answered_with_torch(
    leaves_run: tuple[RunResult, Path], tmp_path: Path
) -> None:
    """Files that run.json does not name are not read, whatever they hold."""
    run = copied(leaves_run[1], tmp_path / "run")
    edit_facts(run, inference={})
    (run / "inference.xml").write_text("hostile")

    found, notes = answers(run)

    assert all(a.error is None for a in found)
    assert "with torch" in notes[0]


def test_without_openvino_torch_answers_and_that_is_said(
    leaves_run: tuple[RunResult, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where OpenVINO is not installed the note names the file and the cause."""
    monkeypatch.setitem(sys.modules, "openvino", None)

    found, notes = answers(leaves_run[1])

    assert all(a.error is None for a in found)
    assert "inference.xml" in notes[0]
    assert "openvino" in notes[0]


def test_a_file_openvino_cannot_read_is_a_note(
    leaves_run: tuple[RunResult, Path], tmp_path: Path
) -> None:
    """Under a digest that fits, but of a version that OpenVINO does not know: torch answers."""
    run = copied(leaves_run[1], tmp_path / "run")
    forge(run, xml=b'<?xml version="1.0"?><net name="x" version="99"/>')

    found, notes = answers(run)

    assert all(a.error is None for a in found)
    assert "OpenVINO cannot use" in notes[0]


@pytest.mark.parametrize("content", [b"", b"<net", b"\x00\xff", b"<net name='x' version='99'/>"])
def test_a_file_that_is_no_network_is_refused(
    leaves_run: tuple[RunResult, Path], tmp_path: Path, content: bytes
) -> None:
    """Under a digest that fits, but nothing that training writes: the fault names the file."""
    run = copied(leaves_run[1], tmp_path / "run")
    forge(run, xml=content)

    with pytest.raises(RunError, match=r"run/inference\.xml was not written by finetune") as caught:
        answers(run)

    assert "delete inference.xml and inference.bin" in caught.value.hint


def test_constants_cut_off_are_refused(leaves_run: tuple[RunResult, Path], tmp_path: Path) -> None:
    """Half the weights under a digest that fits are never read past their end."""
    run = copied(leaves_run[1], tmp_path / "run")
    forge(run, bin=(run / "inference.bin").read_bytes()[:5_000_000])

    with pytest.raises(RunError, match="a constant that is not in its other file"):
        answers(run)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_another_device_is_torchs(leaves_run: tuple[RunResult, Path]) -> None:
    """A GPU asked for by name is not answered for by OpenVINO on the CPU."""
    assert "cuda" not in predictor.QUICK_DEVICES
    with pytest.raises(DeviceError, match="'cuda' is not available"):
        answers(leaves_run[1], device="cuda")


# --- damaged and hostile files --------------------------------------------------------------------


@pytest.mark.parametrize("name", inference.FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "one bit"])
def test_a_file_that_is_not_the_runs_own_is_refused(
    leaves_run: tuple[RunResult, Path], tmp_path: Path, name: str, damage: str
) -> None:
    """No answer comes from a file with another digest: the fault names it and a way on."""
    run = copied(leaves_run[1], tmp_path / "run")
    content = bytearray((run / name).read_bytes())
    (run / name).unlink()
    if damage == "truncated":
        (run / name).write_bytes(content[: len(content) // 2])
    elif damage == "one bit":
        content[len(content) // 2] ^= 1
        (run / name).write_bytes(content)

    with pytest.raises(RunError) as caught:
        answers(run)

    assert str(run / name) in caught.value.message
    assert "delete inference.xml and inference.bin" in caught.value.hint


def test_a_network_of_another_form_is_refused(
    leaves_run: tuple[RunResult, Path], tuned_run: tuple[RunResult, Path], tmp_path: Path
) -> None:
    """Another input side, or another number of classes, under digests that fit."""
    smaller = copied(leaves_run[1], tmp_path / "smaller")
    forge(
        smaller,
        xml=(tuned_run[1] / "inference.xml").read_bytes(),
        bin=(tuned_run[1] / "inference.bin").read_bytes(),
    )
    fewer = copied(leaves_run[1], tmp_path / "fewer")
    edit_facts(fewer, classes=["a", "b"])

    with pytest.raises(RunError, match=r"smaller/inference\.xml takes and gives u8\[1,64,64,3\]"):
        answers(smaller)
    with pytest.raises(RunError, match=r"f32\[1,6\], not u8\[1,224,224,3\] and f32\[1,2\]"):
        answers(fewer)


# --- writing it -----------------------------------------------------------------------------------


def small(classes: int = 3) -> tuple[stages.Backbone, ridge.Head, inference.Engine]:
    """A network that converts in a moment, with a head of random weights on its top features."""
    backbone, _ = load.build("lenet5", "random")
    made = engine.make(backbone, CPU, 32, 1)
    rng = np.random.default_rng(0)
    weight, bias = (rng.normal(size=s).astype(np.float32) for s in ((classes, 84), classes))
    return backbone, ridge.Head(weight.astype(float), bias.astype(float), 0.5), made


def exported(
    backbone: stages.Backbone,
    head: ridge.Head,
    taps: tuple[str, ...],
    side_px: int,
    made: inference.Engine,
) -> tuple[tuple[bytes, bytes] | None, str]:
    """The inference file of a network, converted where its engine has not done it."""
    return inference_file.inference_file(
        lambda: made.graph or engine.convert(backbone, side_px),
        Predictor(made, side_px, (), head.temperature, head, taps),
    )


def test_the_file_gives_the_scores_of_backbone_and_head() -> None:
    """Written and read back, the network gives what torch's features and the head give."""
    backbone, head, made = small()
    pixels = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)

    files, why = exported(backbone, head, ("top",), 32, made)

    assert why == ""
    assert files is not None
    ready = inference.scorer(*files, 32, 3, "x")
    start, stop = made.layout["top"]
    expected = ridge.score(head, made.forward(pixels)[:, start:stop])
    assert ready.layout == {"scores": (0, 3)}
    assert np.abs(ready.forward(pixels) - expected).max() < 1e-5


def test_a_full_disk_is_told_as_what_it_is(tmp_path: Path) -> None:
    """Where OpenVINO has no room to write, the reason is the system's and not "iostream error"."""
    resource = pytest.importorskip("resource")  # not on Windows
    backbone, head, made = small()
    graph = made.graph or engine.convert(backbone, 32)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Python ignores the signal of this limit, so that what goes beyond it fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        files, why = inference_file.inference_file(
            lambda: graph, Predictor(made, 32, (), 1.0, head, ("top",)), tmp_path
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert files is None
    assert "cannot be written" in why
    assert os.strerror(errno.EFBIG) in why
    assert list(tmp_path.iterdir()) == []


def test_features_stand_in_the_order_of_the_taps() -> None:
    """A head on several stages reads each in its place, whatever their order in the network."""
    backbone, _, made = small()
    taps = ("top", "stem", "1")
    spans = [made.layout[tap] for tap in taps]
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(2, sum(b - a for a, b in spans))).astype(np.float32).astype(float)
    head = ridge.Head(weight, np.zeros(2), 1.0)
    pixels = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)

    files, why = exported(backbone, head, taps, 32, made)

    assert files is not None, why
    every = made.forward(pixels)
    rows = np.concatenate([every[:, a:b] for a, b in spans], axis=1)
    got = inference.scorer(*files, 32, 2, "x").forward(pixels)
    assert np.abs(got - ridge.score(head, rows)).max() < 1e-4


def test_weights_are_kept_in_full_precision() -> None:
    """No constant of the file is in half precision."""
    backbone, head, made = small()

    files, _ = exported(backbone, head, ("top",), 32, made)

    assert files is not None
    assert b'element_type="f32"' in files[0]
    assert b'element_type="f16"' not in files[0]


def test_a_graph_at_hand_is_not_converted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the engine runs on OpenVINO, its network is taken."""
    backbone, head, _ = small()
    made = engine.make(backbone, CPU, 32, None)
    monkeypatch.setattr(openvino, "convert_model", refuse)

    files, why = exported(backbone, head, ("top",), 32, made)

    assert files is not None, why


def refuse(*args: object, **options: object) -> NoReturn:
    raise RuntimeError("no rule for aten::odd")


def test_a_network_that_cannot_be_converted_gives_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's own words say why."""
    monkeypatch.setattr(openvino, "convert_model", refuse)

    files, why = exported(*with_top(small()))

    assert files is None
    assert why.endswith("no rule for aten::odd")


def with_top(
    made: tuple[stages.Backbone, ridge.Head, inference.Engine],
) -> tuple[stages.Backbone, ridge.Head, tuple[str, ...], int, inference.Engine]:
    backbone, head, runtime = made
    return backbone, head, ("top",), 32, runtime


@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_scores_that_differ_give_no_file(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """A network that answers otherwise than torch, or with no numbers, is not written."""
    scorer = inference.scorer

    def wrong(*arguments: Any) -> inference.Engine:
        made = scorer(*arguments)
        return replace(made, forward=lambda pixels: factor * made.forward(pixels))

    monkeypatch.setattr(inference, "scorer", wrong)

    files, why = exported(*with_top(small()))

    assert files is None
    assert "differ by" in why


def test_a_run_without_the_file_is_whole_and_says_why(
    image_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the network cannot be converted the run has its seven files, and the user is told."""
    root = image_folder({"a": 10, "b": 10})
    monkeypatch.setenv("FINETUNE_CACHE", "off")
    monkeypatch.setattr(openvino, "convert_model", refuse)
    told: list[str] = []
    monkeypatch.setattr(Recorder, "note", lambda _, text: told.append(text))

    train(root, tmp_path / "run", strategy="linear-probe")

    assert len(list((tmp_path / "run").iterdir())) == 7
    assert run_folder.load_facts(tmp_path / "run").inference == {}
    assert any("no inference file" in text and "aten::odd" in text for text in told)
