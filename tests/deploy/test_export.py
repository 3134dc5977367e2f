"""Promises of exports: what others read answers as predict does, or nothing is written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import timm
import torch
from examples import CLASSES, HISTORY, RESULT, SPLITS
from exports import TwoStages, as_written, make_run, predicted
from helpers import SAMPLE, Recorder
from PIL import Image

from finetune.cli import process
from finetune.deploy import drawn_pictures, formats, parity, readmes, whole_network
from finetune.records.answers import Exported
from finetune.records.backbone import Preprocess
from finetune.records.choices import Fit, Format, Interpolation
from finetune.records.errors import ExportError, TakenError, UsageError
from finetune.records.run import BlendPart, HeadFacts
from finetune.runs import run_folder, run_tensors
from finetune.workflows.export import run_export

FITS: tuple[Fit, ...] = ("half", "squash", "center", "letterbox")
SIZES = ((97, 61), (61, 97), (64, 64), (160, 30), (33, 20))


@pytest.fixture(scope="module")
def run(two_stages: TwoStages) -> Path:
    """A run whose head reads two stages."""
    return two_stages.run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pictures of every kind, and some of the sample data."""
    drawn = drawn_pictures.draw(tmp_path_factory.mktemp("drawn"), len(drawn_pictures.KINDS))
    return [*drawn, *sorted(SAMPLE.rglob("*.jpg"))[::80]]


@pytest.fixture(scope="module")
def exported(two_stages: TwoStages) -> tuple[Exported, Path]:
    """The run as ONNX, checked on the sample data."""
    return two_stages.found, two_stages.file


