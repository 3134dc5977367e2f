"""Answers about backbones on stdout."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from finetune.cli import style
from finetune.records.anatomy import Anatomy
from finetune.records.backbone import BackboneRow, Fetched
from finetune.records.backbone_choice import BackboneChoice
from finetune.records.choices import FAMILY_NAMES
from finetune.report import backbone_words

_ALL_COLUMNS = 100  # on a narrower terminal license and parameters are left to --json
_NAME = 21  # characters of the default network's name


def show_backbones(rows: Sequence[BackboneRow]) -> None:
    """The answer of `backbones`."""
    table = Table(box=None, pad_edge=False)
    table.add_column("backbone", no_wrap=True)
    for name in ("ready", "parameters", "input", "stages", "license", "weights"):
        table.add_column(name, overflow="fold")
    for r in rows:
        ready = "[green4]yes[/]" if r.ready else "no"
        table.add_row(
            r.name,
            ready,
            f"{r.parameters / 1e6:.1f} M",
            f"{r.side_px} px",
            " ".join(r.stages),
            r.licence,
            r.weights,
        )
    out = style.out()
    out.print(table)
    out.print(
        "Any other timm name works with --weights FILE, or where there is a network; finetune "
        "backbones fetch NAME gets its weights.",
        style="dim",
    )


def print_backbones(out: Console, choice: BackboneChoice | None) -> None:
    """What the backbone was chosen of; nothing where the user has named it."""
    if choice is None:
        return
    word = "Backbone:" if choice.start is None else "Start:"
    style.row(out, word, style.shown(choice.reason.removeprefix(f"{word} ")))
    table = Table(box=None, pad_edge=False)
    wide = out.width >= _ALL_COLUMNS
    table.add_column("backbone", overflow="fold", min_width=_NAME)
    if wide:
        table.add_column("license", overflow="fold")
        table.add_column("parameters", justify="right")
    for name in ("ms", "images", *backbone_words.heads(choice)):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for c in choice.candidates:
        about = (
            style.shown(c.licence) + ("" if c.permissive else " (opt-in)"),
            "–" if c.parameters is None else f"{c.parameters / 1e6:.1f} M",
        )
        table.add_row(
            style.shown(c.name),
            *(about if wide else ()),
            "–" if c.latency_ms is None else f"{c.latency_ms:.1f}",
            str(c.images or "–"),
            *backbone_words.figures(c),
            f"{'in' if c.standing == 'chosen' else 'out'}: {style.shown(c.why)}",
            style="bold green" if c.standing == "chosen" else None,
        )
    out.print("\n[italic]backbones, each image left out once; ms: one image alone[/]")
    out.print(table)
    out.print()


def show_fetched(found: Fetched) -> None:
    """The answer of `backbones fetch`."""
    out = style.out()
    state = "fetched" if found.fresh else "here already"
    allowed = "" if found.permissive else ": it does not allow every use, read it first"
    out.print(f"[bold]{style.shown(found.name)}[/]: {state}, {found.bytes / 1e6:.1f} MB")
    out.print(f"License: {style.shown(found.licence)}{allowed}")
    out.print(
        f"Weights: {style.shown(found.weights)}, in {style.shown(found.file)}", soft_wrap=True
    )
    command = f"finetune train DIR --backbone {found.name}"
    out.print(f"Next: {style.shown(command)}", style="dim", soft_wrap=True)


def show_anatomy(found: Anatomy) -> None:
    """The answer of `backbones NAME`: the stages from the stem on, and what each strategy tunes."""
    out = style.out()
    kind = "" if found.family is None else f", {FAMILY_NAMES[found.family]}"
    out.print(
        f"[bold]{style.shown(found.name)}[/]: {found.parameters / 1e6:.2f} M parameters without a "
        f"classifier, input {found.side_px} px{kind}. License of its weights: "
        f"{style.shown(found.licence)}"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("ends in", overflow="fold")
    for name in ("output", "parameters", "sees"):
        table.add_column(name, justify="right")
    for name in ("normalization layers", "tuned by"):
        table.add_column(name, overflow="fold")
    for row in found.stages:
        table.add_row(
            row.name,
            row.module,
            " × ".join(map(str, row.output)),
            f"{row.parameters:,}",
            "all" if row.receptive_px is None else f"{row.receptive_px} px",
            ", ".join(f"{count} {kind}" for kind, count in row.norms.items()) or "none",
            " ".join(row.tuned_by) or "none",
        )
    out.print(table)
    out.print(
        "sees: side of the part of the picture that the central output depends on; what a strategy "
        "does not tune it freezes",
        style="dim",
    )
    for strategy, count in found.tuned.items():
        what = f"{count:,} parameters" if count else "no parameter"
        share = f" ({count / max(1, found.parameters):.0%})" if count else ""
        head = (
            "a head on features of the stages"
            if strategy == "stage-probe"
            else (f"a head on {found.top} top features")
        )
        style.row(out, "", f"{strategy} trains {what} of the backbone{share}, and {head}")
    if any("BatchNorm" in row.norms for row in found.stages):
        out.print("BatchNorm keeps its stored statistics in all of them but scratch.", style="dim")
