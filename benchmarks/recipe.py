"""Variants of the tuning recipe, in pairs on the same images (docs/decisions/0019-recipe.md).

    python benchmarks/recipe.py --data FOLDER [--sets NAME …] [--seeds 0 1] [--variants NAME …]
    python benchmarks/recipe.py --report

A row is one training of `deep` by the plan's own rules on so many images of each class, judged on
others of the same folder. Rows go to `recipe.csv`; what is there is not measured again. `plain` is
the program's recipe; each variant changes one thing of it:

- `root`: the head reads the root of the top features, and starts from a probe on it, as the probe
  is that has to be beaten;
- `vflip`, `zoom-out`: augmentation;
- `mixup`, `cutmix`: each batch is mixed with itself in another order (Zhang et al. 2018, Yun et al.
  2019), shares from Beta(0.2, 0.2) and Beta(1, 1);
- `fifth less`: a fifth of the images is left out, which is what `--refit` gives back;
- `bf16`: mixed precision on the CPU.

Accuracy is that of the last epoch; log loss at the temperature that fits the test best, for all
alike. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import row_file
import torch
from torch import Tensor
from truth import SETS

from finetune.backbones import load, registry
from finetune.backbones.inference import ROOT, TOP
from finetune.backbones.stages import Backbone
from finetune.heads import calibration, ridge
from finetune.pictures import decoding
from finetune.records.decision import Plan
from finetune.records.events import Silent
from finetune.sources.files import named_as_image
from finetune.training import holdout, recipe, setup, state

ROWS = Path(__file__).with_name("recipe.csv")
TEST_MOST = 50
PLAIN = "plain"
READS = {"root": (ROOT,)}
AUGMENTS = {"vflip": {"vflip": 0.5}, "zoom-out": {"zoom_out": 0.5}}
MIXES = {"mixup": 0.2, "cutmix": 1.0}
VARIANTS = (PLAIN, *READS, *AUGMENTS, *MIXES, "fifth less", "bf16")
FLOOR = 1e-2  # what is added under the root where its slope is taken: at zero that is infinite
Cell = tuple[str, int, int, int]


@dataclass(frozen=True)
class Row:
    """One training; `start` is the test accuracy of the head that it started from."""

    data: str
    per_class: int
    seed: int
    side_px: int
    variant: str
    learnt_from: int
    judged_on: int
    start: float
    accuracy: float
    log_loss: float
    seconds: float

    @property
    def key(self) -> Cell:
        """What it is to be compared on."""
        return self.data, self.per_class, self.seed, self.side_px


def main() -> None:
    """Measure what is missing, then print the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sets", nargs="+", default=["sign_digits10", "flowers5"])
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--side-px", type=int, default=64)
    parser.add_argument("--variants", nargs="+", default=[PLAIN, "root"], choices=VARIANTS)
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for seed in [] if asked.report else asked.seeds:
        for name in asked.sets:
            for row in fill(asked, (name, asked.per_class, seed, asked.side_px)):
                row_file.append(row, ROWS)
                print(row, flush=True)
    show(row_file.read(Row, ROWS))


def fill(asked: argparse.Namespace, cell: Cell) -> Iterator[Row]:
    """The rows of a cell that are not there yet."""
    done = {r.variant for r in row_file.read(Row, ROWS) if r.key == cell}
    drawn: Drawn | None = None
    for variant in asked.variants:
        if variant not in done:
            drawn = drawn or Drawn.of(asked.data / cell[0], cell)
            yield drawn.row(variant)