@pytest.fixture
def made_once(exported: tuple[Exported, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's ONNX is not made again, which takes seconds."""
    monkeypatch.setattr(formats, "_onnx", lambda _run: exported[1].read_bytes())


def require_the_same(rows: list[list[str]], run: Path, paths: list[Path]) -> None:
    """Lines of a program say what predict says."""
    likely = predicted(run, paths)
    assert [row[0] for row in rows] == [str(path) for path in paths]
    for (_, label, probability), expected in zip(rows, likely, strict=True):
        assert abs(float(probability) - expected.max()) < parity.ALLOWED
        if expected.max() > 0.5 + parity.ALLOWED:
            assert label == CLASSES[expected.argmax()]


def test_onnx_has_the_input_output_and_facts_that_others_rely_on(
    exported: tuple[Exported, Path], run: Path
) -> None:
    """One input `image` uint8, one output `probabilities` float32, opset 18, facts as metadata."""
    model = onnx.load(exported[1])
    session = onnxruntime.InferenceSession(exported[1])
    (image,), (probabilities,) = session.get_inputs(), session.get_outputs()
    about = session.get_modelmeta().custom_metadata_map
    facts = run_folder.load_facts(run)

    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", ["N", "H", "W", 3])
    assert (probabilities.name, probabilities.type) == ("probabilities", "tensor(float)")
    assert probabilities.shape == ["N", len(CLASSES)]
    assert json.loads(about["classes"]) == list(CLASSES)
    assert about["license"] == facts.backbone.licence
    assert about["training_fingerprint"] == facts.data_fingerprint
    assert str(Path.cwd()).encode() not in exported[1].read_bytes()


def test_onnx_takes_any_size_and_batches(
    exported: tuple[Exported, Path], run: Path, pictures: list[Path]
) -> None:
    """Pictures of any size alone, and several of one size at once, answer as predict does."""
    session = onnxruntime.InferenceSession(exported[1])
    leaves = sorted(SAMPLE.rglob("*.jpg"))[::60]
    batch = np.stack([formats.as_read(path) for path in leaves])

    together = session.run(None, {"image": batch})[0]
    alone = [session.run(None, {"image": formats.as_read(p)[None]})[0][0] for p in pictures]

    assert np.abs(together - predicted(run, leaves)).max() < 1e-3
    assert np.abs(np.array(alone) - predicted(run, pictures)).max() < parity.ALLOWED


def test_the_answer_says_how_it_was_checked(exported: tuple[Exported, Path]) -> None:
    """At least 32 pictures, their labels, the largest difference and the files are told."""
    found, out = exported

    assert found.checked >= 32
    assert found.labels_equal
    assert 0 <= found.max_difference <= found.allowed_difference
    assert found.files == {n: (out.parent / n).stat().st_size for n in ("model.onnx", "model.md")}
    assert str(SAMPLE) in found.pictures


@pytest.mark.usefixtures("made_once")
@pytest.mark.parametrize("kind", ["onnx", "openvino", "triton"])
def test_the_readmes_program_needs_neither_torch_nor_us(
    kind: Format,
    run: Path,
    exported: tuple[Exported, Path],
    pictures: list[Path],
    tmp_path: Path,
) -> None:
    """Ten lines, run as written where torch, timm and finetune are missing, say what we say."""
    readme = exported[1].with_suffix(".md")
    if kind != "onnx":
        run_export(run, kind, tmp_path / "out", images=SAMPLE, listener=Recorder())
        readme = tmp_path / "out" / "README.md"

    rows = as_written(readme, pictures, without=("torch", "timm", "finetune"))

    require_the_same(rows, run, pictures)


@pytest.mark.usefixtures("made_once")
def test_openvinos_file_tells_modelapi_what_it_asks(run: Path, tmp_path: Path) -> None:
    """ModelAPI finds its kind of model, the labels, and that preprocessing is inside."""
    run_export(run, "openvino", tmp_path / "out", images=SAMPLE, listener=Recorder())

    graph = openvino.Core().read_model(tmp_path / "out" / "two.xml")

    def info(key: str) -> str:
        return str(graph.get_rt_info(["model_info", key]).value)

    assert info("model_type") == "Classification"
    assert info("labels") == "ash bäy_&_co"
    assert info("embedded_processing") == "YES"
    assert str(graph.input("image").partial_shape) == "[1,?,?,3]"
    assert str(graph.output("probabilities").partial_shape) == "[1,2]"


@pytest.mark.slow
def test_pt2_is_read_by_torch_alone(run: Path, pictures: list[Path], tmp_path: Path) -> None:
    """The program in its README needs torch, and nothing of ours or timm's."""
    run_export(run, "pt2", tmp_path / "m.pt2", images=SAMPLE, listener=Recorder())

    rows = as_written(tmp_path / "m.md", pictures, without=("timm", "finetune"))

    require_the_same(rows, run, pictures)


@pytest.mark.slow
def test_the_hubs_layout_is_read_by_timm(pictures: list[Path], tmp_path: Path) -> None:
    """`timm.create_model` reads it back with the same logits, and its own transform fits."""
    run = make_run(tmp_path / "run", taps=("top",), fit="squash")
    run_export(run, "hub", tmp_path / "hub", images=SAMPLE, listener=Recorder())
    loaded = run_folder.load(run)
    network = whole_network.of_run(loaded)
    pixels = torch.rand(2, 3, *[loaded.facts.preprocess.side_px] * 2) * 255

    model = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    with torch.inference_mode():
        gap = (
            (model(network.parts[0].backbone.normalise(pixels)) - network.logits(pixels))
            .abs()
            .max()
        )
    rows = as_written(tmp_path / "hub" / "README.md", pictures, without=("finetune",))

    assert float(gap) < 1e-4
    assert model.pretrained_cfg["label_names"] == list(CLASSES)
    require_the_same(rows, run, pictures)


@pytest.mark.parametrize(
    ("name", "taps", "fit", "reason"),
    [
        ("test_resnet", ("top",), "half", "no word for --fit half"),
        ("test_resnet", ("root of top",), "squash", "reads their square root"),
        ("test_resnet", ("1", "top"), "squash", "reads 1, top"),
        ("lenet5", ("top",), "squash", "not one of timm's"),
    ],
)
def test_what_the_hubs_layout_cannot_say_is_refused(
    tmp_path: Path, name: str, taps: tuple[str, ...], fit: Fit, reason: str
) -> None:
    """The reason is told, and nothing is written."""
    run = make_run(tmp_path / "run", name, taps, fit)

    with pytest.raises(ExportError, match=reason):
        run_export(run, "hub", tmp_path / "hub", listener=Recorder())

    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_blend_is_one_graph(tmp_path: Path, pictures: list[Path]) -> None:
    """Two networks, one of smaller pictures, are one module with their head; the hub refuses it."""
    one = run_folder.load(make_run(tmp_path / "one", taps=("top",)))
    side, width = one.facts.preprocess.side_px, one.weight.shape[1]
    rng = np.random.default_rng(1)
    parts = tuple(
        BlendPart(strategy=s, weight=0.5, temperature=1.0, taps=(tap,), side_px=px)
        for s, tap, px in (("deep", "top", side // 2), ("linear-probe", "root of top", side))
    )
    run_folder.save(
        tmp_path / "blend",
        replace(
            one.facts,
            strategy="blend",
            parts=parts,
            head=HeadFacts(("tuned/top", "original/root of top"), 0.7),
        ),
        RESULT,
        tensors=run_tensors.pack(
            one.backbone,
            rng.normal(size=(len(CLASSES), 2 * width)).astype(np.float32),
            np.zeros(len(CLASSES), np.float32),
            {n: t * np.asarray(0.9, t.dtype) for n, t in one.backbone.items()},
        ),
        history=HISTORY,
        splits=SPLITS,
        report=None,
        aside=tmp_path / ".blend",
    )
    network = whole_network.of_run(run_folder.load(tmp_path / "blend"))
    expected = predicted(tmp_path / "blend", pictures)

    with torch.inference_mode():
        found = [network(torch.from_numpy(formats.as_read(p).copy())[None])[0] for p in pictures]

    assert np.abs(torch.stack(found).numpy() - expected).max() < parity.ALLOWED
    with pytest.raises(ExportError, match="--fit half"):
        run_export(tmp_path / "blend", "hub", tmp_path / "hub", listener=Recorder())


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("kind", get_args(Interpolation))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_square_in_the_graph_is_ours(
    fit: Fit, kind: Interpolation, size: tuple[int, int]
) -> None:
    """In plain operators a picture becomes the pixels that predict's decoder makes of it.

    Of tall pictures Pillow 12 and later may resize the columns first, which rounds otherwise.
    """
    from finetune.pictures import square  # noqa: PLC0415 - its names are used here alone

    width, height = size
    rng = np.random.default_rng(width)
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    box = Preprocess(48, (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), fit=fit, interpolation=kind).box
    ours = square.cut(Image.fromarray(noise), 48, box).astype(int)

    inside = whole_network.Square(48, box)(torch.from_numpy(noise)[None])[0]

    gap = np.abs(inside.permute(1, 2, 0).numpy() - ours)
    if kind in ("box", "nearest"):  # a pixel on the very edge of the kernel is in or out
        assert gap.mean() < (4 if kind == "box" else 20)
        return
    assert gap.max() <= (1 if width >= height else 40)
    assert gap.mean() < (0.02 if width >= height else 0.6)


def test_an_export_that_answers_otherwise_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written, the worst file is named, and the exit code is 3."""
    write = formats.write

    def turned(*arguments: object) -> formats.Export:
        made = write(*arguments)  # type: ignore[arg-type]
        return replace(made, answer=lambda path: made.answer(path)[::-1])

    monkeypatch.setattr(formats, "write", turned)
    monkeypatch.setattr(formats, "_write_onnx", fake)
    out = tmp_path / "model.onnx"

    code = process.run(["export", str(run), "--out", str(out), "--images", str(SAMPLE), "--json"])

    told = capfd.readouterr().err
    assert code == 3
    assert list(tmp_path.iterdir()) == []
    assert "does not answer as predict does" in told
    assert re.search(r"\.(jpg|png) is '", told)


def fake(
    run: run_folder.LoadedRun, folder: Path, name: str, content: bytes | None = None
) -> formats.Export:
    """A quick stand-in for the exporter, whose answers are right."""
    del content
    file = folder / f"{name}.onnx"
    file.write_bytes(b"network")
    network = whole_network.of_run(run)

    def answer(path: Path) -> np.ndarray:
        with torch.inference_mode():
            found = network(torch.from_numpy(formats.as_read(path).copy())[None])
        return found[0].numpy().astype(np.float64)

    return formats.Export(main=file, answer=answer)


def test_without_the_runs_pictures_drawn_ones_are_taken(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the data has gone, 32 drawn pictures check the export, and that is told."""
    monkeypatch.setattr(formats, "_write_onnx", fake)
    heard = Recorder()

    found = run_export(run, "onnx", tmp_path / "m.onnx", listener=heard)

    assert found.checked == 32
    assert "no picture of the run lies in /data/trees any more" in found.pictures
    assert any("drawn pictures alone" in note for note in heard.notes)


def test_the_runs_own_pictures_come_first(
    leaves_run: tuple[object, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty of its data, of every class, and one drawn one of each kind."""
    monkeypatch.setattr(formats, "_write_onnx", fake)

    found = run_export(leaves_run[1], "onnx", tmp_path / "m.onnx", listener=Recorder())

    assert found.checked == 48
    assert found.pictures == f"40 pictures of {SAMPLE} and 8 drawn ones"


def test_nothing_is_overwritten(run: Path, tmp_path: Path) -> None:
    """A place that is taken, a name that does not say the format, and the data are refused."""
    (tmp_path / "m.md").write_text("mine")
    with pytest.raises(TakenError, match=r"m\.md exists"):
        run_export(run, "onnx", tmp_path / "m.onnx", listener=Recorder())
    with pytest.raises(TakenError, match="exists"):
        run_export(run, "openvino", tmp_path, listener=Recorder())
    with pytest.raises(ExportError, match="no name for onnx"):
        run_export(run, "onnx", tmp_path / "model", listener=Recorder())
    with pytest.raises(UsageError, match="/data/trees"):
        run_export(run, "onnx", Path("/data/trees/m.onnx"), listener=Recorder())


def test_missing_packages_are_told_before_the_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What to install is said."""
    monkeypatch.setitem(formats.NEEDS, "onnx", ("no_such_package",))

    with pytest.raises(ExportError, match="no_such_package") as caught:
        run_export(run, "onnx", tmp_path / "m.onnx", listener=Recorder())

    assert "[export]" in caught.value.hint


def test_every_format_has_its_parts() -> None:
    """A name, its packages and a program each."""
    assert formats.ENDS.keys() == formats.NEEDS.keys() == readmes.PROGRAMS.keys()
