"""Pointing game: objects pasted at known places, and how often a heat map's maximum lies on them.

Zhang et al. 2016 ("Top-down neural attention by excitation backprop"). A linear probe (or another
strategy) is trained on pictures of one folder pasted on backgrounds of another, each at a random
place and size; half of each class's pictures are kept for the question. Chance is the object's
share of the area; the center of the picture is the other rival.

    python benchmarks/pointing.py OBJECTS BACKGROUNDS [--per-class 24] [--strategy linear-probe]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import finetune
from finetune.deploy import evidence_box
from finetune.records.explanation import Explanation
from finetune.sources.files import list_images

SIDE = 224
LEAST, MOST = 64, 112  # of the object's long side
PAPER = 235  # what is lighter is background of a drawing
Spot = tuple[int, int, int, int]


@dataclass(frozen=True)
class Pasted:
    """A picture with an object at a known place: left, upper, right, lower."""

    path: Path
    label: str
    spot: Spot


def pasted(item: Path, background: Path, rng: np.random.Generator) -> tuple[Image.Image, Spot]:
    """A drawing without its paper on a picture, and where it lies."""
    with Image.open(item) as opened:
        drawing = opened.convert("RGBA")
    paper = Image.new("RGBA", drawing.size, (255, 255, 255, 255))
    drawing = Image.alpha_composite(paper, drawing).convert("RGB")
    ink = (np.asarray(drawing).min(2) < PAPER).astype(np.uint8) * 255
    box = Image.fromarray(ink).getbbox() or (0, 0, *drawing.size)
    drawing, mask = drawing.crop(box), Image.fromarray(ink).crop(box)
    share = rng.integers(LEAST, MOST + 1) / max(drawing.size)
    size = max(8, round(share * drawing.width)), max(8, round(share * drawing.height))
    left, upper = (int(rng.integers(0, SIDE - length + 1)) for length in size)
    with Image.open(background) as opened:
        out = opened.convert("RGB").resize((SIDE, SIDE))
    out.paste(drawing.resize(size), (left, upper), mask.resize(size))
    return out, (left, upper, left + size[0], upper + size[1])


def made(
    objects: Path, backgrounds: Path, per_class: int, place: Path
) -> Iterator[tuple[Pasted, bool]]:
    """Pictures written below `place`, and whether each is one to learn from."""
    rng = np.random.default_rng(0)
    grounds = list_images([backgrounds]).files
    for folder in sorted(path for path in objects.iterdir() if path.is_dir()):
        files = list_images([folder]).files
        for number, i in enumerate(rng.permutation(len(files))[:per_class].tolist()):
            learn = number % 2 == 0
            image, spot = pasted(files[i], grounds[int(rng.integers(len(grounds)))], rng)
            path = place / ("learn" if learn else "ask") / folder.name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path)
            yield Pasted(path, folder.name, spot), learn


def overlap(one: Spot, two: Spot) -> float:
    """Intersection over union of two boxes."""
    width = max(0, min(one[2], two[2]) - max(one[0], two[0]))
    height = max(0, min(one[3], two[3]) - max(one[1], two[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, two)]
    return width * height / max(1, sum(areas) - width * height)


def above_a_fifth(places: np.ndarray) -> Spot:
    """The rival box: round all above a fifth of the maximum (Zhou et al. 2016), of all parts."""
    rows, columns = np.nonzero(places >= places.max() / 5)
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def row(one: Pasted, found: Explanation) -> dict[str, float]:
    """What one picture says."""
    places = evidence_box.smooth(np.array(found.map), SIDE)
    y, x = np.unravel_index(places.argmax(), places.shape)
    left, upper, right, lower = one.spot
    box = found.box
    spot = (0, 0, 0, 0) if box is None else (box.left, box.upper, box.right, box.lower)
    return {
        "correct": found.answer == one.label,
        "maximum on the object": left <= x < right and upper <= y < lower,
        "center on the object": left <= SIDE / 2 < right and upper <= SIDE / 2 < lower,
        "chance (object's area)": (right - left) * (lower - upper) / SIDE**2,
        "evidence on the object": places[upper:lower, left:right].sum() / max(places.sum(), 1e-12),
        "overlap of our box": overlap(one.spot, spot),
        "overlap of the box above a fifth": overlap(one.spot, above_a_fifth(places)),
    }


def main() -> None:
    """Print the means over all pictures that were kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("objects", type=Path)
    parser.add_argument("backgrounds", type=Path)
    parser.add_argument("--per-class", type=int, default=24)
    parser.add_argument("--strategy", default="linear-probe")
    parser.add_argument("--backbone", default=None)
    parser.add_argument("--weights", default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        pictures = list(made(given.objects, given.backgrounds, given.per_class, place))
        run = place / "run"
        extra = {"backbone": given.backbone, "weights": given.weights} if given.backbone else {}
        trained = finetune.train(
            place / "learn", strategy=given.strategy, test_fraction=0.0, out=run, **extra
        )
        asked = [one for one, learn in pictures if not learn]
        model = finetune.load(run)
        found = [model.explain(one.path, label=one.label)[0] for one in asked]
    rows = [row(one, e) for one, e in zip(asked, found, strict=True)]
    print(f"{given.objects.name} on {given.backgrounds.name}: {trained.strategy}, n = {len(rows)}")
    print(f"method: {found[0].method}, {len(found[0].map)} places on a side")
    for name in rows[0]:
        values = np.array([float(r[name]) for r in rows])
        print(f"{name}: {values.mean():.1%} ± {1.96 * values.std() / np.sqrt(len(values)):.1%}")


if __name__ == "__main__":
    main()
