"""Seconds and memory of each step as images, classes and features grow; made-up rows, no pictures.

    python benchmarks/scale.py [--rows benchmarks/scale.csv] [--most 200000] [--report]

Each row is a process of its own: CPU seconds and the peak of memory above what it had before the
step. Rows that are in the file are not measured again, so it goes on where it was ended; `--report`
prints the tables of docs/scale.md, with what a million images would take: the last row times the
ratio of images to the power that fits the last two rows, 1 at least for what grows.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import math
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import row_file

from finetune.analysis.probes import ranked, stage_sets
from finetune.data import checks, near_duplicates, split
from finetune.data.check_subject import Subject
from finetune.decision import table
from finetune.heads import cross_validation, ridge
from finetune.metrics import classification
from finetune.pictures.decoding import Glance
from finetune.records.codec import from_json, to_json
from finetune.records.dataset import Dataset, Sample, Splits
from finetune.report import html
from finetune.sources import readers, targets
from finetune.storage import arrays, feature_parts

HERE = Path(__file__)
ROWS = HERE.with_name("scale.csv")
IMAGES = (2_000, 20_000, 200_000)
CLASSES = (10, 100, 1_000)
FEATURES = (320, 1_280, 5_120)
MILLION = 1_000_000
BASE = (10, 1_280)  # classes and features where these are not what grows
Step = Callable[[int, int, int], Callable[[], Any]]


@dataclass(frozen=True)
class Row:
    """One step, measured once."""

    step: str
    images: int
    classes: int
    features: int
    seconds: float
    peak_mb: float


def digest(i: int) -> str:
    """A made-up SHA-256."""
    return hashlib.sha256(str(i).encode()).hexdigest()


def dataset(images: int, classes: int) -> Any:
    """A data set of so many images that are nowhere."""
    pool = tuple(
        Sample(f"class{i % classes:04d}/{i:07d}.jpg", i % classes, digest(i)) for i in range(images)
    )
    names = tuple(f"class{c:04d}" for c in range(classes))
    return Dataset("/data/made-up", names, "plain", pool, None, None, ())


def splits_of(images: int, classes: int) -> Any:
    """The same, divided."""
    return split.split(dataset(images, classes), seed=0, val_fraction=0.2, test_fraction=0.2)


def near_duplicates_step(images: int, _classes: int, _features: int) -> Callable[[], Any]:
    """Small copies of smooth noise, one in a hundred a near copy of the one before."""
    rng = np.random.default_rng(0)
    thumbs = np.empty((images, 32, 32, 3), np.uint8)
    for start in range(0, images, 2_000):
        count = min(2_000, images - start)
        coarse = rng.normal(128, 50, (count, 4, 4, 3)).repeat(8, 1).repeat(8, 2)
        made = coarse + rng.normal(0, 12, coarse.shape)
        made[99::100] = made[98::100] + rng.normal(0, 2, made[98::100].shape)
        thumbs[start : start + count] = made.clip(0, 255)
    return lambda: near_duplicates.clusters(thumbs)


def split_step(images: int, classes: int, _features: int) -> Callable[[], Any]:
    """Train, validation and test."""
    made = dataset(images, classes)
    return lambda: split.split(made, seed=0, val_fraction=0.2, test_fraction=0.2)


def checks_step(images: int, classes: int, _features: int) -> Callable[[], Any]:
    """All checks, of headers that were read."""
    made, glance = dataset(images, classes), Glance(640, 480, "RGB", "JPEG", False, None)
    subject = Subject(
        dataset=made,
        splits=splits_of(images, classes),
        glances={s.path: glance for s in made.pool},
        faults={},
        plain=frozenset(),
        strays={},
        clusters=(),
        pattern=None,
        seen_test=True,
        compared=True,
    )
    return lambda: checks.run(subject)


def features_of(images: int, classes: int, features: int) -> tuple[Any, Any]:
    """Rows float32[N, F], in a file where that is large, as in a training; and labels."""
    rng, rows = np.random.default_rng(0), arrays.new(images, features)
    labels = np.arange(images, dtype=np.int64) % classes
    for start in range(0, images, 1_000):
        some = np.arange(start, min(start + 1_000, images))
        block = rng.standard_normal((len(some), features), dtype=np.float32)
        block[np.arange(len(some)), labels[some] % features] += 3
        rows[some] = block
    return rows, labels


def ridge_fit(images: int, classes: int, features: int) -> Callable[[], Any]:
    """The head on all images at a known penalty."""
    rows, labels = features_of(images, classes, features)
    blocks = ridge.Blocks(rows, ((0, features),))
    return lambda: ridge.fit(blocks, labels, classes, 1e3, 1.0)


def ridge_left_out(images: int, classes: int, features: int) -> Callable[[], Any]:
    """What a fit without each image says of it, as `check --labels` asks."""
    rows, labels = features_of(images, classes, features)
    blocks, groups = ridge.Blocks(rows, ((0, features),)), [str(i) for i in range(images)]
    return lambda: ridge.left_out(blocks, labels, classes, 1e3, groups)


def probes(images: int, classes: int, features: int) -> Callable[[], Any]:
    """The classifiers of ten choices of stages, on the images on which they are ranked."""
    labels = np.arange(images, dtype=np.int64) % classes
    chosen = cross_validation.ranking_sample(labels)
    rng, stages = np.random.default_rng(0), ("1", "2", "3", "4", "5", "6")
    rows = rng.standard_normal((len(chosen), features), dtype=np.float32)
    width = features // 7
    layout = {tap: (i * width, (i + 1) * width) for i, tap in enumerate((*stages, "top"))}
    groups, sets = [str(i) for i in chosen], stage_sets(stages, "top")
    return lambda: ranked(rows, layout, labels[chosen], groups, sets).probes(sets)


def metrics_step(images: int, classes: int, _features: int) -> Callable[[], Any]:
    """Accuracy, calibration, confusion and intervals of a test of a fifth of the images."""
    rng, labels = np.random.default_rng(0), np.arange(images // 5, dtype=np.int64) % classes
    logits = rng.standard_normal((len(labels), classes))
    logits[np.arange(len(labels)), labels] += 3
    given = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = tuple(f"class{c:04d}" for c in range(classes))
    return lambda: classification.measure(given, labels, names)


def report_step(images: int, classes: int, _features: int) -> Callable[[], Any]:
    """The page of a run with so many classes and test images."""
    sys.path.insert(0, str(HERE.parents[1] / "tests"))
    from examples import FACTS, HISTORY, MATERIAL, RESULT  # noqa: PLC0415 - the tests' run

    test = metrics_step(images, classes, 0)()
    names = tuple(f"class{c:04d}" for c in range(classes))
    facts, result = replace(FACTS, classes=names), replace(RESULT, classes=names, test=test)
    return lambda: html.to_html(facts, result, MATERIAL, HISTORY, table.actions(), {})


def json_step(images: int, classes: int, _features: int) -> Callable[[], Any]:
    """`splits.json`, written and read back."""
    made = splits_of(images, classes)
    return lambda: from_json(to_json(made).encode(), Splits)


def table_step(images: int, classes: int, _features: int) -> Callable[[], Any]:
    """A CSV file that names each image, whose bytes are read for their digests."""
    home = Path(tempfile.mkdtemp(prefix="finetune-scale-"))
    for i in range(images):
        folder = home / f"{i // 1_000:04d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{i:07d}.png").write_bytes(str(i).encode())
    lines = [f"{i // 1_000:04d}/{i:07d}.png,class{i % classes}\n" for i in range(images)]
    (home / "labels.csv").write_text("path,label\n" + "".join(lines))
    return lambda: readers.read(home / "labels.csv", None)


def cell_of(kind: str, i: int, labels: int) -> str:
    """What is learned of a made-up image: none to three labels, or a number."""
    rng = np.random.default_rng([7, i])
    if kind == "number":
        return f"{rng.normal(50, 20):.3f}"
    return ";".join(f"label{k:03d}" for k in rng.permutation(labels)[: rng.integers(0, 4)])


def target_table(kind: str) -> Step:
    """A CSV file of labels or of a number: read, values, strata, digests."""

    def step(images: int, labels: int, _features: int) -> Callable[[], Any]:
        home = Path(tempfile.mkdtemp(prefix="finetune-scale-"))
        lines = []
        for i in range(images):
            folder = home / f"{i // 1_000:04d}"
            folder.mkdir(exist_ok=True)
            (folder / f"{i:07d}.png").write_bytes(str(i).encode())
            lines.append(f"{folder.name}/{i:07d}.png,{cell_of(kind, i, labels)}\n")
        (home / "rows.csv").write_text("path,target\n" + "".join(lines))
        return lambda: readers.read(str(home / "rows.csv"))

    return step


def target_shards(kind: str) -> Step:
    """The same in shards of WebDataset, 2,000 images each."""

    def step(images: int, labels: int, _features: int) -> Callable[[], Any]:
        home = Path(tempfile.mkdtemp(prefix="finetune-scale-"))
        for start in range(0, images, 2_000):
            with tarfile.open(home / f"part-{start // 2_000:04d}.tar", "w") as out:
                for i in range(start, min(start + 2_000, images)):
                    for ending, text in (("png", str(i)), ("txt", cell_of(kind, i, labels))):
                        info = tarfile.TarInfo(f"{i:07d}.{ending}")
                        info.size = len(text)
                        out.addfile(info, io.BytesIO(text.encode()))
        return lambda: readers.read(str(home))

    return step


def target_split(kind: str) -> Step:
    """Strata from values, and train, validation and test by them."""

    def step(images: int, labels: int, _features: int) -> Callable[[], Any]:
        rows = [
            targets.Row(f"{i:07d}.jpg", cell_of(kind, i, labels), True, f"row {i}")
            for i in range(images)
        ]
        digests = [digest(i) for i in range(images)]

        def work() -> Any:
            found = targets.learn("number" if kind == "number" else "labels", "", (), rows)
            pool = tuple(
                Sample(r.path, found.stratum[r.path], d, values=found.values[r.path])
                for r, d in zip(rows, digests, strict=True)
            )
            made = Dataset("/data/made-up", found.strata, "plain", pool, None, None, ())
            return split.split(made, seed=0, val_fraction=0.2, test_fraction=0.2)

        return work

    return step


def parts_step(images: int, _classes: int, _features: int) -> Callable[[], Any]:
    """Features that shards have computed, looked up (rows of 64 numbers: the index is the cost)."""
    home, digests = (
        Path(tempfile.mkdtemp(prefix="finetune-scale-")),
        list(map(digest, range(images))),
    )
    for start in range(0, images, 2_048):
        some = digests[start : start + 2_048]
        feature_parts.write(home, "made-up", some, np.zeros((len(some), 64), np.float32))

    def find() -> int:
        return sum(1 for _ in feature_parts.Parts(home, "made-up").find(digests, 64))

    return find


STEPS: dict[str, Step] = {
    "reading a table": table_step,
    "near duplicates": near_duplicates_step,
    "split": split_step,
    "checks": checks_step,
    "features of shards": parts_step,
    "probes by stage": probes,
    "ridge, fit": ridge_fit,
    "ridge, leave one out": ridge_left_out,
    "metrics": metrics_step,
    "report": report_step,
    "splits.json": json_step,
    "table of labels": target_table("labels"),
    "table of a number": target_table("number"),
    "shards of labels": target_shards("labels"),
    "shards of a number": target_shards("number"),
    "strata and split of labels": target_split("labels"),
    "strata and split of a number": target_split("number"),
}
BY_CLASSES = ("ridge, fit", "ridge, leave one out", "metrics", "report", "split", "checks")
BY_FEATURES = ("ridge, fit", "ridge, leave one out", "probes by stage")


def wanted(most: int) -> list[tuple[str, int, int, int]]:
    """All rows of the tables."""
    cells = [(step, n, *BASE) for n in IMAGES for step in STEPS]
    cells += [(step, 20_000, c, BASE[1]) for c in CLASSES for step in BY_CLASSES]
    cells += [(step, 20_000, BASE[0], f) for f in FEATURES for step in BY_FEATURES]
    return [cell for cell in dict.fromkeys(cells) if cell[1] <= most]


def resident(name: str) -> float:
    """`VmRSS` or `VmHWM` of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1e3
    return math.nan


