"""Peak memory and time of `finetune evaluate` on many images of many classes.

    python benchmarks/evaluate_memory.py [--images 50000] [--classes 1000]

Images are small pictures of noise and the network is a stand-in that gives random scores, so that
what is measured is everything around it: listing, digests, decoding, scores, metrics, wrong answers
and the JSON of the answer. Its peak is that of the whole process.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from finetune.backbones import inference
from finetune.deploy import predictor
from finetune.records.analysis import Reason
from finetune.records.backbone import BackboneFacts, Preprocess
from finetune.records.codec import to_json
from finetune.records.dataset import Splits
from finetune.records.decision import Augment, Plan
from finetune.records.events import Silent
from finetune.records.run import HeadFacts, RunFacts
from finetune.runs import run_folder
from finetune.workflows import evaluate

SIDE_PX = 16


def draw(root: Path, images: int, classes: int) -> None:
    """Pictures of noise, the same number of each class."""
    rng = np.random.default_rng(0)
    for i in range(images):
        folder = root / f"class {i % classes:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:06d}.bmp")


def facts(classes: int) -> RunFacts:
    """A run of so many classes, as far as `evaluate` reads it."""
    about = Preprocess(SIDE_PX, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    plan = Plan(
        strategy="linear-probe",
        taps=("top",),
        tuned_stages=(),
        side_px=SIDE_PX,
        epochs=0,
        batch_size=1,
        optimiser="adamw",
        lr=0.0,
        head_lr=0.0,
        stage_decay=1.0,
        weight_decay=0.0,
        warmup=0.0,
        patience=0,
        label_smoothing=0.0,
        dropout=0.0,
        class_weights=False,
        augment=Augment(
            crop=1.0, flip=0.0, rotation_deg=0.0, translation=0.0, stretch=0.0, colour=0.0
        ),
        why={},
    )
    return RunFacts(
        created="2026-01-01T00:00:00+00:00",
        strategy="linear-probe",
        classes=tuple(f"class {i:05d}" for i in range(classes)),
        backbone=BackboneFacts("none", "none", "none", about, ("top",), 0, False, ""),
        preprocess=about,
        head=HeadFacts(("top",), 1.0),
        plan=plan,
        seed=0,
        command="",
        data_root="",
        data_fingerprint="",
        versions={},
        accuracy=None,
        accuracy_source="",
    )


def engine(classes: int) -> inference.Engine:
    """Random scores."""
    rng = np.random.default_rng(1)

    def forward(pixels: np.ndarray) -> np.ndarray:
        return rng.normal(0, 2, (len(pixels), classes)).astype(np.float32)

    return inference.Engine(forward, {"scores": (0, classes)}, "none", Reason("none", "none"))


def main() -> None:
    """Draw, evaluate, print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1000)
    given = parser.parse_args()
    predictor.of_run = lambda *_, **__: predictor.Predictor(engine(given.classes), SIDE_PX, (), 1.0)
    run_folder.load_facts = lambda _: facts(given.classes)
    run_folder.load_splits = lambda _: Splits((), (), ())
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "images"
        draw(root, given.images, given.classes)
        before, began = peak_mb(), time.perf_counter()
        found = evaluate.run_evaluation(
            root, Path(place), device="cpu", unseen=False, listener=Silent()
        )
        seconds, after = time.perf_counter() - began, peak_mb()
        size = len(to_json(found))
    print(
        f"{given.images} images of {given.classes} classes: peak {after:.0f} MB ({before:.0f} MB "
        f"before), {seconds:.1f} s; the answer has {size / 1e6:.1f} MB of JSON, its peak "
        f"{peak_mb():.0f} MB; accuracy {found.metrics.accuracy:.2%}"
    )


def peak_mb() -> float:
    """The most memory this process has had."""
    unit = 1e6 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    main()
