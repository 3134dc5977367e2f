"""The answers of `export`, `report` and `features` on stdout."""

from __future__ import annotations

from finetune.cli import style
from finetune.records.answers import Exported, Int8, Reported
from finetune.records.figures import figure
from finetune.records.sharding import FeaturesMade


def show_export(found: Exported) -> None:
    """What was written, how it was checked."""
    out = style.out()
    size = sum(found.files.values()) / 1e6
    where = f"{style.shown(found.pictures)}; worst: {style.shown(found.worst)}"
    if found.int8 is not None:
        _show_int8(found, found.int8, where)
        return
    ties = f" ({found.ties} of them too close to call)" if found.ties else ""
    if found.target == "number":
        out.print(
            f"[bold]{style.shown(found.path)}[/]: {found.format}, {size:.1f} MB. Its numbers are "
            f"those of predict on {found.checked} pictures, but for {found.max_difference:.4f} of "
            "their standard deviation at most."
        )
        out.print(f"Checked on {where}.")
        return
    out.print(
        f"[bold]{style.shown(found.path)}[/]: {found.format}, {size:.1f} MB. Its labels are those "
        f"of predict on {found.checked} pictures{ties}; probabilities differ by at most "
        f"{found.max_difference:.4f}."
    )
    out.print(f"Checked on {where}.")


def show_report(found: Reported) -> None:
    """Where the page is, and whether it can be mailed."""
    pictures = f"{found.pictures} pictures" if found.pictures else "no pictures"
    style.out().print(
        f"[bold]{style.shown(found.path)}[/]: {found.bytes / 1e6:.1f} MB, {pictures}. "
        "Open it in a browser."
    )


def _show_int8(found: Exported, cost: Int8, where: str) -> None:
    """What 8 bits lose and gain."""
    out = style.out()
    low, high = (100 * end for end in cost.interval)
    ends = f"{low:+.1f} to {high:+.1f}) on {style.shown(cost.source)}, where predict has"
    name = "accuracy" if cost.metric == "accuracy" else "mAP"
    lost = f"loses {100 * cost.loss:.1f} points of {name} (95 % interval"
    if cost.loss < 0:
        lost = f"gains {-100 * cost.loss:.1f} points of {name} (95 % interval of the loss"
    score = cost.fp32_accuracy if cost.fp32_score is None else cost.fp32_score
    told = f"{100 * (score or 0):.1f} %; {100 * cost.same_labels:.1f} % of the labels are the same"
    if cost.metric == "map":
        told = f"{score or 0:.3f}; {100 * cost.same_labels:.1f} % of the images have the same on"
    if cost.metric == "rmse":
        lost = f"raises RMSE by {100 * cost.loss:.1f} % (95 % interval"
        told = figure(score or 0)
    out.print(f"[bold]{style.shown(found.path)}[/]: {found.format} in 8 bits {lost} {ends} {told}.")
    out.print(
        f"Size: {cost.bytes / 1e6:.1f} MB, in 32 bits {cost.fp32_bytes / 1e6:.1f} MB. A picture "
        f"takes {cost.ms:.0f} ms, in 32 bits {cost.fp32_ms:.0f} ms. Ranges of values are from "
        f"{cost.calibrated} pictures."
    )
    if found.target == "number":
        out.print(
            f"On {where}: numbers differ by up to {found.max_difference:.2f} of their standard "
            "deviation."
        )
        return
    some = "all labels equal" if found.labels_equal else "not all labels equal"
    out.print(f"On {where}: {some}, probabilities differ by up to {found.max_difference:.2f}.")


def show_features(found: FeaturesMade) -> None:
    """What was computed, where it lies, and what could not be read."""
    out = style.out()
    images = found.images
    known = f", {images.known} had them already" if images.known else ""
    out.print(
        f"[bold]Shard {found.shard}[/]: features of {images.computed} images computed{known}; "
        f"{images.own} of the {images.total} that are not test are its own."
    )
    if found.parts:
        out.print(
            f"{len(found.parts)} part(s), {found.bytes / 1e6:.1f} MB, in "
            f"{style.shown(found.folder)}; finetune train finds them there."
        )
    for message in images.unreadable[:5]:
        out.print(f"left out: {style.shown(message)}")
    if len(images.unreadable) > 5:
        out.print(f"and {len(images.unreadable) - 5} more that cannot be read")
