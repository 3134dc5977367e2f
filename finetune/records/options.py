"""What the user asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from finetune.records.choices import NearCopies, Policy, Similarity, Size


@dataclass(frozen=True)
class Request:
    """What the user asked of `train` and `recommend`; `options` override fields of the plan.

    `resume` asks to go on with a training that was killed or interrupted; `label_from` is the
    expression that finds labels in the names of files, None where folders have them.
    """

    root: str
    out: str | None = None
    strategy: str = "auto"
    policy: Policy = "measured"
    budget_s: float | None = None
    size: Size | None = None
    similarity: Similarity | None = None
    backbone: str = "tf_efficientnet_lite0"
    weights: str | None = None
    seed: int = 0
    device: str = "auto"
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    max_per_class: int | None = None
    on_bad_image: Literal["skip", "error"] = "skip"
    group: str | None = None
    label_from: str | None = None
    near_copies: NearCopies = "together"
    strict: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    command: str = "finetune train"
    resume: bool = False
