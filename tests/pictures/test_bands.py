"""Bands of a TIFF as red, green and blue: `--bands`, from the file to the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from helpers import Recorder, options_for, small_run, train

from finetune import api
from finetune.deploy import readmes
from finetune.pictures import bands, decoding
from finetune.pictures.high_depth import Wide
from finetune.pictures.opening import Source
from finetune.records.backbone import Box
from finetune.records.dataset import Scale
from finetune.records.errors import ImageError, UsageError
from finetune.records.file_names import FACTS
from finetune.runs import run_folder
from finetune.workflows import check as checking
from finetune.workflows.evaluate import run_evaluation
from finetune.workflows.export import run_export

TINY = {"backbone": "test_resnet", "weights": "random", "strategy": "linear-probe"}
SIDE = 32


def cube(kind: str = "uint8", count: int = 5, seed: int = 0) -> npt.NDArray[Any]:
    """Bands [count, SIDE, SIDE], each of its own brightness."""
    rng = np.random.default_rng(seed)
    top = {"uint8": 200, "uint16": 40_000, "int16": 3000, "float32": 1.0}[kind]
    levels = np.linspace(0.1, 0.9, count)[:, None, None]
    noise = rng.uniform(-0.1, 0.1, (count, SIDE, SIDE))
    return ((levels + noise) * top).astype(kind)


def write(path: Path, values: npt.NDArray[Any], how: str = "samples") -> Path:
    """A TIFF whose bands are samples of a pixel, planes, or pages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "samples":
        tifffile.imwrite(
            path, np.moveaxis(values, 0, 2), photometric="minisblack", planarconfig="contig"
        )
    elif how == "planes":
        tifffile.imwrite(path, values, photometric="minisblack", planarconfig="separate")
    else:
        tifffile.imwrite(path, values, photometric="minisblack")
    return path


def fields(root: Path, kind: str = "uint16") -> Path:
    """Two classes that differ in band 4 alone, of TIFFs with five bands."""
    for label, (name, level) in enumerate({"dry": 0.2, "wet": 0.8}.items()):
        for i in range(14):
            values = cube(kind, seed=100 * label + i)
            top = 40_000 if kind == "uint16" else 200
            values[3] = (level + values[3] / top / 20) * top
            write(root / name / f"{i:02d}.tif", values)
    return root


@pytest.mark.parametrize("how", ["samples", "planes", "pages"])
def test_three_bands_are_red_green_and_blue_in_the_order_given(tmp_path: Path, how: str) -> None:
    """Counted from 1, whichever way the file holds them, and to the bit where they have 8."""
    values = cube()
    path = write(tmp_path / "a.tif", values, how)

    seen = decoding.decode(path, SIDE, box=Box(bands=(4, 3, 2)))

    assert np.array_equal(seen, np.moveaxis(values[[3, 2, 1]], 0, 2))


def test_one_band_is_grey(tmp_path: Path) -> None:
    """The three channels of the network are the same then."""
    values = cube()

    seen = decoding.decode(write(tmp_path / "a.tif", values), SIDE, box=Box(bands=(5,)))

    assert np.array_equal(seen, np.repeat(values[4][..., None], 3, axis=2))


@pytest.mark.parametrize("kind", ["uint16", "int16", "float32"])
def test_more_than_8_bits_are_scaled_by_the_scale_of_their_kind(tmp_path: Path, kind: str) -> None:
    """As other deep pictures are: what is black and white is the run's, for all bands alike."""
    values = cube(kind)
    path = write(tmp_path / "a.tif", values)
    found = decoding.values(path, (4, 3, 2))
    assert found is not None
    low, top = float(values.min()), float(values.max())

    seen = decoding.decode(path, SIDE, [Scale(found.kind, low, top, 1, "")], Box(bands=(4, 3, 2)))

    wanted = 255 * (np.moveaxis(values[[3, 2, 1]], 0, 2).astype(float) - low) / (top - low)
    assert np.abs(seen - wanted).max() <= 0.51


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ((9, 2, 1), "it has 5 bands: give bands from 1 to 5"),
        ((6,), "band 6 of it is wanted"),
    ],
)
def test_a_band_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, asked: tuple[int, ...], says: str
) -> None:
    """The message names the file and how many bands it has."""
    path = write(tmp_path / "a.tif", cube())

    with pytest.raises(ImageError) as caught:
        decoding.decode(path, SIDE, box=Box(bands=asked))

    assert says in caught.value.message
    assert str(path) in caught.value.message


