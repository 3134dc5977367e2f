"""What input a file of weights was trained with: as the user says, or a config.json beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import msgspec

from finetune.backbones import registry
from finetune.records.backbone import BackboneFacts, Variant
from finetune.records.choices import MOST_SIDE_PX, Interpolation
from finetune.records.errors import BackboneError, UsageError, safe_name
from finetune.records.options import BackboneOptions
from finetune.storage import untrusted_files

CONFIG = "config.json"
MOST_BYTES = 1_000_000
CHANNELS = 3
# What values may be: of means those of pixels from 0 to 1, of standard deviations none of zero.
MEANS, DEVIATIONS = (-1.0, 2.0), (1e-3, 10.0)
Three = tuple[float, float, float]


def variant_of(asked: BackboneOptions, side_px: int | None) -> Variant:
    """What the input of a backbone is to be, where it is not as its name has it; torch-free.

    What the options say outweighs what stands in timm's `config.json` beside a file of weights, and
    that what timm has under the backbone's name.

    Args:
        asked: Its name, weights, `mean`, `std` and `interpolation`.
        side_px: The image size that the user named.

    Raises:
        UsageError: values that are none, or given for weights whose input is known.
        BackboneError: the `config.json` is of another network, or damaged.
    """
    given = Variant(
        side_px=side_px,
        mean=_three("--mean", asked.mean, MEANS),
        std=_three("--std", asked.std, DEVIATIONS),
        interpolation=asked.interpolation,
    )
    file = _file(asked)
    named = [f"--{n}" for n in ("mean", "std", "interpolation") if getattr(asked, n) is not None]
    if named and file is None:
        raise UsageError(
            f"{named[0]} tells how the images of a file of weights were made, and there is none",
            hint="Give it with --weights FILE; the input of other weights is known.",
        )
    beside = Variant() if file is None else _beside(file, asked.name)
    return replace(beside, **{n: v for n, v in vars(given).items() if v is not None})


def told(asked: BackboneOptions, facts: BackboneFacts) -> str:
    """Which input a file of weights gets and who says so; empty for other weights."""
    file = _file(asked)
    if file is None or not facts.weights.startswith("file "):
        return ""
    beside, known = _beside(file, asked.name), facts.preprocess
    parts = []
    for name, value in (
        ("mean", ",".join(f"{v:g}" for v in known.mean)),
        ("std", ",".join(f"{v:g}" for v in known.std)),
        ("interpolation", known.interpolation),
    ):
        if getattr(asked, name) is not None:
            source = "as you said"
        elif getattr(beside, name) is not None:
            source = f"from {CONFIG} beside it"
        else:
            source = f"assumed, as timm has it for {facts.name}: --{name} says otherwise"
        parts.append(f"{name} {value} ({source})")
    return f"{safe_name(file.name)} gets {', '.join(parts)}"


def _file(asked: BackboneOptions) -> Path | None:
    """The file of weights that was named; None for published or random ones, and for a run."""
    if asked.weights in (None, registry.RANDOM):
        return None
    path = Path(str(asked.weights))
    return None if path.is_dir() else path


def _three(flag: str, text: str | None, ends: tuple[float, float]) -> Three | None:
    """The numbers of an option: three, or one for all channels."""
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    values = values * CHANNELS if len(values) == 1 else values
    if not _good(values, ends):
        raise UsageError(
            f"{flag} is '{text}'",
            hint=f"Give a number for red, green and blue, {ends[0]:g} to {ends[1]:g}, of pixels "
            f"from 0 to 1: {flag} 0.5,0.5,0.5.",
        )
    return cast(Three, tuple(values))


def _good(values: Any, ends: tuple[float, float]) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == CHANNELS
        and all(isinstance(v, int | float) and math.isfinite(v) for v in values)
        and all(ends[0] <= v <= ends[1] for v in values)
    )


def _beside(file: Path, backbone: str) -> Variant:
    """What timm's description beside a file says; nothing where there is none of timm's."""
    path = file.with_name(CONFIG)
    try:
        if not path.is_file():
            return Variant()
        untrusted_files.check_file(path, MOST_BYTES)  # a link, in the Hub's cache
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise BackboneError(
            f"cannot read {path}: {error}",
            hint="Mend it, or move the weights to a folder of their own and give --mean and --std.",
        ) from error
    config = found.get("pretrained_cfg")
    if not isinstance(config, Mapping):
        return Variant()  # not timm's
    of = str(found.get("architecture") or config.get("architecture") or backbone)
    if of.partition(".")[0] != backbone.partition(".")[0]:
        raise BackboneError(
            f"{file} is of {safe_name(of)}, as {path} says, not of {backbone}",
            hint=f"Give --backbone {safe_name(of)}.",
        )
    return Variant(
        side_px=_side(config.get("input_size")),
        mean=_known(path, "mean", config.get("mean"), MEANS),
        std=_known(path, "std", config.get("std"), DEVIATIONS),
        interpolation=_kernel(config.get("interpolation")),
    )


def _known(path: Path, name: str, values: Any, ends: tuple[float, float]) -> Three | None:
    if values is None:
        return None
    if not _good(values, ends):
        raise BackboneError(
            f"{path} has no usable {name}: {safe_name(str(values))[:80]}",
            hint=f"Give --{name} yourself, and move the weights to a folder of their own.",
        )
    return cast(Three, tuple(float(v) for v in values))


def _side(size: Any) -> int | None:
    """The last of timm's three numbers, where it is a side."""
    last = size[-1] if isinstance(size, list | tuple) and size else None
    return last if isinstance(last, int) and 0 < last <= MOST_SIDE_PX else None


def _kernel(name: Any) -> Interpolation | None:
    return cast(Interpolation, name) if name in get_args(Interpolation) else None
