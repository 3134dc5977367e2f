"""The option by which several processes share the work of `finetune features`."""

from __future__ import annotations

from finetune.records.option import Option

SHARD = (
    Option(
        name="shard",
        commands="features",
        metavar="I/N",
        unset="all images",
        help="Compute the I-th of N shares, such as 3/16; auto takes both from Slurm's or "
        "Kubernetes' variables.",
    ),
)
