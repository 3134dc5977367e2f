"""The answer of `explain` on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from finetune.cli import style
from finetune.records.explanation import Explanation

_MEANS = {
    "cam": "exact: the evidence of all places and the bias add up to the logit",
    "gradient": "gradient times activation: it says where, and does not add up to the logit",
    "attention": "attention weighted by its gradient: it says where, not how much",
}


def show_explanations(found: Sequence[Explanation]) -> None:
    """One line per image, then where the pictures lie and how far they can be trusted."""
    out = style.out()
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("class", style="bold")
    for name in ("probability", "box", "evidence", "area"):
        table.add_column(name, justify="right")
    for e in found:
        if e.error is not None:
            table.add_row(style.shown(e.path), "[red]error[/]", "", style.shown(e.error))
            continue
        told = ["nothing speaks for it", "", ""]
        if (box := e.box) is not None:
            edges = f"{box.left}, {box.upper}, {box.right}, {box.lower}"
            told = [edges, f"{box.share:.0%}", f"{box.area:.0%}"]
        table.add_row(
            style.shown(e.path), style.shown(e.label or ""), f"{e.probability:.1%}", *told
        )
    out.print(table)
    drawn = [e for e in found if e.overlay is not None]
    if not drawn:
        return
    out.print(
        "box: left, upper, right, lower in pixels; evidence: the share of what speaks for the "
        "class that lies in the box; area: the share of the picture that the box covers",
        style="dim",
    )
    for method in dict.fromkeys(e.method for e in drawn):
        if method is not None:
            out.print(f"{method}: {_MEANS[method]}", style="dim")
    home = Path(str(drawn[0].overlay)).parent
    style.row(out, "Pictures:", style.shown(str(home)), whole=True)