@dataclass(frozen=True)
class Drawn:
    """Images of a cell: files to learn from and files to judge on, with their labels."""

    cell: Cell
    fit: list[Path]
    labels: np.ndarray
    test: list[Path]
    test_labels: np.ndarray
    body: Backbone

    @classmethod
    def of(cls, folder: Path, cell: Cell) -> Drawn:
        """Draw them by chance; of a small class at most half are learnt from."""
        rng = np.random.default_rng(cell[2])
        parts = []
        for place in sorted(p for p in folder.iterdir() if p.is_dir()):
            files = sorted(p for p in place.iterdir() if named_as_image(p))
            files = [files[i] for i in rng.permutation(len(files))]
            count = min(cell[1], len(files) // 2)
            parts.append((files[:count], files[count : count + TEST_MOST]))
        body, _ = load.build(registry.DEFAULT)
        return cls(
            cell,
            [p for some, _ in parts for p in some],
            np.concatenate([np.full(len(some), i) for i, (some, _) in enumerate(parts)]),
            [p for _, rest in parts for p in rest],
            np.concatenate([np.full(len(rest), i) for i, (_, rest) in enumerate(parts)]),
            body,
        )

    def plan(self, variant: str) -> Plan:
        """The plan's own rules, at a size that is the same for all."""
        near = SETS[self.cell[0]]
        facts = recipe.Facts(images=len(self.labels), similarity=near)
        flip = {} if near == "similar" else {"flip": 0.0}
        plan = recipe.resolve("deep", facts, {"side_px": self.cell[3], **flip})
        plan = replace(plan, taps=READS.get(variant, (TOP,)))
        if variant == "bf16":
            return replace(plan, precision="bf16")
        return replace(plan, augment=replace(plan.augment, **AUGMENTS.get(variant, {})))

    def row(self, variant: str) -> Row:
        """Tune as planned and test."""
        plan, truth = self.plan(variant), self.test_labels
        sides = (setup.canvas_px(plan.side_px), plan.side_px)
        kept = np.arange(len(self.labels))
        if variant == "fifth less":
            kept = kept[kept % 5 > 0]
        files = [self.fit[i] for i in kept]
        large, plain = decoding.load(files, sides, 1)
        shown = decoding.load(self.test, [plan.side_px], 1)[0]
        made = holdout.Material(
            backbone=self.body,
            device=torch.device("cpu"),
            large=large,
            plain=plain,
            top=features(self.body, plain, plan.taps),
            labels=self.labels[kept],
            groups=[str(p) for p in files],
            classes=int(self.labels.max()) + 1,
            seed=self.cell[2],
            listener=Silent(),
        )
        began = process_time()
        with changed(variant):
            tuned = holdout.on_everything(made, plan)
        seconds = process_time() - began
        assert made.top is not None
        start = holdout.start_head(made, np.arange(len(made.labels)))
        before = ridge.score(start, features(self.body, shown, plan.taps))
        found = ridge.score(tuned.head, features(tuned.backbone, shown, plan.taps))
        figures = (
            float((before.argmax(axis=1) == truth).mean()),
            float((found.argmax(axis=1) == truth).mean()),
            calibration.calibrated_log_loss(found, truth),
        )
        return Row(*self.cell, variant, len(files), len(truth), *figures, seconds)


def features(body: Backbone, pixels: np.ndarray, taps: tuple[str, ...]) -> np.ndarray:
    """What the head reads, float32[N,F]."""
    rows = []
    with torch.inference_mode():
        for i in range(0, len(pixels), 32):
            images = body.normalise(torch.from_numpy(pixels[i : i + 32]))
            found = body.eval().forward_stages(images)
            rows.append(torch.cat([found[t] for t in taps], dim=1).numpy())
    return np.concatenate(rows)


@contextmanager
def changed(variant: str) -> Iterator[None]:
    """Trainings inside have the head, or the batches, of a variant."""
    own: Callable[..., Any] = setup._features
    plain: Callable[..., Any] = state.Loop._in_parts
    loop: Any = state.Loop
    part: Any = setup
    if variant in READS:
        taps = READS[variant]
        part._features = lambda body, *_: lambda x: _read(body, x, taps)
    if variant in MIXES:
        loop._in_parts = lambda self, x, labels, *_: _mixed(self, x, labels, variant)
    try:
        yield
    finally:
        part._features, loop._in_parts = own, plain


def _read(body: Backbone, x: Tensor, taps: tuple[str, ...]) -> Tensor:
    found = body.forward_stages(x.contiguous(memory_format=torch.channels_last))
    top = found[TOP].clamp(min=0)
    smooth = (top + FLOOR).sqrt()
    found[ROOT] = smooth + (top.sqrt() - smooth).detach()
    return torch.cat([found[t] for t in taps], dim=1)


def _mixed(loop: state.Loop, x: Tensor, labels: Tensor, variant: str) -> float:
    """A step's gradients where each picture is partly another one, and so is its loss."""
    share = float(np.random.default_rng(loop.done).beta(MIXES[variant], MIXES[variant]))
    order = torch.randperm(len(labels), generator=loop.generator)
    if variant == "mixup":
        x = share * x + (1 - share) * x[order]
    else:
        side = x.shape[-1]
        wide = int(side * (1 - share) ** 0.5)
        left, top = (
            int(torch.randint(side - wide + 1, (), generator=loop.generator)) for _ in "xy"
        )
        box = (..., slice(top, top + wide), slice(left, left + wide))
        x = x.clone()
        x[box] = x[order][box]
        share = 1 - wide**2 / side**2
    logits = loop.logits(x)
    loss = share * loop.criterion(logits, labels) + (1 - share) * loop.criterion(
        logits, labels[order]
    )
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def show(rows: list[Row]) -> None:
    """Every variant against the plain recipe on the same cells."""
    base = {r.key: r for r in rows if r.variant == PLAIN}
    print(
        "| set | a class | seed | px | variant | learnt from | judged on | start | accuracy |",
        end="",
    )
    print(" log loss | CPU s |\n" + "| --- " * 11 + "|")
    for row in sorted(rows, key=lambda r: (r.key, VARIANTS.index(r.variant))):
        cells = [*row.key, row.variant, row.learnt_from, row.judged_on]
        figures = [f"{100 * row.start:.1f}", f"{100 * row.accuracy:.1f}", f"{row.log_loss:.3f}"]
        print(f"| {' | '.join(map(str, [*cells, *figures, f'{row.seconds:.0f}']))} |")
    for variant in VARIANTS[1:]:
        pairs = [(r, base[r.key]) for r in rows if r.variant == variant and r.key in base]
        if len(pairs) < 2:
            continue
        gain = np.array([100 * (a.accuracy - b.accuracy) for a, b in pairs])
        less = np.array([a.log_loss - b.log_loss for a, b in pairs])
        error = [v.std(ddof=1) / len(v) ** 0.5 for v in (gain, less)]
        print(
            f"{variant}: {gain.mean():+.2f} ± {error[0]:.2f} points, log loss {less.mean():+.3f} "
            f"± {error[1]:.3f} ({len(pairs)} pairs)"
        )


if __name__ == "__main__":
    main()
