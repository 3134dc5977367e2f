"""The answers of `export` and `report` on stdout."""

from __future__ import annotations

from finetune.cli import style
from finetune.records.answers import Exported, Reported


def show_export(found: Exported) -> None:
    """What was written, how it was checked."""
    out = style.out()
    ties = f" ({found.ties} of them too close to call)" if found.ties else ""
    size = sum(found.files.values()) / 1e6
    out.print(
        f"[bold]{style.shown(found.path)}[/]: {found.format}, {size:.1f} MB. Its labels are those "
        f"of predict on {found.checked} pictures{ties}; probabilities differ by at most "
        f"{found.max_difference:.4f}."
    )
    out.print(f"Checked on {style.shown(found.pictures)}; worst: {style.shown(found.worst)}.")


def show_report(found: Reported) -> None:
    """Where the page is, and whether it can be mailed."""
    pictures = f"{found.pictures} pictures" if found.pictures else "no pictures"
    style.out().print(
        f"[bold]{style.shown(found.path)}[/]: {found.bytes / 1e6:.1f} MB, {pictures}. "
        "Open it in a browser."
    )