def measure(step: str, images: int, classes: int, features: int) -> None:
    """Do a step in this process; prints its row."""
    work = STEPS[step](images, classes, features)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, began = resident("VmRSS"), time.process_time()
    work()
    seconds = time.process_time() - began
    print(json.dumps([seconds, max(0.0, resident("VmHWM") - before)]))


def collect(rows: Path, most: int) -> None:
    """Measure what the file lacks."""
    known = {(r.step, r.images, r.classes, r.features) for r in row_file.read(Row, rows)}
    for cell in wanted(most):
        if cell in known:
            continue
        with tempfile.TemporaryDirectory(prefix="finetune-scale-home-") as home:
            command = [sys.executable, str(HERE), "--one", json.dumps(cell)]
            env = {"TMPDIR": home}
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=os.environ | env
            )
        if done.returncode:
            print(f"{cell}: exit {done.returncode}: {done.stderr.strip()[-800:]}", flush=True)
            continue
        row = Row(*cell, *json.loads(done.stdout.splitlines()[-1]))
        row_file.append(row, rows)
        print(row, flush=True)


def power(small: float, large: float, ratio: float) -> float:
    """By which power of the ratio a figure has grown."""
    return math.log(max(large, 1e-4) / max(small, 1e-4)) / math.log(ratio)


