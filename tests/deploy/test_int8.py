"""Promises of exports in 8 bits: what they lose is measured on held-out images, or none is made."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from examples import CLASSES
from exports import TwoStages, as_written, make_run, predicted
from helpers import SAMPLE, Recorder
from onnx import numpy_helper

from finetune.cli import process
from finetune.deploy import formats, int8_file
from finetune.records.answers import Exported
from finetune.records.dataset import Sample, Splits
from finetune.records.errors import DataError, ExportError
from finetune.runs import run_folder
from finetune.workflows import export_int8
from finetune.workflows.export import run_export

LEAVES = [path.relative_to(SAMPLE).as_posix() for path in sorted(SAMPLE.rglob("*.jpg"))[::12]]


@pytest.fixture(scope="module")
def run(two_stages: TwoStages, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose data lies there, labelled as it answers, so that every other answer is a loss."""
    place = tmp_path_factory.mktemp("runs")
    called = predicted(two_stages.run, [SAMPLE / leaf for leaf in LEAVES]).argmax(axis=1)
    samples = [
        Sample(leaf, label, leaf) for leaf, label in zip(LEAVES, called.tolist(), strict=True)
    ]
    splits = Splits(tuple(samples[::2]), (), tuple(samples[1::2]))
    return make_run(place / "run", root=SAMPLE, splits=splits)


@pytest.fixture(scope="module")
def network(two_stages: TwoStages) -> bytes:
    """The same network in full precision, as ONNX, made once."""
    return two_stages.file.read_bytes()


@pytest.fixture
def made_once(network: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run's ONNX is not made again, which takes seconds."""
    monkeypatch.setattr(formats, "_onnx", lambda _run: network)


@pytest.fixture(scope="module")
def exported(
    run: Path, network: bytes, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Exported, Path]:
    """The run as ONNX in 8 bits."""
    out = tmp_path_factory.mktemp("out") / "model.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "_onnx", lambda _run: network)
        found = run_export(run, "onnx", out, int8=True, max_loss=30, listener=Recorder())
    return found, out


def test_the_loss_is_that_of_the_file_on_test_images(
    exported: tuple[Exported, Path], run: Path
) -> None:
    """Loss, interval, images, sizes and times are told; the loss is counted anew from the file."""
    found, out = exported
    splits = run_folder.load_splits(run)
    session = onnxruntime.InferenceSession(out)
    answers = [
        session.run(None, {"image": formats.as_read(SAMPLE / s.path)[None]})[0][0].argmax()
        for s in splits.test
    ]
    wrong = np.mean([a != s.label for a, s in zip(answers, splits.test, strict=True)])

    cost = found.int8
    assert cost is not None
    assert cost.loss == pytest.approx(wrong)
    assert cost.same_labels == pytest.approx(1 - wrong)
    assert cost.interval[0] < cost.loss < cost.interval[1]
    assert (cost.images, cost.fp32_accuracy) == (len(splits.test), 1.0)
    assert cost.source == f"{len(splits.test)} test images"
    assert cost.calibrated == len(splits.train)
    assert cost.bytes < cost.fp32_bytes
    assert min(cost.ms, cost.fp32_ms) > 0
    assert found.checked >= 32
    assert 0 < found.max_difference < 1


def test_the_file_keeps_the_contract_of_onnx(exported: tuple[Exported, Path]) -> None:
    """Same input, output, operators' version and facts as in full precision; layers are int8."""
    model = onnx.load(exported[1])
    session = onnxruntime.InferenceSession(exported[1])
    (image,), (likely,) = session.get_inputs(), session.get_outputs()

    onnx.checker.check_model(model)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
    assert (image.name, image.type, image.shape) == ("image", "tensor(uint8)", ["N", "H", "W", 3])
    assert (likely.name, likely.type, likely.shape[1]) == ("probabilities", "tensor(float)", 2)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(CLASSES)
    kinds = [t.data_type for t in model.graph.initializer if len(t.dims) == 4 and t.dims[0] > 1]
    assert set(kinds) == {onnx.TensorProto.INT8}


def test_preprocessing_and_the_classifier_stay_as_they_are(
    exported: tuple[Exported, Path], network: bytes
) -> None:
    """Up to the first convolution and from the classifier on, the graph is that of fp32."""
    before, after = onnx.load_from_string(network).graph, onnx.load(exported[1]).graph

    def start(graph: onnx.GraphProto) -> Counter[str]:
        makers = {output: node for node in graph.node for output in node.output}
        first = next(node for node in graph.node if node.op_type == "Conv")
        waiting, found = [first.input[0]], {}
        while waiting:
            node = makers.get(waiting.pop())
            if node is not None and node.name not in found:
                found[node.name] = node.op_type
                waiting += node.input
        kinds = Counter(found.values())
        return kinds - Counter({"QuantizeLinear": 1, "DequantizeLinear": 1})

    def classifier(graph: onnx.GraphProto) -> np.ndarray:
        (gemm,) = (n for n in graph.node if n.op_type == "Gemm")
        (weight,) = (t for t in graph.initializer if t.name == gemm.input[1])
        return numpy_helper.to_array(weight)

    assert start(after) == start(before) != Counter()
    assert classifier(after).dtype == np.float32
    np.testing.assert_array_equal(classifier(after), classifier(before))


@pytest.mark.usefixtures("made_once")
def test_openvino_reads_it_too(run: Path, tmp_path: Path) -> None:
    """OpenVINO's files in 8 bits answer by the program in their README, which tells the loss."""
    found = run_export(
        run, "openvino", tmp_path / "out", int8=True, max_loss=30, listener=Recorder()
    )
    graph = openvino.Core().read_model(tmp_path / "out" / "run.xml")
    paths = [SAMPLE / leaf for leaf in LEAVES[:3]]

    rows = as_written(tmp_path / "out" / "README.md", paths, without=("torch", "finetune"))

    assert any(op.get_type_name() == "FakeQuantize" for op in graph.get_ops())
    for (_, _, probability), expected in zip(rows, predicted(run, paths), strict=True):
        assert abs(float(probability) - expected.max()) <= found.max_difference + 0.1
    assert "in 8 bits the loss of accuracy is" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.usefixtures("made_once")
def test_what_loses_more_than_allowed_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Callable
) -> None:
    """A network that lost its classes is refused: exit 3, by how much, what to try, no file."""

    def blunt(content: bytes, *_others: object) -> bytes:
        model = onnx.load_from_string(content)
        for tensor in model.graph.initializer:
            if len(tensor.dims) == 4 and tensor.dims[0] > 1:
                zeros = numpy_helper.to_array(tensor) * 0
                tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(int8_file, "quantized", blunt)

    found = run_cli("export", run, "--int8", "--out", tmp_path / "m.onnx", "--max-loss", "2.5")

    assert found.code == 3
    assert list(tmp_path.iterdir()) == []
    assert "points (95 % interval" in found.err
    assert "more than the 2.5 that --max-loss allows" in found.err
    assert "Leave out --int8" in found.err


