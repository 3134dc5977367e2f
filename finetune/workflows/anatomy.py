"""The story of `backbones NAME`: what a network consists of, and what each strategy tunes of it."""

from __future__ import annotations

from dataclasses import replace

from finetune.records.anatomy import Anatomy
from finetune.records.choices import STRATEGIES, TUNED
from finetune.training import recipe


def describe(name: str) -> Anatomy:
    """The stages of a network, made with random weights, so that nothing is fetched.

    Raises:
        BackboneError: no such network, or its stages cannot be found.
    """
    from finetune.backbones import anatomy  # noqa: PLC0415 - torch, which takes seconds

    backbone, facts = anatomy.untrained(name)
    rows = tuple(
        replace(row, tuned_by=tuple(s for s in TUNED if row.name in recipe.tuned(s, facts.stages)))
        for row in anatomy.rows(backbone)
    )
    return Anatomy(
        name=name,
        licence=anatomy.licence(name),
        side_px=facts.preprocess.side_px,
        parameters=facts.parameters,
        top=anatomy.top(backbone),
        family=facts.family,
        stages=rows,
        tuned={s: sum(r.parameters for r in rows if s in r.tuned_by) for s in STRATEGIES},
    )