def test_other_files_have_no_bands_to_choose(tmp_path: Path, image_folder: Any) -> None:
    """A PNG among the TIFFs is not quietly read as something else."""
    path = next((image_folder({"a": 1}) / "a").iterdir())

    with pytest.raises(ImageError, match="it is none: give TIFFs, or train without --bands"):
        decoding.decode(path, SIDE, box=Box(bands=(3, 2, 1)))


def test_many_bands_without_a_choice_lead_to_the_option(tmp_path: Path) -> None:
    """Nothing is guessed; the message says what to type."""
    with pytest.raises(ImageError, match=r"5 bands.*say it with --bands 3,2,1"):
        decoding.decode(write(tmp_path / "a.tif", cube("uint16")), SIDE)


@pytest.mark.parametrize("text", ["", "1,2", "0,1,2", "a", "1,2,3,4", "1.5", "0", "-1"])
def test_what_is_no_choice_of_bands_is_refused(text: str) -> None:
    """One or three, counted from 1."""
    with pytest.raises(UsageError, match="--bands"):
        bands.parsed(text)


def test_a_run_learns_from_the_bands_it_was_told_and_predicts_by_them(
    tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    """The class is in band 4: with it the model knows, `predict` and `evaluate` take it, too."""
    root = fields(tmp_path / "fields")
    out = tmp_path / "run"

    done = run_cli(
        *("train", root, "--bands", "4,3,2", "--out", out, "--backbone", "test_resnet"),
        *("--weights", "random", "--strategy", "linear-probe"),
    )

    assert done.code == 0, done.err
    assert "bands 4, 3, 2 of each TIFF are taken as red, green and blue" in done.err
    facts, result = run_folder.load_facts(out), run_folder.load_result(out)
    assert facts.preprocess.bands == (4, 3, 2)
    assert {s.kind for s in facts.preprocess.scales or ()} == {"16-bit"}
    assert "FT165" in {f.code for f in result.findings}
    model = api.load(out, device="cpu")
    for name in ("dry", "wet"):
        answer = model.predict(next((root / name).iterdir()))
        assert answer[0].label == name
    again = run_evaluation(root, out, device="cpu", unseen=False, listener=Recorder())
    assert again.metrics.accuracy == 1.0


def test_features_of_other_bands_are_others(tmp_path: Path) -> None:
    """What is kept of an image goes by its bands: another choice is not answered by the first."""
    root = fields(tmp_path / "fields", "uint8")

    right = train(root, tmp_path / "one", bands="4", **TINY)
    wrong = train(root, tmp_path / "two", bands="1", **TINY)

    assert right.estimate.accuracy == 1.0
    assert wrong.estimate.accuracy < 0.9


def test_the_report_shows_the_bands_as_the_network_sees_them(tmp_path: Path) -> None:
    """Its pictures are there although no viewer of pictures knows the files."""
    root = fields(tmp_path / "fields")
    shutil.copy(next((root / "dry").iterdir()), root / "wet" / "wrong.tif")

    result = train(root, tmp_path / "run", bands="4,3,2", **TINY)

    page = (Path(result.run) / "report.html").read_text("utf-8")
    assert page.count("<symbol ") > 0
    assert "bands 4, 3, 2 of each TIFF" in page


def test_check_reads_the_bands(tmp_path: Path) -> None:
    """Near duplicates and damage are looked for in the same picture."""
    root = fields(tmp_path / "fields")

    health = checking.run_check(options_for(root=str(root), bands="4,3,2"), Recorder())

    assert not {c.code for c in health.checks if c.status == "warning"} & {"FT120"}


@pytest.mark.slow
def test_an_export_answers_to_the_bands_as_red_green_and_blue(tmp_path: Path) -> None:
    """It takes three channels, says in its metadata and README which they are, and agrees."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    root = fields(tmp_path / "fields", "uint8")
    train(root, tmp_path / "run", bands="4,3,2", **TINY)

    made = run_export(tmp_path / "run", "onnx", tmp_path / "model.onnx", listener=Recorder())

    assert made.labels_equal
    model = onnxruntime.InferenceSession(made.path)
    assert model.get_modelmeta().custom_metadata_map["bands"] == "4,3,2"
    file = next((root / "wet").iterdir())
    pixels = tifffile.imread(file)[..., [3, 2, 1]]
    (answer,) = api.load(tmp_path / "run", device="cpu").predict(file)
    said = model.run(None, {"image": pixels[None]})[0][0]
    assert said.max() == pytest.approx(answer.probability, abs=1e-3)
    assert "bands 4, 3, 2 of each TIFF" in (tmp_path / "model.md").read_text("utf-8")


def test_an_export_in_8_bits_of_bands_is_refused(tmp_path: Path) -> None:
    """What it loses is measured on files as any program reads them, which is not by bands."""
    run = small_run(tmp_path / "run")
    facts = json.loads((run / FACTS).read_text("utf-8"))
    facts["preprocess"]["bands"] = [4, 3, 2]
    (run / FACTS).write_text(json.dumps(facts), "utf-8")

    with pytest.raises(UsageError, match="bands 4, 3, 2 of each TIFF"):
        run_export(run, "onnx", None, int8=True, listener=Recorder())
    text = readmes.text("onnx", run_folder.load_facts(run), Path("model.onnx"), score="")
    assert "In training bands 4, 3, 2 of each TIFF are taken as red, green and blue" in text


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_all_bands_are_what_a_first_convolution_repeated_and_scaled_sees(
    tmp_path: Path, kind: str
) -> None:
    """Weights repeated over five bands, each by how many share it, see these three means."""
    taken = bands.parsed("all")
    assert taken is not None
    values = cube(kind)
    with (write(tmp_path / "a.tif", values)).open("rb") as file:
        read = bands.read(Source(file, "a.tif"), taken)
    three = np.asarray(read.numbers if isinstance(read, Wide) else read, np.float32)
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    wide = weight[:, [0, 1, 2, 0, 1]] / np.array([2, 2, 1, 2, 2], np.float32)[:, None, None]

    def seen(kernel: npt.NDArray[Any], picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        given = (torch.from_numpy(kernel), torch.from_numpy(picture.astype(np.float32))[None])
        return torch.nn.functional.conv2d(given[1], given[0]).numpy()

    one, other = seen(wide, values), seen(weight, np.moveaxis(three, 2, 0))
    rounded = 0.5 * np.abs(weight).sum(axis=(1, 2, 3)).max() if kind == "uint8" else 1e-4
    assert np.abs(one - other).max() <= rounded


def test_all_bands_of_fewer_than_three_are_refused(tmp_path: Path) -> None:
    """Two bands are no colors; the message says how many there are and what to give."""
    path = write(tmp_path / "a.tif", cube(count=2), "pages")

    with pytest.raises(ImageError, match="it has 2 bands: --bands all takes 3 and more"):
        decoding.decode(path, SIDE, box=Box(bands=bands.EVERY))


def test_a_run_of_all_bands_says_so_and_predicts_by_them(
    tmp_path: Path, run_cli: Callable[..., Any]
) -> None:
    """The class is in band 4, which red has half of: that is enough to tell it."""
    root, out = fields(tmp_path / "fields"), tmp_path / "run"

    done = run_cli(
        *("train", root, "--bands", "all", "--out", out, "--backbone", "test_resnet"),
        *("--weights", "random", "--strategy", "linear-probe"),
    )

    assert done.code == 0, done.err
    assert "red is the mean of bands 1, 4, 7" in " ".join(done.err.split())
    assert run_folder.load_facts(out).preprocess.bands == bands.EVERY
    answer = api.load(out, device="cpu").predict(next((root / "wet").iterdir()))
    assert answer[0].label == "wet"
