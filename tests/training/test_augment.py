"""Promises of `training.augment`: what training changes in a picture, and how much at most."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from finetune.records.decision import Augment
from finetune.training.augment import augment

OFF = Augment(crop=1.0, flip=0.0, rotation_deg=0.0, translation=0.0, stretch=0.0, colour=0.0)


def augmented(images: Tensor, side_px: int, seed: int = 0, **changes: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return augment(images, Augment(**{**vars(OFF), **changes}), side_px, generator)


def noise(count: int = 4, side: int = 24) -> Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8)


def coordinates(count: int, side: int = 64) -> Tensor:
    """Pictures whose red is the column and green the row, 0 at one edge and 255 at the other."""
    ramp = torch.linspace(0.5 / side, 1 - 0.5 / side, side) * 255
    picture = torch.zeros(side, side, 3)
    picture[..., 0], picture[..., 1] = ramp, ramp[:, None]
    return picture.round().byte().expand(count, -1, -1, -1)


def test_augment_with_all_switched_off_is_the_image() -> None:
    """crop=1 and zeros change nothing but the layout."""
    images = noise()

    out = augmented(images, 24)

    assert out.dtype == torch.float32
    assert torch.allclose(out, images.permute(0, 3, 1, 2).float(), atol=0.02)


def test_augment_of_flip_one_mirrors() -> None:
    """flip=1 mirrors every image left to right."""
    images = noise()

    out = augmented(images, 24, flip=1.0)

    assert torch.allclose(out, images.permute(0, 3, 1, 2).flip(3).float(), atol=0.02)


def test_augment_of_vflip_one_turns_upside_down() -> None:
    """vflip=1 shows every image upside down, and left stays left."""
    images = noise()

    out = augmented(images, 24, vflip=1.0)

    assert torch.allclose(out, images.permute(0, 3, 1, 2).flip(2).float(), atol=0.02)


@pytest.mark.parametrize(("vflip", "draws"), [(0.0, 8), (0.5, 9)])
def test_augment_without_vflip_draws_as_before(vflip: float, draws: int) -> None:
    """An option that is off takes nothing from the generator: old seeds keep their pictures."""
    used, fresh = (torch.Generator().manual_seed(0) for _ in range(2))

    augment(noise(6), replace(OFF, vflip=vflip), 24, used)

    for _ in range(draws):
        torch.rand(6, generator=fresh)
    assert torch.equal(used.get_state(), fresh.get_state())


def test_augment_zooms_out_within_its_amount() -> None:
    """zoom_out=z shows up to 1 + z times the area, its edges mirrored; crop still goes in."""
    out = augmented(coordinates(64), 64, crop=0.5, zoom_out=1.0) / 255

    area = (out[:, 0, 32, 40] - out[:, 0, 32, 24]) * (out[:, 1, 40, 32] - out[:, 1, 24, 32]) * 16
    assert 0.45 < area.min() < 0.65
    assert 1.7 < area.max() < 2.05
    assert out.min() >= 0


def test_augment_draws_for_each_image_anew() -> None:
    """Of 64 equal images about half are mirrored when flip is a half."""
    images = noise(1).expand(64, -1, -1, -1)

    out = augmented(images, 24, flip=0.5)

    mirrored = sum(bool((image - out[0]).abs().max() > 1) for image in out)
    assert min(mirrored, 64 - mirrored) >= 16  # four standard deviations from a half


EVERYTHING = {
    "crop": 0.4,
    "flip": 0.5,
    "rotation_deg": 30.0,
    "translation": 0.2,
    "stretch": 0.3,
    "colour": 0.5,
}


def test_augment_repeats_itself_for_the_same_seed() -> None:
    """All randomness comes from the generator: same seed same images, other seed others."""
    images = noise()

    first = augmented(images, 16, seed=1, **EVERYTHING)

    assert torch.equal(first, augmented(images, 16, seed=1, **EVERYTHING))
    assert not torch.equal(first, augmented(images, 16, seed=2, **EVERYTHING))


@pytest.mark.parametrize("side_px", [16, 24])
def test_augment_gives_floats_in_the_range_of_pixels(side_px: int) -> None:
    """The result is float32[B, 3, side, side] within 0..255, whatever is switched on."""
    out = augmented(noise(32), side_px, **{**EVERYTHING, "colour": 1.0})

    assert out.shape == (32, 3, side_px, side_px)
    assert out.dtype == torch.float32
    assert out.min() >= 0
    assert out.max() <= 255


def test_augment_leaves_its_input_alone() -> None:
    """The images in memory serve every epoch unchanged."""
    images = noise()
    before = images.clone()

    augmented(images, 24, **EVERYTHING)

    assert torch.equal(images, before)


def test_augment_without_colour_keeps_colours() -> None:
    """Moving, turning and cropping show a one-coloured image as it is, with no dark corners."""
    images = torch.tensor([200, 100, 50], dtype=torch.uint8).expand(16, 24, 24, 3)

    out = augmented(images, 24, **{**EVERYTHING, "colour": 0.0})

    assert torch.allclose(out, torch.tensor([200.0, 100, 50]).view(3, 1, 1), atol=0.01)


def test_augment_with_colour_changes_brightness_within_its_amount() -> None:
    """colour=a changes the mean of a grey image by a factor within 1 ± a, other for each image."""
    images = torch.full((64, 8, 8, 3), 100, dtype=torch.uint8)

    means = augmented(images, 8, colour=0.3).mean((1, 2, 3)) / 100

    assert 0.7 <= means.min() < 0.8
    assert 1.2 < means.max() <= 1.3


def test_augment_crops_no_more_than_allowed_and_inside_the_picture() -> None:
    """crop=c keeps between c and all of the area, of places all over the picture."""
    out = augmented(coordinates(64), 64, crop=0.25) / 255

    left, right = out[:, 0, 32, 0], out[:, 0, 32, -1]
    top, bottom = out[:, 1, 0, 32], out[:, 1, -1, 32]
    # half an output pixel is missing at either edge
    area = (right - left) * (bottom - top) * (64 / 63) ** 2
    assert 0.24 < area.min() < 0.35
    assert 0.9 < area.max() < 1.01
    assert (out.diff(dim=3)[:, 0] > -0.01).all()  # reflected columns would run backwards
    assert left.min() < 0.1
    assert left.max() > 0.3


def test_augment_stretches_within_its_amount() -> None:
    """stretch=s changes the aspect ratio by a factor between exp(-s) and exp(s)."""
    out = augmented(coordinates(64), 64, stretch=0.4)

    wide = out[:, 0, 32, 40] - out[:, 0, 32, 24]
    high = out[:, 1, 40, 32] - out[:, 1, 24, 32]
    ratio = (wide / high).log()
    assert ratio.abs().max() < 0.45
    assert ratio.min() < -0.3
    assert ratio.max() > 0.3


def test_augment_turns_within_its_amount() -> None:
    """rotation_deg=d turns by up to d degrees either way and keeps shapes."""
    out = augmented(coordinates(64), 64, rotation_deg=30.0)

    across = out[:, :2, 32, 40] - out[:, :2, 32, 24]
    down = out[:, :2, 40, 32] - out[:, :2, 24, 32]
    angle = torch.rad2deg(torch.atan2(across[:, 1], across[:, 0]))
    assert angle.abs().max() < 31
    assert angle.min() < -22
    assert angle.max() > 22
    assert (across * down).sum(1).abs().max() < 0.05 * across.norm(dim=1).max() ** 2
    assert torch.allclose(across.norm(dim=1), down.norm(dim=1), rtol=0.05)


def test_augment_shifts_within_its_amount() -> None:
    """translation=t moves the middle by up to a share t of the side in both directions."""
    out = augmented(coordinates(64), 64, translation=0.1) / 255

    middle = out[:, :2, 31:33, 31:33].mean((2, 3)) - 0.5
    assert middle.abs().max() < 0.105
    assert middle.min() < -0.07
    assert middle.max() > 0.07
    assert math.isclose(float(middle.mean()), 0.0, abs_tol=0.03)
