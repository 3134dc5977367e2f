"""Answers about backbones on stdout."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from finetune.cli import style
from finetune.records.backbone import BackboneRow, Fetched


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
        "Any other timm name works with --weights FILE, or fetched by timm where there is a "
        "network.",
        style="dim",
    )


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
