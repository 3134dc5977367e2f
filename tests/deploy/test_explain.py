"""Promises of explanations: the object is found, by every kind of model, and drawn in its place."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Recorder, small_run, train
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import finetune
from finetune.backbones import inference
from finetune.backbones.inference import TOP
from finetune.backbones.stages import Backbone
from finetune.backbones.torch_maps import Network, TorchMaps
from finetune.deploy import evidence_box, explaining, overlay
from finetune.heads import ridge
from finetune.pictures import decoding, square, whole_picture
from finetune.records.backbone import BackboneFacts, Box
from finetune.records.choices import Fit
from finetune.records.explanation import EvidenceBox
from finetune.records.run import RunResult
from finetune.runs import run_folder
from finetune.storage.arrays import Array

SIDE = 160
CORNERS = ((30, 30), (130, 30), (30, 130), (130, 130))
CLASSES = ("disc", "square")
FITS: tuple[Fit, ...] = ("half", "squash", "center", "letterbox")


def drawn(label: int, x: float, y: float, radius: float, seed: object) -> Image.Image:
    """A red disc or a blue square on a plain ground with noise."""
    image = Image.new("RGB", (SIDE, SIDE), (150, 150, 140))
    pen, spot = ImageDraw.Draw(image), (x - radius, y - radius, x + radius, y + radius)
    if label == 0:
        pen.ellipse(spot, (200, 60, 50))
    else:
        pen.rectangle(spot, (50, 90, 200))
    noise = np.random.default_rng([label, *np.atleast_1d(seed)]).normal(0, 12, (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def anywhere(label: int, number: int) -> Image.Image:
    """The same somewhere."""
    rng = np.random.default_rng([label, number])
    radius = rng.uniform(16, 24)
    x, y = rng.uniform(radius, SIDE - radius, 2)
    return drawn(label, x, y, radius, number)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of them, the object anywhere."""
    root = tmp_path_factory.mktemp("planted")
    for label, name in enumerate(CLASSES):
        (root / name).mkdir()
        for number in range(12):
            anywhere(label, number).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def probe(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear probe on them."""
    out = tmp_path_factory.mktemp("runs") / "probe"
    train(pictures, out, strategy="linear-probe")
    return out


@pytest.fixture(scope="module")
def explainer(probe: Path) -> explaining.Explainer:
    """What explains it, read once."""
    return explaining.of_run(probe, run_folder.load_facts(probe), "auto", Recorder())


def quadrant(box: EvidenceBox | None) -> tuple[bool, bool]:
    """Whether the middle of a box is right, and below."""
    assert box is not None
    return box.left + box.right > SIDE, box.upper + box.lower > SIDE


def heaviest(places: Array) -> tuple[bool, bool]:
    """Whether the place with most evidence is right, and below."""
    row, column = np.unravel_index(places.argmax(), places.shape)
    return bool(column >= places.shape[1] / 2), bool(row >= places.shape[0] / 2)


def test_an_object_in_a_corner_is_found_there(probe: Path) -> None:
    """The box has its middle in that corner, most of the evidence, and not half of the picture."""
    model = finetune.load(probe)
    for label, name in enumerate(CLASSES):
        found = model.explain([drawn(label, x, y, 20, 99) for x, y in CORNERS])
        for (x, y), e in zip(CORNERS, found, strict=True):
            assert (e.label, e.answer, e.method) == (name, name, "cam")
            assert quadrant(e.box) == (x > SIDE / 2, y > SIDE / 2)
            assert e.box is not None
            assert e.box.left <= x <= e.box.right
            assert e.box.upper <= y <= e.box.lower
            assert e.box.share > 0.7
            assert e.box.area < 0.4
            assert np.mean(e.map) + (e.bias or 0.0) == pytest.approx(e.logit, abs=1e-3)


@pytest.mark.parametrize(
    ("taps", "sides"),
    [(("3", "4"), (128,)), ((TOP,), (SIDE, 128))],
    ids=["stage probe", "blend of two sides"],
)
def test_stages_and_blends_find_it_too(
    default_backbone: tuple[Backbone, BackboneFacts], taps: tuple[str, ...], sides: tuple[int, ...]
) -> None:
    """A head on several stages, or one on two networks, has its evidence where the object is."""
    body, _ = default_backbone
    networks = [Network(backbone=body, taps=taps, side_px=side) for side in sides]

    def seen(images: list[Image.Image]) -> list[np.ndarray[Any, Any]]:
        return [decoding.square_of(image, max(sides)) for image in images]

    def features(images: list[Image.Image]) -> np.ndarray[Any, Any]:
        rows = []
        for network in networks:
            small = [
                np.asarray(Image.fromarray(x).resize((network.side_px,) * 2, 3))
                for x in seen(images)
            ]
            with torch.no_grad():
                x = body.normalise(torch.from_numpy(np.stack(small)))
                rows += [body.forward_stages(x)[tap].numpy() for tap in taps]
        return np.concatenate(rows, axis=1)

    labels = np.arange(24) % 2
    rows = features([anywhere(label, i) for i, label in enumerate(labels.tolist())])
    head = ridge.fit(ridge.Blocks(rows, ((0, rows.shape[1]),)), labels, 2, 0.1, 1.0)
    explain = TorchMaps(networks, head.weight, head.bias, torch.device("cpu"))

    for label in (0, 1):
        for (x, y), pixels in zip(
            CORNERS, seen([drawn(label, x, y, 20, 99) for x, y in CORNERS]), strict=True
        ):
            found = explain(pixels, label)

            assert found.method == "cam"
            assert heaviest(evidence_box.smooth(found.places, 28)) == (x > SIDE / 2, y > SIDE / 2)
            assert found.places.mean() + found.bias == pytest.approx(found.logits[label], abs=1e-3)


def test_a_tuned_network_is_explained_by_either_runtime(
    tuned_run: tuple[RunResult, Path],
) -> None:
    """Its head is linear on pooled features: the map adds up, with torch and without."""
    _, run = tuned_run
    facts = run_folder.load_facts(run)
    quick = explaining.of_run(run, facts, "auto", Recorder())
    heard = Recorder()
    slow = explaining.of_parts(None, facts, lambda: run_folder.load(run), "cpu", heard)
    pixels = inference.noise(facts.preprocess.side_px, 1)[0]

    one, two = quick(pixels, 0), slow(pixels, 0)

    assert (one.method, two.method) == ("cam", "cam")
    assert one.places == pytest.approx(two.places, abs=1e-3 * np.abs(two.places).max())
    assert one.places.mean() + one.bias == pytest.approx(one.logits[0], abs=1e-3)
    assert len(heard.notes) == 1
    assert "explaining with torch" in heard.notes[0]


def test_a_turned_file_is_explained_upright(probe: Path, tmp_path: Path) -> None:
    """The box of a picture that EXIF turns is where a viewer sees the object."""
    upright = drawn(0, 130, 40, 20, 99).crop((0, 0, SIDE, 120))
    upright.save(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = 6  # a viewer turns it by a quarter
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)

    model = finetune.load(probe)
    plain, turned = model.explain([tmp_path / "plain.png", tmp_path / "turned.png"])

    assert plain.size == turned.size == (SIDE, 120)
    assert plain.box == turned.box
    assert quadrant(turned.box)[0]
    sizes = {whole_picture.upright(tmp_path / f"{n}.png").size for n in ("plain", "turned")}
    assert sizes == {(320, 240)}


@pytest.mark.parametrize("fit", FITS)
@given(
    width=st.integers(40, 200),
    height=st.integers(40, 200),
    x=st.floats(0.3, 0.7),
    y=st.floats(0.3, 0.7),
)
def test_a_place_in_the_square_is_found_in_the_picture(
    fit: Fit, width: int, height: int, x: float, y: float
) -> None:
    """What `seen` says of each way to a square is what the square's pixels show."""
    side, box = 64, Box(fit=fit)
    part, inside = whole_picture.seen(width, height, box)
    at = part[0] + x * (part[2] - part[0]), part[1] + y * (part[3] - part[1])
    picture = np.zeros((height, width, 3), np.uint8)
    rows, columns = (np.abs(np.arange(n) + 0.5 - c) for n, c in ((height, at[1]), (width, at[0])))
    picture[(rows < 4)[:, None] & (columns < 4)] = 255

    pixels = square.cut(Image.fromarray(picture), side, box)[:, :, 0].astype(float)

    down, across = (pixels.sum(axis) @ (np.arange(side) + 0.5) for axis in (1, 0))
    expected = [
        side * (inside[i] + share * (inside[i + 2] - inside[i])) for i, share in ((0, x), (1, y))
    ]
    assert [across / pixels.sum(), down / pixels.sum()] == pytest.approx(expected, abs=1.5)


def test_the_box_is_the_best_of_all() -> None:
    """No box has a share of the evidence further above its share of the area."""
    places = np.random.default_rng(0).normal(size=(5, 5)) + 3 * np.eye(5)
    fine = evidence_box.FINE
    found = evidence_box.most(places, (0.0, 0.0, 1.0, 1.0))
    assert found is not None
    excess = evidence_box.smooth(places, fine)
    excess = excess / excess.sum() - 1 / fine**2
    above = np.pad(excess, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    best = max(
        (above[d, r] - above[u, r] - above[d, c] + above[u, c], (c, u, r, d))
        for u in range(fine)
        for d in range(u + 1, fine + 1)
        for c in range(fine)
        for r in range(c + 1, fine + 1)
    )

    assert found.share - found.area == pytest.approx(best[0])
    assert [fine * edge for edge in found.spot] == pytest.approx(best[1])
    assert evidence_box.most(-np.ones((3, 3)), (0.0, 0.0, 1.0, 1.0)) is None


def test_evidence_beside_a_letterbox_does_not_count() -> None:
    """The box lies in the picture, however much speaks for the class on its borders."""
    places = np.ones((8, 8))
    places[0] = 100.0

    found = evidence_box.most(places, (0.0, 0.25, 1.0, 0.75))

    assert found is not None
    assert found.spot[1] >= 0.25
    assert found.spot[3] <= 0.75


def test_more_evidence_is_lighter_in_gray() -> None:
    """On any picture the color of more evidence is lighter; what is not seen is darkest."""
    lightness = [
        float(np.array(overlay.colors(np.array([[v]])))[0, 0] @ (0.299, 0.587, 0.114))
        for v in np.linspace(0, 1, 20)
    ]
    places = np.zeros((4, 4))
    places[1, 2] = 5.0
    picture = Image.new("RGB", (80, 40), (120, 120, 120))
    content = overlay.drawn(picture, places, (20, 0, 60, 40), (0, 0, 1, 1), (40, 10, 50, 20))
    gray = np.asarray(Image.open(io.BytesIO(content)).convert("L"), float)

    assert lightness == sorted(lightness)
    assert gray.shape == (40, 80)
    assert gray[15, 45] > gray[35, 25] > gray[35, 5]
    assert gray[35, 5] == gray[5, 75]


def test_a_report_gets_as_many_as_there_is_time_for(
    pictures: Path, probe: Path, explainer: explaining.Explainer, tmp_path: Path
) -> None:
    """Pictures in their order until the time is over; what cannot be read is left out."""
    about = run_folder.load_facts(probe).preprocess
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    paths = [bad, *sorted((pictures / "disc").iterdir())]

    some = explaining.within(explainer, about, paths[:4], 60)
    began = time.monotonic()
    many = explaining.within(explainer, about, paths * 1000, 0.1)

    assert time.monotonic() - began < 5
    assert [s.path for s in some] == paths[1:4]
    assert some[0].pixels.shape == (about.side_px, about.side_px, 3)
    assert some[0].places.shape == (7, 7)
    assert 0 < len(many) < 12_000
    png = Image.open(io.BytesIO(overlay.on_square(some[0].pixels, some[0].places)))
    assert (png.format, png.size) == ("PNG", (about.side_px, about.side_px))


def test_a_notebook_sees_heat_maps(probe: Path, pictures: Path, tmp_path: Path) -> None:
    """Drawn on the pictures; a class can be named; a fault has its text."""
    bad = tmp_path / "bad<b>.png"
    bad.write_bytes(b"no picture")
    model = finetune.load(probe)

    found = model.explain([pictures / "disc" / "0.png", bad], label="square")

    assert (found[0].answer, found[0].label) == ("disc", "square")
    assert found[1].label is None
    assert "cannot read image" in (found[1].error or "")
    assert max(found.drawn(0).size) == 320
    page = found._repr_html_()
    assert page.count("<img") == 1
    assert "bad&lt;b&gt;" in page
    with pytest.raises(finetune.records.errors.ImageError):
        found.drawn(1)


def test_the_command_writes_pictures_and_a_table(
    run_cli: Callable[..., Any], probe: Path, pictures: Path, tmp_path: Path
) -> None:
    """A row and a PNG for each image, JSON by the line, CSV; what cannot be read is exit code 3."""
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    files = [pictures / "disc" / "1.png", pictures / "square" / "1.png"]
    heat, table = tmp_path / "heat", tmp_path / "out.csv"

    told = run_cli("explain", probe, *files, bad, "--json", "--csv", table, "--out", heat)
    shown = run_cli("explain", probe, files[0], "--out", heat)

    rows = [json.loads(line) for line in told.out.splitlines()]
    assert told.code == 3
    assert [row["label"] for row in rows] == ["disc", "square", None]
    assert [Path(row["overlay"]).name for row in rows[:2]] == ["1.png", "1-2.png"]
    assert all(whole_picture.size_of(Path(row["overlay"])) == (320, 320) for row in rows[:2])
    lines = table.read_text().splitlines()
    assert lines[0].startswith("path,class,probability,answer,left,upper,right,lower,share,area,")
    assert len(lines) == 4
    assert f",{rows[0]['box']['left']}," in lines[1]
    assert shown.code == 0
    assert "disc" in shown.out
    assert "exact" in shown.out
    assert str(heat) in shown.out


def test_nothing_is_written_among_images(
    run_cli: Callable[..., Any], probe: Path, pictures: Path
) -> None:
    """Neither in the folder of a picture, nor below a folder of them; nor for a class unknown."""
    before = sorted(pictures.rglob("*"))
    one = pictures / "disc" / "1.png"

    beside = run_cli("explain", probe, one, "--out", one.parent)
    below = run_cli("explain", probe, pictures, "--out", pictures / "new" / "heat")
    unknown = run_cli("explain", probe, one, "--class", "disk")

    assert (beside.code, below.code, unknown.code) == (2, 2, 2)
    assert "mixed with it" in beside.err
    assert "only read" in below.err
    assert "'disc'" in unknown.err
    assert sorted(pictures.rglob("*")) == before


def test_a_network_without_pooled_features_needs_torch(tmp_path: Path) -> None:
    """LeNet-5's linear layers behind the map are explained by a gradient, and the user is told."""
    run = small_run(tmp_path / "run")
    heard = Recorder()
    facts = run_folder.load_facts(run)
    explain = explaining.of_run(run, facts, "auto", heard)

    found = explain(inference.noise(32, 1)[0], None)

    assert found.method == "gradient"
    assert np.ptp(found.places) > 0
    assert "explaining with torch" in heard.notes[0]
    scaled = replace(facts, head=replace(facts.head, temperature=2.0))
    other = explaining.of_run(run, scaled, "auto", heard)(inference.noise(32, 1)[0], None)
    assert other.logits == pytest.approx(found.logits / 2)
