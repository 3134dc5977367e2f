"""Labels and numbers against the truth from outside: sets made of real pictures, every strategy.

`labels`: two pictures of two data sets side by side, each with one label of its set, or none where
the place is left grey: so an image has zero, one or two labels. `size`: a bright disc drawn over a
photograph, its diameter as a share of the side is the number. `angle`: a photograph turned by an
angle from -45 to 45 degrees and cut to a square inside. `count`: from 0 to 9 dots over a
photograph.

    python benchmarks/targets.py --data DIR --out rows.csv [--sets labels size] [--side 96]

Each row is one set, strategy and seed; rows that are there are kept.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

import finetune

SIDE = 224
KEY = ("set", "images", "side", "strategy", "seed")
STRATEGIES = ("auto", "linear-probe", "stage-probe", "partial", "deep")
FIELDS = (
    "set",
    "images",
    "side",
    "strategy",
    "seed",
    "chosen",
    "score",
    "loss",
    "baseline",
    "seconds",
)


def pictures(data: Path, name: str) -> list[tuple[str, Path]]:
    """Class and file of every picture of a set, shuffled."""
    found = [
        (file.parent.name, file)
        for file in sorted((data / name).rglob("*"))
        if file.suffix.lower() in (".jpg", ".jpeg", ".png")
    ]
    random.Random(0).shuffle(found)
    return found


def square(file: Path, side: int = SIDE) -> Image.Image:
    """The middle of a picture."""
    with Image.open(file) as picture:
        image = picture.convert("RGB")
    least = min(image.size)
    left, upper = (image.width - least) // 2, (image.height - least) // 2
    return image.crop((left, upper, left + least, upper + least)).resize((side, side))


def draw_labels(data: Path, out: Path, count: int, seed: int) -> list[tuple[str, str]]:
    """Two sets side by side; a quarter of the places are empty."""
    rng = random.Random(seed)
    sides = [pictures(data, name)[:count] for name in ("flowers5", "clothing10")]
    rows = []
    for i in range(count):
        image, labels = Image.new("RGB", (2 * SIDE, SIDE), (128, 128, 128)), []
        for place, some in enumerate(sides):
            if rng.random() < 0.25:
                continue
            label, file = some[i % len(some)]
            image.paste(square(file), (place * SIDE, 0))
            labels.append(label)
        image.save(out / f"{i:05d}.jpg", quality=92)
        rows.append((f"{i:05d}.jpg", ";".join(labels)))
    return rows


def draw_number(kind: str, data: Path, out: Path, count: int, seed: int) -> list[tuple[str, str]]:
    """A number that is drawn over, or done to, a photograph."""
    rng = random.Random(seed)
    some = pictures(data, "flowers5")
    rows = []
    for i in range(count):
        image = square(some[i % len(some)][1], 320 if kind == "angle" else SIDE)
        if kind == "angle":
            value = rng.uniform(-45, 45)
            turned = image.rotate(value, Image.Resampling.BICUBIC)
            image = turned.crop((47, 47, 273, 273)).resize((SIDE, SIDE))
        elif kind == "size":
            value = rng.uniform(0.05, 0.6)
            radius = value * SIDE / 2
            x, y = (rng.uniform(radius, SIDE - radius) for _ in range(2))
            box = (x - radius, y - radius, x + radius, y + radius)
            ImageDraw.Draw(image).ellipse(box, fill=(40, 220, 220))
        else:
            value = float(rng.randint(0, 9))
            for _ in range(int(value)):
                x, y = (rng.uniform(8, SIDE - 8) for _ in range(2))
                ImageDraw.Draw(image).ellipse((x - 7, y - 7, x + 7, y + 7), fill=(240, 240, 30))
        image.save(out / f"{i:05d}.jpg", quality=92)
        rows.append((f"{i:05d}.jpg", f"{value:.4f}"))
    return rows


def made(kind: str, data: Path, out: Path, count: int, seed: int = 0) -> Path:
    """A folder of pictures and its `labels.csv`, which is returned."""
    out.mkdir(parents=True, exist_ok=True)
    rows = (
        draw_labels(data, out, count, seed)
        if kind == "labels"
        else draw_number(kind, data, out, count, seed)
    )
    table = out / "labels.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file_name", "labels" if kind == "labels" else "target"))
        writer.writerows(rows)
    return table


def run(
    table: Path, kind: str, strategy: str, seed: int, side: int, runs: Path
) -> dict[str, object]:
    """One training; its row."""
    shape = {} if strategy.endswith("probe") else {"image_size": side}
    result = finetune.train(
        table,
        target="labels" if kind == "labels" else "number",
        strategy=strategy,
        seed=seed,
        budget="2h",
        **shape,
        out=runs / f"{kind}-{strategy}-{seed}",
    )
    test = result.test
    assert test is not None
    mine = (test.map, test.log_loss) if kind == "labels" else (test.r2, test.mae)
    return {
        "set": kind,
        "strategy": strategy,
        "seed": seed,
        "chosen": result.strategy,
        "score": round(mine[0], 4),
        "loss": round(mine[1], 4),
        "baseline": round(test.baseline, 4),
        "seconds": round(result.seconds["total"], 1),
    }


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=["labels", "size", "angle", "count"])
    parser.add_argument("--strategies", nargs="*", default=list(STRATEGIES))
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--side", type=int, default=96, help="pixels at which is tuned")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    known = []
    if asked.out.exists():
        with asked.out.open(newline="") as file:
            known = list(csv.DictReader(file))
    with tempfile.TemporaryDirectory() as scratch:
        for kind in asked.sets:
            table = None
            for strategy in asked.strategies:
                key = (kind, str(asked.images), str(asked.side), strategy, str(asked.seed))
                if any(tuple(str(k[f]) for f in KEY) == key for k in known):
                    continue
                folder = Path(scratch) / kind
                table = table or made(kind, asked.data, folder, asked.images, asked.seed)
                told = (table, kind, strategy, asked.seed, asked.side, Path(scratch) / "runs")
                row = run(*told)
                known.append({**row, "images": str(asked.images), "side": str(asked.side)})
                print(row, flush=True)
                with asked.out.open("w", newline="") as file:
                    writer = csv.DictWriter(file, FIELDS)
                    writer.writeheader()
                    writer.writerows(known)


if __name__ == "__main__":
    main()
