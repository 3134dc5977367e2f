"""Fixtures shared by all tests: fixed seeds, drawn image folders, the default backbone, the CLI."""

from __future__ import annotations

import os

# as the program does, before torch is loaded: tests often share their machine
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# so do the processes of pytest-xdist, which would each take all cores
if (count := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))) > 1:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))

import errno
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import browser as chromium
import exports
import hypothesis
import numpy as np
import pytest
import torch
from helpers import SAMPLE, Recorder, train
from PIL import Image, ImageDraw
from target_runs import target_run

from finetune.backbones import engine, inference, load, registry
from finetune.backbones.stages import Backbone
from finetune.cli import process
from finetune.decision import baseline
from finetune.records.backbone import BackboneFacts
from finetune.records.choices import OtherTarget
from finetune.records.metrics import Baseline
from finetune.records.run import RunResult
from finetune.workflows import report_extras
from finetune.workflows.export import run_export

process.prepare()
openvino = inference.openvino()  # before test modules import it, which would report its use
# Started in the background by a shell, a process and its children ignore Ctrl-C: tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Time limits mean nothing on a shared machine, and a run must not depend on an earlier one.
hypothesis.settings.register_profile(
    "tests", deadline=None, derandomize=True, database=None, max_examples=50
)
hypothesis.settings.load_profile("tests")

KINDS: tuple[OtherTarget, ...] = ("labels", "number")
COLOURS = ((200, 60, 50), (50, 90, 200), (60, 170, 80), (220, 180, 40), (150, 60, 170))


class ImageFolder(Protocol):
    """What `image_folder` gives: draws class folders and returns their root."""

    def __call__(
        self,
        classes: Mapping[str, int] = ...,
        size: tuple[int, int] = ...,
        root: Path | None = ...,
        seed: int = ...,
        suffix: str = ...,
    ) -> Path: ...


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests share a cache, so that no network is converted twice, and touch nobody's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _networks_converted_once() -> Iterator[None]:
    """Trainings of the same weights share OpenVINO's model of them, a second each.

    A test that puts something else in the converter's place gets what that gives.
    """
    convert, read, known = engine.convert, openvino.convert_model, {}

    def shared(backbone: Backbone, side_px: int) -> Any:
        if openvino.convert_model is not read:
            return convert(backbone, side_px)
        digest = load.digest(backbone.state())
        key = (repr(backbone.net), repr(backbone.preprocess), digest, side_px)
        backbone.eval()  # as the conversion leaves it
        if key not in known:
            known[key] = inference.serialised(convert(backbone, side_px))
        xml, constants = known[key]
        return inference.openvino().Core().read_model(model=xml, weights=constants)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "convert", shared)
        yield


@pytest.fixture(autouse=True)
def _seeds_fixed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def image_folder(tmp_path: Path) -> ImageFolder:
    """Draw `classes` (name → count) below `root` (default: a new folder): a coloured shape each.

    A class has its own shape and colour, so a linear classifier separates them; place, size and
    noise differ, so all files do. The same arguments give the same bytes, and image number i is
    the same whatever the count: a larger folder holds the smaller one.
    """
    made = 0

    def draw(
        classes: Mapping[str, int] = {"a": 12, "b": 8},
        size: tuple[int, int] = (40, 32),
        root: Path | None = None,
        seed: int = 0,
        suffix: str = ".png",
    ) -> Path:
        nonlocal made
        made += 1
        root = root or tmp_path / f"images{made}"
        root.mkdir(parents=True, exist_ok=True)
        for label, (name, count) in enumerate(classes.items()):
            folder = root / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                rng = np.random.default_rng([seed, label, i])
                _shape(label, size, rng).save(folder / f"{i:04d}{suffix}")
        return root

    return draw


def _shape(label: int, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A disc, square, triangle or cross on light grey, with noise."""
    width, height = size
    image = Image.new("RGB", size, (225, 225, 225))
    pen = ImageDraw.Draw(image)
    radius = min(size) * rng.uniform(0.25, 0.4)
    x = rng.uniform(radius, width - radius)
    y = rng.uniform(radius, height - radius)
    fill = COLOURS[label % len(COLOURS)]
    box = (x - radius, y - radius, x + radius, y + radius)
    kind = label % 4
    if kind == 0:
        pen.ellipse(box, fill)
    elif kind == 1:
        pen.rectangle(box, fill)
    elif kind == 2:
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill)
    else:
        pen.line((x - radius, y, x + radius, y), fill, width=max(1, int(radius / 2)))
        pen.line((x, y - radius, x, y + radius), fill, width=max(1, int(radius / 2)))
    noisy = np.asarray(image, np.float64) + rng.normal(0, 8, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def default_backbone() -> tuple[Backbone, BackboneFacts]:
    """The default backbone with its real weights, built once: a test must not change it."""
    return load.build(registry.DEFAULT)


@pytest.fixture
def run_cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """`run_cli("train", folder, "--json")` runs the command line in this process."""
    monkeypatch.setenv("COLUMNS", "200")  # so that no message is broken over lines
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*arguments: object) -> Outcome:
        words = [str(a) for a in arguments]
        monkeypatch.setattr("sys.argv", ["finetune", *words])  # a run records the command
        capsys.readouterr()
        code = process.run(words)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return run


@pytest.fixture
def closed_folder(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """`closed_folder(path)` lets nobody list that folder, the superuser included."""
    scandir, closed = os.scandir, set()

    def look(path: Any = ".") -> Any:
        if Path(path) in closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", look)
    return closed.add


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium for `browser.visiting`; without one, or without playwright, a skip.

    One for each module: while it is open, no other test could run an event loop.
    """
    with chromium.started() as opened:
        yield opened


@pytest.fixture
def tiny() -> Backbone:
    """A small real network with BatchNorm, random weights."""
    return load.build("test_resnet", registry.RANDOM)[0]


@pytest.fixture(scope="session")
def leaves_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, Path]:
    """The main job on the sample data, once for all tests that read its run."""
    out = tmp_path_factory.mktemp("runs") / "leaves"
    return train(SAMPLE, out), out


@pytest.fixture(scope="session")
def tuned_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, Path]:
    """A tuned model on the sample data, kept whether or not it beats the probe."""
    out = tmp_path_factory.mktemp("runs") / "deep"
    keep_tuned = Baseline("tuned", 100, 0.9, 0.5, 1.0, 1.0, "made up by a test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baseline, "judge", lambda *_, **_options: keep_tuned)
        patch.setattr(report_extras, "LEAST_S", 0.0)  # so quick a training has little time for it
        options = {"epochs": 2, "side_px": 64}
        small = {"backbone": "test_efficientnet", "weights": "random", "max_per_class": 10}
        return train(SAMPLE, out, strategy="deep", options=options, **small), out


@pytest.fixture(scope="session")
def two_stages(tmp_path_factory: pytest.TempPathFactory) -> exports.TwoStages:
    """A run whose head reads two stages, as ONNX, checked on the sample data, once for all."""
    place = tmp_path_factory.mktemp("two")
    run = exports.make_run(place / "two")
    out = place / "out" / "model.onnx"
    made = run_export(run, "onnx", out, images=SAMPLE, listener=Recorder())
    return exports.TwoStages(run, made, out)


@pytest.fixture(scope="session")
def target_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of labels and one of a number, by their kind; nothing of them is changed."""
    root = tmp_path_factory.mktemp("target-runs")
    return {kind: target_run(root / kind, kind) for kind in KINDS}
