"""Random changes to training images: one affine map and one look-up each, then colour."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from finetune.records.decision import Augment


def augment(
    images: Tensor,
    settings: Augment,
    side_px: int,
    generator: torch.Generator,
    share: tuple[int, slice] | None = None,
) -> Tensor:
    """Random crop or zoom, stretch, rotation, shift, flips in one resampling, then colour.

    One affine map per image and a single bilinear look-up do what a chain of per-image transforms
    does in several (docs/decisions/0006-augmentation.md has the timing).

    Args:
        images: uint8[B, S, S, 3] with S at least `side_px`.
        settings: The largest change of each kind.
        side_px: Side of the output.
        generator: Source of all randomness, on the CPU.
        share: Of how many images these are which, where other ranks have the others: each image
            is changed as it would be among all of them.

    Returns:
        float32[B, 3, side_px, side_px] in 0..255.
    """
    x = images.permute(0, 3, 1, 2).float()
    count, own = share or (x.shape[0], slice(None))
    theta = _random_maps(count, settings, generator)[own].to(x.device)
    grid = functional.affine_grid(theta, [len(x), 3, side_px, side_px], align_corners=False)
    x = functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    if not settings.colour:
        return x
    draws = 1.0 + settings.colour * (2.0 * torch.rand(3, count, 1, 1, 1, generator=generator) - 1.0)
    return _colour(x, draws[:, own].to(x.device))


def _random_maps(count: int, settings: Augment, generator: torch.Generator) -> Tensor:
    """Output → input affine maps, float32[count, 2, 3], in units of half the side."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    scale = uniform(settings.crop, 1.0 + settings.zoom_out).sqrt()
    stretch = torch.exp(uniform(-settings.stretch, settings.stretch) / 2)
    mirror = _signs(count, settings.flip, generator)
    angle = uniform(-1.0, 1.0) * math.radians(settings.rotation_deg)
    wide, high = scale * stretch, scale / stretch
    # A crop may lie anywhere inside the picture; a translation may also push it over the edge.
    room_x, room_y = (1 - wide).clamp(min=0), (1 - high).clamp(min=0)
    shift_x = uniform(-1, 1) * room_x + uniform(-2, 2) * settings.translation
    shift_y = uniform(-1, 1) * room_y + uniform(-2, 2) * settings.translation
    cos, sin = torch.cos(angle), torch.sin(angle)
    wide = wide * mirror
    if settings.vflip:  # no draw where it is off, so that older seeds keep their pictures
        high = high * _signs(count, settings.vflip, generator)
    rows = [cos * wide, -sin * high, shift_x, sin * wide, cos * high, shift_y]
    return torch.stack(rows, dim=1).view(count, 2, 3)


def _signs(count: int, share: float, generator: torch.Generator) -> Tensor:
    """-1 with that probability, else 1, float32[count]."""
    return 1.0 - 2.0 * (torch.rand(count, generator=generator) < share).float()


def _colour(x: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast and saturation, by factors float32[3, B, 1, 1, 1]."""
    x = x * factors[0]
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * factors[1]
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * factors[2]
    return x.clamp(0.0, 255.0)
