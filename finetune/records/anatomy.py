"""What a network consists of, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.records.choices import Family, Strategy


@dataclass(frozen=True, kw_only=True)
class StageRow:
    """One stage: `module` is where it ends, `output` one image's shape (C, H, W or tokens, C).

    `receptive_px` is the side of the part of the picture on which the central output depends, None
    where that is the whole picture. `norms` counts normalization layers by kind; `tuned_by` names
    the strategies that train its parameters, the others freeze them.
    """

    name: str
    module: str
    output: tuple[int, ...]
    parameters: int
    norms: dict[str, int]
    receptive_px: int | None
    tuned_by: tuple[Strategy, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """The answer of `finetune backbones NAME`; `licence` is of its published weights.

    `tuned` is how many parameters of the network each strategy trains, beside the head on `top`
    features; BatchNorm's stored statistics stay as they are in all but `scratch`.
    """

    name: str
    licence: str
    side_px: int
    parameters: int
    top: int
    family: Family | None
    stages: tuple[StageRow, ...]
    tuned: dict[str, int]
