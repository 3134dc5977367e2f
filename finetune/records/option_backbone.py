"""The options of where a backbone comes from: a run of one's own, or the choice of `auto`."""

from __future__ import annotations

from finetune.records.option import Option

_DECIDING = "train recommend compare"
BACKBONE_OPTIONS = (
    Option(
        name="start_from",
        commands=_DECIDING,
        metavar="RUN",
        help="Go on from this run: its network against the pretrained one on images new to it; "
        "the better stays.",
    ),
    Option(
        name="max_latency_s",
        typed="--max-latency",
        commands=_DECIDING,
        ends=(1e-6, 1e6),
        metavar="TIME",
        unset="none",
        help="Of --backbone auto: one image may take the network so long on this machine: 20ms.",
    ),
    Option(
        name="licence",
        commands=_DECIDING,
        choices=("permissive", "any"),
        default="permissive",
        help="Of --backbone auto: any takes weights whose license does not allow every use, too.",
    ),
    Option(
        name="fetch",
        kind="flag",
        commands=_DECIDING,
        help="Of --backbone auto: fetch a short list of networks first, under these licenses.",
    ),
)
