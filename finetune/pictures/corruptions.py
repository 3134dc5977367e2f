"""What happens to pictures in the field: ten kinds at three strengths, each repeatable.

The kinds are the challenges that courses name (illumination, contrast, blur, noise, occlusion,
clutter, scale, rotation, stretch) and JPEG. Strengths are ours, after the severities 1, 3 and 5 of
ImageNet-C (Hendrycks and Dietterich 2019, arXiv 1903.12261) where it has the kind.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Picture = npt.NDArray[np.uint8]
Change = Callable[[Image.Image, float, Image.Image, np.random.Generator], Image.Image]


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One kind: `amounts` from slight to strong, `words` what each of them is, `change` does it.

    `change` takes the picture, the amount, another picture of the data set and what draws at
    random.
    """

    kind: str
    amounts: tuple[float, float, float]
    words: tuple[str, str, str]
    change: Change


def apply(one: Corruption, strength: int, picture: Picture, other: Picture, seed: int) -> Picture:
    """A picture uint8[S, S, 3] as it would be; the same seed gives the same.

    Args:
        one: What happens to it.
        strength: 0, 1 or 2.
        picture: uint8[S, S, 3].
        other: Another picture of that size, for what needs a background.
        seed: Of all that is drawn at random.
    """
    rng = np.random.default_rng([seed, strength])
    amount = one.amounts[strength]
    changed = one.change(Image.fromarray(picture), amount, Image.fromarray(other), rng)
    return np.asarray(changed, np.uint8)


def _mean(image: Image.Image) -> tuple[int, int, int]:
    """The mean color: what is least telling where something has to be filled in."""
    red, green, blue = np.asarray(image).reshape(-1, 3).mean(0).round().astype(int).tolist()
    return red, green, blue


def _scaled_values(image: Image.Image, factor: float, center: float) -> Image.Image:
    values = center + factor * (np.asarray(image, np.float64) - center)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _darker(image: Image.Image, factor: float, *_: object) -> Image.Image:
    return _scaled_values(image, factor, 0.0)


def _flatter(image: Image.Image, factor: float, *_: object) -> Image.Image:
    return _scaled_values(image, factor, float(np.asarray(image).mean()))


def _blurred(image: Image.Image, share: float, *_: object) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(share * image.width))


def _noisy(
    image: Image.Image, deviation: float, _: Image.Image, rng: np.random.Generator
) -> Image.Image:
    values = np.asarray(image, np.float64)
    values = values + rng.normal(0.0, deviation, values.shape)
    return Image.fromarray(values.round().clip(0, 255).astype(np.uint8))


def _covered(
    image: Image.Image, share: float, _: Image.Image, rng: np.random.Generator
) -> Image.Image:
    """A square of the mean color somewhere on it."""
    side = round(image.width * share**0.5)
    x, y = rng.integers(0, image.width - side + 1, 2).tolist()
    covered = image.copy()
    covered.paste(_mean(image), (x, y, x + side, y + side))
    return covered


def _shrunk(
    image: Image.Image, share: float, ground: Image.Image, rng: np.random.Generator
) -> Image.Image:
    """The whole picture, smaller, somewhere on another ground."""
    side = max(1, round(image.width * share))
    x, y = rng.integers(0, image.width - side + 1, 2).tolist()
    made = ground.copy()
    made.paste(image.resize((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0), (x, y))
    return made


def _farther(
    image: Image.Image, share: float, _: Image.Image, rng: np.random.Generator
) -> Image.Image:
    return _shrunk(image, share, Image.new("RGB", image.size, _mean(image)), rng)


def _turned(
    image: Image.Image, degrees: float, _: Image.Image, rng: np.random.Generator
) -> Image.Image:
    angle = degrees * rng.choice([-1.0, 1.0])
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=_mean(image))


def _stretched(image: Image.Image, ratio: float, *_: object) -> Image.Image:
    """Wider by the ratio; what then stands out at the sides is cut off."""
    rim = image.width * (1 - 1 / ratio) / 2
    box = (rim, 0.0, image.width - rim, float(image.height))
    return image.resize(image.size, Image.Resampling.BICUBIC, box)


def _compressed(image: Image.Image, quality: float, *_: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=round(quality))
    return Image.open(file).convert("RGB")


CORRUPTIONS = (
    Corruption(
        kind="illumination",
        amounts=(0.6, 0.35, 0.2),
        words=("40 % darker", "65 % darker", "80 % darker"),
        change=_darker,
    ),
    Corruption(
        kind="contrast",
        amounts=(0.5, 0.25, 0.12),
        words=("half of the contrast", "a quarter of the contrast", "an eighth of the contrast"),
        change=_flatter,
    ),
    Corruption(
        kind="blur",
        amounts=(0.008, 0.016, 0.032),
        words=("slightly out of focus", "out of focus", "far out of focus"),
        change=_blurred,
    ),
    Corruption(
        kind="noise",
        amounts=(20.0, 45.0, 90.0),
        words=("slight sensor grain", "sensor grain", "strong sensor grain"),
        change=_noisy,
    ),
    Corruption(
        kind="occlusion",
        amounts=(0.1, 0.25, 0.5),
        words=("a tenth of it covered", "a quarter of it covered", "half of it covered"),
        change=_covered,
    ),
    Corruption(
        kind="clutter",
        amounts=(0.8, 0.65, 0.5),
        words=(
            "at 80 % of its size before another picture",
            "at 65 % of its size before another picture",
            "at half of its size before another picture",
        ),
        change=_shrunk,
    ),
    Corruption(
        kind="scale",
        amounts=(0.8, 0.65, 0.5),
        words=("at 80 % of its size", "at 65 % of its size", "at half of its size"),
        change=_farther,
    ),
    Corruption(
        kind="rotation",
        amounts=(15.0, 45.0, 90.0),
        words=("turned by 15°", "turned by 45°", "turned by 90°"),
        change=_turned,
    ),
    Corruption(
        kind="stretch",
        amounts=(1.25, 1.6, 2.2),
        words=("stretched by a quarter", "stretched 1.6 times", "stretched 2.2 times"),
        change=_stretched,
    ),
    Corruption(
        kind="JPEG",
        amounts=(30.0, 15.0, 5.0),
        words=("saved at JPEG quality 30", "at JPEG quality 15", "at JPEG quality 5"),
        change=_compressed,
    ),
)