def carried_on(figure: float, grows: float, ratio: float) -> float:
    """What a figure becomes: what grows at all is taken to grow in proportion at least."""
    return float(figure * ratio ** (max(1.0, grows) if grows > 0.5 else max(0.0, grows)))


def report(rows: Path) -> None:
    """The tables."""
    found = {(r.step, r.images, r.classes, r.features): r for r in row_file.read(Row, rows)}
    head = " | ".join(f"{n:,}" for n in IMAGES)
    print(f"| step | {head} | seconds grow as N to the | 1,000,000: seconds | MB |")
    print("| --- |" + " --- |" * (len(IMAGES) + 3))
    for step in STEPS:
        mine = [found.get((step, n, *BASE)) for n in IMAGES]
        cells = [f"{r.seconds:.2f} s, {r.peak_mb:.0f} MB" if r else "–" for r in mine]
        line = f"| {step} | {' | '.join(cells)} |"
        known = [r for r in mine if r is not None]
        if len(known) > 1:
            one, two = known[-2:]
            times, ratio = two.images / one.images, MILLION / two.images
            grows = power(one.seconds, two.seconds, times)
            more = power(one.peak_mb, two.peak_mb, times) if one.peak_mb > 20 else 1.0
            seconds = carried_on(two.seconds, grows, ratio)
            line += f" {grows:.2f} | {seconds:,.1f} | {carried_on(two.peak_mb, more, ratio):,.0f} |"
        print(line)
    for what, values, names, at in (
        ("classes", CLASSES, BY_CLASSES, lambda v: (20_000, v, BASE[1])),
        ("features", FEATURES, BY_FEATURES, lambda v: (20_000, BASE[0], v)),
    ):
        print(f"\n| step, 20,000 images | {' | '.join(f'{v:,} {what}' for v in values)} |")
        print("| --- |" + " --- |" * len(values))
        for step in names:
            mine = [found.get((step, *at(v))) for v in values]
            cells = [f"{r.seconds:.2f} s, {r.peak_mb:.0f} MB" if r else "–" for r in mine]
            print(f"| {step} | {' | '.join(cells)} |")


def main() -> None:
    """Measure, or print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--most", type=int, default=IMAGES[-1])
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        measure(*asked.one)
        return
    if not asked.report:
        collect(asked.rows, asked.most)
    report(asked.rows)


if __name__ == "__main__":
    main()
