"""What the rules of a plan leave for labels and numbers: no change to a picture that changes them.

A crop may cut away what a label names, and a number such as an angle, a size or a count does not
stay what it was in a picture that is turned, mirrored, cropped or stretched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from finetune.records.choices import OtherTarget
from finetune.records.decision import Augment, Plan

LABELS_CROP = 0.8
_STILL: dict[OtherTarget, dict[str, float]] = {
    "labels": {"crop": LABELS_CROP},
    "number": {
        "crop": 1.0,
        "flip": 0.0,
        "vflip": 0.0,
        "rotation_deg": 0.0,
        "stretch": 0.0,
        "zoom_out": 0.0,
    },
}
_WHY: dict[OtherTarget, str] = {
    "labels": "a crop may cut away what a label names",
    "number": "off: it may change the number, such as an angle, a size or a count",
}


def for_target(plan: Plan, kind: OtherTarget, user: Mapping[str, Any]) -> Plan:
    """A plan as the rules for classes have it, for labels or numbers.

    Args:
        plan: As `recipe.resolve` gives it.
        kind: What is learned.
        user: Options given by hand, which stay.
    """
    names = {f.name for f in fields(Augment)}
    still = {n: v for n, v in _STILL[kind].items() if n in names and n not in user}
    why = {**plan.why, **dict.fromkeys(still, _WHY[kind])}
    none = "not used: there are no classes"
    why |= {"label_smoothing": none, "class_weights": none}
    augment = replace(plan.augment, **still)
    return replace(plan, augment=augment, label_smoothing=0.0, class_weights=False, why=why)
