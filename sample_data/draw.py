# SPDX-License-Identifier: Apache-2.0
"""Draws the sample data: pictures of fallen leaves, one folder per kind of tree.

Run `python sample_data/draw.py` to write `sample_data/leaves/<tree>/NNN.jpg` again. All trees share
the same colours, grounds, light and clutter, so only the shape of a leaf tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Array = NDArray[np.float64]
Rng = np.random.Generator
Span = tuple[float, float]  # low, high
Colour = tuple[int, int, int]

SEED = 2024
PER_CLASS = 40
SIDE = 128  # pixels of a finished picture
FINE = 3 * SIDE  # pixels while drawing: three times finer, so that edges come out smooth
QUALITY = 80
# A leaf blends two colours; every tree draws from the same list.
LEAF_COLOURS = [
    [(74, 112, 44), (118, 150, 62)],  # summer green
    [(96, 128, 48), (206, 182, 66)],  # turning
    [(222, 180, 52), (238, 208, 98)],  # yellow
    [(214, 118, 36), (232, 176, 62)],  # orange
    [(150, 40, 34), (206, 84, 44)],  # red
    [(110, 72, 42), (160, 112, 66)],  # brown
]
# A ground blends two colours: dark, light.
WOOD, SOIL, STONE, PAPER, CLOTH, MOSS = [
    [(92, 62, 40), (176, 132, 92)],
    [(46, 36, 28), (104, 82, 60)],
    [(104, 106, 108), (172, 170, 164)],
    [(190, 180, 158), (232, 224, 204)],
    [(96, 112, 138), (164, 176, 192)],
    [(40, 62, 26), (110, 132, 56)],
]
GROUNDS = 7  # wood, cloth, paper, stone, soil, grass, fallen leaves


@dataclass
class Leaf:
    """A leaf lying along x from its base (0, 0) to its tip near (1, 0).

    Attributes:
        sides: The two halves of the edge, each from base to tip, with y >= 0 and with y <= 0.
        veins: Lines drawn on the blade.
    """

    sides: list[Array] = field(default_factory=list)
    veins: list[Array] = field(default_factory=list)

    def edge(self) -> Array:
        """The whole edge, from the base round to the base."""
        return np.vstack([self.sides[0], self.sides[1][::-1]])


def simple_leaf(
    rng: Rng, rise: Span, fall: Span, width: Span, count: Span, depth: Span, toothed: bool
) -> Leaf:
    """Builds an undivided leaf; each number is drawn from its span.

    Args:
        rng: Source of the variation.
        rise: Small for a blunt base: the half width is as t^rise (1-t)^fall.
        fall: Small for a blunt tip.
        width: Largest half width, the length being 1.
        count: How many waves or teeth one side has.
        depth: How deep they cut, as a share of the half width.
        toothed: Whether they are teeth.
    """
    a, b, widest, bumps, cut = (rng.uniform(*span) for span in (rise, fall, width, count, depth))
    t = np.linspace(0, 1, 240)
    outline = t**a * (1 - t) ** b
    outline *= widest / outline.max()
    leaf = Leaf(veins=[np.array([[0.0, 0.0], [0.97, 0.0]])])
    for sign in (1, -1):
        turns = bumps * t + rng.uniform(0, 0.6) + 0.15 * np.sin(rng.uniform(3, 9) * t)
        wave = turns % 1 if toothed else 0.5 + 0.5 * np.cos(2 * np.pi * turns)
        half = outline * (1 - cut * wave * rng.uniform(0.8, 1.2)) * rng.uniform(0.9, 1.1)
        leaf.sides.append(np.stack([t, sign * half], 1))
        for start in np.linspace(0.08, 0.8, max(4, round(bumps * (0.6 if toothed else 1)))):
            end = min(start + 0.9 * widest * (1 - 0.5 * start), 0.98)
            leaf.veins.append(np.array([[start, 0], [end, sign * 0.85 * np.interp(end, t, half)]]))
    return leaf


def beech(rng: Rng) -> Leaf:
    """An oval with a smooth, slightly wavy edge and parallel veins."""
    return simple_leaf(rng, (0.6, 0.8), (0.6, 0.85), (0.24, 0.34), (6, 9), (0.02, 0.07), False)


def birch(rng: Rng) -> Leaf:
    """A triangle on a broad base with a drawn-out tip and a saw edge."""
    return simple_leaf(rng, (0.4, 0.55), (0.95, 1.3), (0.3, 0.4), (9, 14), (0.14, 0.24), True)


def oak(rng: Rng) -> Leaf:
    """Widest above the middle, with round lobes."""
    return simple_leaf(rng, (0.85, 1.1), (0.4, 0.6), (0.29, 0.39), (3.4, 5.4), (0.36, 0.52), False)


def willow(rng: Rng) -> Leaf:
    """A long narrow blade."""
    return simple_leaf(rng, (0.6, 0.9), (0.8, 1.1), (0.08, 0.15), (14, 20), (0.02, 0.08), True)


def maple(rng: Rng) -> Leaf:
    """Five pointed lobes spread like the fingers of a hand."""
    across = [0, 16, 36, 33, 30, 42, 46, 60, 44, 38, 28, 17, 20, 25, 16, 14, 7, 0]
    along = [0, -10, -6, 7, 17, 22, 30, 50, 47, 52, 45, 42, 55, 66, 70, 80, 82, 100]
    corners = np.stack([along, across], 1) / 100
    leaf = Leaf()
    for sign in (1, -1):
        side = corners * [1, sign * rng.uniform(0.88, 1.12)] + rng.normal(0, 0.014, corners.shape)
        side[[0, -1]] = corners[[0, -1]]
        leaf.sides.append(side)
        leaf.veins += [np.array([[0, 0], 0.93 * side[tip]]) for tip in (2, 7)]
    leaf.veins.append(np.array([[0, 0], [0.95, 0]]))
    return leaf


def ginkgo(rng: Rng) -> Leaf:
    """A fan, often cleft in the middle."""
    spread, cleft = rng.uniform(0.75, 1.2), rng.choice([0.04, rng.uniform(0.2, 0.5)])
    leaf = Leaf()
    for sign in (1, -1):
        angle = np.linspace(spread * rng.uniform(0.9, 1.1), 0, 120)
        ripple = 0.025 * np.sin(rng.uniform(18, 26) * angle + rng.uniform(0, 6))
        reach = 0.92 - 0.12 * (angle / spread) ** 2 + ripple - cleft * np.exp(-angle / 0.07)
        arc = np.stack([reach * np.cos(angle), sign * reach * np.sin(angle)], 1)
        leaf.sides.append(np.vstack([[0, 0], 0.45 * arc[0] * [1.15, 0.85], arc]))
        leaf.veins += [np.array([0.08 * tip, 0.93 * tip]) for tip in arc[4::13]]
    return leaf


TREES: dict[str, Callable[[Rng], Leaf]] = {
    tree.__name__: tree for tree in (beech, birch, ginkgo, maple, oak, willow)
}


def noise(rng: Rng, across: int, down: int) -> Array:
    """Smooth noise in 0..1 with about that many bumps across and down the picture."""
    grid = Image.fromarray(rng.random((down + 1, across + 1)).astype(np.float32))
    smooth = np.asarray(grid.resize((FINE, FINE), Image.Resampling.BICUBIC), np.float64)
    return np.clip(smooth, 0, 1)


def rgb(colour: Array) -> Colour:
    """Turns three numbers into what Pillow takes for a colour."""
    red, green, blue = (int(v) for v in colour)
    return red, green, blue


def to_image(pixels: Array) -> Image.Image:
    """Turns numbers in 0..255 into a picture."""
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def blend(colours: list[Colour], amount: Array) -> Array:
    """Mixes two colours, `amount` of the second at each pixel."""
    first, second = np.array(colours, np.float64)
    mixed: Array = first + (second - first) * amount[..., None]
    return mixed


def ground(rng: Rng, kind: int) -> Image.Image:
    """Draws what the leaf lies on: one of `GROUNDS` kinds."""
    cloud = 0.6 * noise(rng, 4, 4) + 0.4 * noise(rng, 17, 17)
    if kind == 0:
        grain = 0.3 * cloud + 0.7 * noise(rng, 3, 48)
        board = np.arange(FINE) % rng.integers(110, 170) < 4  # the gaps between the boards
        colours, amount = WOOD, grain * np.where(board, 0.1, 1)[:, None]
    elif kind == 1:
        thread = np.sin(np.arange(FINE) * rng.uniform(0.35, 0.6))
        colours, amount = CLOTH, 0.6 * cloud + 0.2 + 0.2 * thread[:, None] * thread[None, :]
    else:
        colours = [PAPER, STONE, SOIL, MOSS, SOIL][kind - 2]
        amount = cloud if kind == 2 else 0.5 * cloud + 0.5 * noise(rng, 50, 50)
    picture = to_image(blend(colours, amount))
    if kind >= 5:
        litter(ImageDraw.Draw(picture), rng, blades=kind == 5)
    return picture.transpose(Image.Transpose(int(rng.integers(7))))


def litter(draw: ImageDraw.ImageDraw, rng: Rng, blades: bool) -> None:
    """Strews blades of grass, or the dull leaves of any tree, over the ground."""
    for _ in range(260 if blades else 40):
        shade = rng.uniform(0.45, 0.95)
        x, y = rng.uniform(0, FINE, 2)
        if blades:
            dx, dy = rng.normal(0, 30, 2)
            colour = np.array([96, 140, 58]) * shade
            draw.line([x, y, x + dx, y + dy], rgb(colour), int(rng.integers(2, 7)))
        else:
            leaf = TREES[rng.choice(list(TREES))](rng)
            colour = np.array(LEAF_COLOURS[5][rng.integers(2)]) * shade
            pose = random_pose(rng, rng.uniform(60, 130), np.array([x, y]))
            draw.polygon(pose(leaf.edge()), rgb(colour))


def random_pose(
    rng: Rng, length: float, centre: Array
) -> Callable[[Array], list[tuple[float, float]]]:
    """Chooses how a leaf lies: turned, bent, curled up at the sides, seen from a slant.

    Returns:
        A function from points of the leaf to points of the picture.
    """
    turn, bend = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.4)
    curl = rng.uniform(0.6, 1.05, 2)
    slant = [rng.uniform(0.7, 1.0), 1.0]

    def pose(points: Array) -> list[tuple[float, float]]:
        x, y = points[:, 0] - 0.5, points[:, 1] * np.where(points[:, 1] > 0, *curl)
        angle = bend * x
        bent = np.stack([x * np.sinc(angle / np.pi), x * angle / 2], 1)
        bent += y[:, None] * np.stack([-np.sin(angle), np.cos(angle)], 1)
        cos, sin = np.cos(turn), np.sin(turn)
        turned = (bent * slant) @ np.array([[cos, sin], [-sin, cos]])
        return [(float(u), float(v)) for u, v in turned * length + centre]

    return pose


def lay_leaf(
    picture: Image.Image, rng: Rng, leaf: Leaf, colours: list[Colour], length: float, reach: float
) -> None:
    """Lays a leaf with its shadow, blotches, veins and holes at most `reach` off the middle."""
    pose = random_pose(rng, length, FINE * rng.uniform(0.5 - reach, 0.5 + reach, 2))
    blade, half, ribs = (Image.new("L", (FINE, FINE)) for _ in range(3))
    edge = leaf.edge()
    ImageDraw.Draw(blade).polygon(pose(edge), 255)
    ImageDraw.Draw(half).polygon(pose(leaf.sides[0]), 255)
    for vein in leaf.veins:
        ImageDraw.Draw(ribs).line(pose(vein), 255, 2 + (len(leaf.veins) < 8))
    for _ in range(rng.poisson(1.0)):  # eaten by caterpillars
        spot = pose(edge[[rng.integers(len(edge))]] * rng.uniform(0.5, 1))[0]
        for x, y in spot + rng.normal(0, 0.025 * length, (4, 2)):
            bite = rng.uniform(2, 0.045 * length)
            ImageDraw.Draw(blade).ellipse([x - bite, y - bite, x + bite, y + bite], 0)
    stalk = np.array([[0.02, 0], [-0.12, 0.01], [-rng.uniform(0.2, 0.3), rng.normal(0, 0.05)]])
    ImageDraw.Draw(blade).line(pose(stalk), 255, max(3, round(length / 60)))
    shadow = Image.new("L", (FINE, FINE))
    shadow.paste(blade, (int(rng.integers(-14, 15)), int(rng.integers(-14, 15))))
    dark = shadow.filter(ImageFilter.GaussianBlur(rng.uniform(3, 10))).point(lambda v: 0.55 * v)
    picture.paste((18, 16, 14), mask=dark)

    blotches = noise(rng, 5, 5) * rng.uniform(0.4, 1) + noise(rng, 30, 30) * 0.3
    colour = blend(colours, blotches)
    lit = np.asarray(half.filter(ImageFilter.GaussianBlur(3)), np.float64)[..., None] / 255
    colour *= (1 + rng.uniform(-0.3, 0.2) * lit) * rng.uniform(0.75, 1.1)
    rib = np.asarray(ribs.filter(ImageFilter.GaussianBlur(1)), np.float64)[..., None] / 255
    colour += rib * rng.choice([-45, 40])
    picture.paste(to_image(colour), mask=blade)


def cover(picture: Image.Image, rng: Rng) -> None:
    """Puts thin twigs or blades of grass in front."""
    draw = ImageDraw.Draw(picture)
    along = np.linspace(0, 1, 40)[:, None]
    for _ in range(rng.integers(0, 4)):
        start, middle, end = rng.uniform(-0.2, 1.2, (3, 2)) * FINE
        middle = 0.3 * middle + 0.35 * (start + end)
        curve = (1 - along) ** 2 * start + 2 * along * (1 - along) * middle + along**2 * end
        colour = rng.choice([[70, 52, 38], [112, 140, 60], [176, 152, 96]])
        thick = rng.uniform(2.5, 6)
        draw.line([(float(x), float(y)) for x, y in curve], rgb(colour), int(thick))


def photograph(picture: Image.Image, rng: Rng) -> Image.Image:
    """Adds uneven light, a colour cast, soft focus and grain, at the final size."""
    blurred = picture.filter(ImageFilter.GaussianBlur(float(rng.choice([0.5, 1.0, 2.2]))))
    small = np.asarray(blurred.resize((SIDE, SIDE), Image.Resampling.LANCZOS), np.float64)
    across = np.linspace(-1, 1, SIDE)
    light = 1 + across * rng.normal(0, 0.12) + across[:, None] * rng.normal(0, 0.12)
    small = small * light[..., None] * rng.uniform(0.8, 1.15) * rng.normal(1, 0.04, 3)
    small += rng.normal(0, rng.uniform(1, 6), (SIDE, SIDE, 1))
    return to_image(small)


def draw_picture(tree: str, number: int) -> Image.Image:
    """Draws one picture; it depends on nothing but the seed, the tree and the number.

    The number settles the ground and the first leaf's colour, so that every tree has the same ones.
    """
    rng = np.random.default_rng([SEED, list(TREES).index(tree), number])
    picture = ground(rng, number % GROUNDS)
    leaves = int(rng.choice([1, 1, 1, 2, 3]))
    hue = number % len(LEAF_COLOURS)
    for _ in range(leaves):
        length = FINE * rng.uniform(0.65, 0.95) / leaves**0.4
        lay_leaf(picture, rng, TREES[tree](rng), LEAF_COLOURS[hue], length, 0.12 * leaves)
        hue = int(rng.integers(len(LEAF_COLOURS)))
    cover(picture, rng)
    return photograph(picture, rng)


def main() -> None:
    """Writes the whole set beside this file, over what was there."""
    folder = Path(__file__).parent / "leaves"
    for tree in TREES:
        (folder / tree).mkdir(parents=True, exist_ok=True)
        for number in range(PER_CLASS):
            path = folder / tree / f"{number:03d}.jpg"
            draw_picture(tree, number).save(path, quality=QUALITY, optimize=True)
    print(f"wrote {len(TREES) * PER_CLASS} pictures to {folder}")


if __name__ == "__main__":
    main()