def test_a_format_without_8_bits_is_refused(run: Path, tmp_path: Path) -> None:
    """`pt2` and `hub` are told before any work, with what to use."""
    for kind in ("pt2", "hub"):
        out = tmp_path / f"m.{kind}"
        arguments = ["export", str(run), "--int8", "--format", kind, "--out", str(out)]
        assert process.run(arguments) == 2
    assert list(tmp_path.iterdir()) == []


def test_without_the_runs_images_labelled_ones_are_needed(tmp_path: Path, run: Path) -> None:
    """Where the data has gone, --images gives both kinds; without it the export is refused."""
    gone = make_run(tmp_path / "gone")
    facts = run_folder.load_facts(gone)
    with pytest.raises(DataError, match="no images of the run lie in /data/trees") as caught:
        export_int8.pictures(gone, facts, None)
    assert "--images" in caught.value.hint
    for name in CLASSES:
        folder = tmp_path / "more" / name
        folder.mkdir(parents=True)
        for leaf in LEAVES[:3]:
            (folder / Path(leaf).name).write_bytes((SAMPLE / leaf).read_bytes() + name.encode())

    chosen = export_int8.pictures(gone, facts, tmp_path / "more")

    assert chosen.source == f"3 images of {tmp_path / 'more'}"
    assert not {s.path for s in chosen.calibrating} & {s.path for s in chosen.judging}
    assert {s.label for s in chosen.calibrating} == {0, 1}


def test_calibration_takes_every_class_alike() -> None:
    """Of many images 300 are taken, each class in its share."""
    samples = [Sample(f"{i}", int(i >= 600), f"{i}") for i in range(900)]

    some = export_int8._some(samples)

    assert len(some) == 300
    assert sum(s.label for s in some) == 100


@pytest.mark.parametrize("groups", [1, 6])
def test_the_bias_takes_what_rounding_adds(groups: int) -> None:
    """For an input that is the same everywhere the correction is exact, depthwise or not."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(6, 6 // groups, 3, 3))
    mean = rng.normal(size=6)
    flat = weight.reshape(6, -1)
    step = np.abs(flat).max(axis=1) / 127
    rounded = (np.rint(flat / step[:, None]) * step[:, None]).reshape(weight.shape)
    image = torch.from_numpy(np.broadcast_to(mean[None, :, None, None], (1, 6, 3, 3)).copy())

    def out(kernel: np.ndarray) -> np.ndarray:
        kernels = torch.from_numpy(kernel)
        return torch.nn.functional.conv2d(image, kernels, groups=groups).flatten().numpy()

    found = int8_file._shift(weight, mean, groups)

    np.testing.assert_allclose(found, out(rounded) - out(weight), atol=1e-12)
    assert np.abs(found).max() > 1e-4


def test_what_cannot_be_quantized_is_an_error_of_ours(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network without layers is refused in our words."""
    empty = onnx.helper.make_graph([], "g", [], [])
    content = onnx.helper.make_model(empty).SerializeToString()

    with pytest.raises(ExportError, match="cannot be quantized: it has no layers"):
        formats.in_8_bits(run_folder.load(run), content, [], lambda *_: None)
