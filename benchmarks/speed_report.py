"""The tables of `speed.py`, from its rows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from speed_rows import Row, Table

COLD, NEW, WARM = "probe-cold", "probe-new", "probe-warm"
PHOTOS = "flowers5"
TUNED = "sign_digits10"  # the far one, where deep tuning has something to gain
# Every row of the tables, in order.
WHAT = {
    COLD: "`finetune train DIR --strategy linear-probe`, empty cache",
    NEW: "the same on new images, the converted network kept from an earlier run",
    WARM: "the first once more, on the same images",
    "recommend": "`finetune recommend DIR`, empty cache",
    "train-after-recommend": "`finetune train DIR --strategy linear-probe` after it, same cache",
    "predict-1": "`finetune predict IMAGE`",
    "predict-many": "`finetune predict DIR`, 1,000 images",
    "deep": "`finetune train DIR --strategy deep`",
    "floor": "start, decode and one forward pass; network ready on disk",
    "floor-torch": "the same; network built by torch and converted",
    "floor-many": "start, decode and one forward pass of the 1,000",
    "loop-frozen": "tutorial's loop, frozen body",
    "loop-full": "tutorial's loop, full network",
    "fastai": "fastai `vision_learner(…).fine_tune(5)`",
    "timm": "timm `train.py`, its defaults",
    "ultralytics": "Ultralytics `classify`, its defaults, this backbone",
    "keras": "Keras' EfficientNet example",
    "autogluon": "AutoGluon",
    "deep-eager": "plain loop over the full network, settings of the `deep` run",
}
RIVALS = ("loop-frozen", "loop-full", "fastai", "timm", "ultralytics", "keras")
INTRO = """# Speed, side by side

Whole processes on one machine: the same files, the same ImageNet weights of EfficientNet-Lite0,
every one alone. `python benchmarks/speed.py` measures, `--report` prints this page from
`benchmarks/speed.csv`; what each contender does stands at the head of its script in
`benchmarks/peers/`. Several runs of one process are one figure, their median. ≈ marks seconds of
which a part was not run: so many epochs were timed and the rest added in proportion; the accuracy
is then that after the epochs that were run, in brackets. Where a recipe picks its best epoch on
the test images, its accuracy is that one, and what its last epoch had follows.
"""


@dataclass(frozen=True)
class Target:
    """One promise: what was measured, what was wanted, whether it is met where that is clear."""

    what: str
    measured: str
    wanted: str
    met: bool | None


def brief(row: Row) -> str:
    """One row for people."""
    if row.full_s is None:
        return f"{row.name}: {row.note}"
    about = "" if row.whole else f", {row.epochs_run} of {row.epochs_of} epochs run"
    accuracy = "" if row.accuracy is None else f", {row.accuracy:.1%}"
    return f"{row.name}: {row.full_s:.2f} s{about}{accuracy} {row.note}".rstrip()


def text(rows: Sequence[Row]) -> str:
    """The whole report as Markdown."""
    table = Table(tuple(rows))
    if not rows:
        return f"{INTRO}\nNothing has been measured yet.\n"
    machines = sorted({r.machine for r in rows if r.seconds is not None})
    dates = sorted({r.date[:10] for r in rows})
    parts = [
        INTRO,
        f"Measured on {'; '.join(machines)}, {' to '.join(dates[:1] + dates[1:][-1:])}.",
    ]
    busy = max((r.load or 0.0 for r in rows), default=0.0)
    parts.append(f"The machine's load before a start was {busy:.1f} at most.")
    used = sorted({v for r in rows for v in r.versions.split(", ") if v})
    parts.append(f"Versions: {', '.join(used)}.\n")
    for data in sorted({r.data for r in rows}):
        some = next(r for r in rows if r.data == data)
        counted = next((r for r in rows if r.data == data and r.test_n), some)
        parts.append(f"## {data}: {counted.train_n} images to train on, {counted.test_n} to test\n")
        parts += [*_processes(table, data), ""]
    parts += ["## Memory and time by number of images\n", *_scale(table), ""]
    parts += ["## What was wanted\n", *_promises(table)]
    return "\n".join(parts) + "\n"


def _processes(table: Table, data: str) -> Iterator[str]:
    """One line a contender."""
    yield "| process | epochs | seconds | CPU s | peak MB | accuracy | × probe | × second run |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    fast, faster = table.full_s(data, COLD), table.full_s(data, WARM)
    for name, what in WHAT.items():
        found = table.of(data, name)
        if not found:
            continue
        row, seconds = found[-1], table.full_s(data, name)
        if seconds is None:
            yield f"| {what} | {row.note} | | | | | | |"
            continue
        note = f" ({row.note})" if row.note and not name.startswith("floor") else ""
        cells = [
            what + note,
            _epochs(row),
            ("" if row.whole else "≈ ") + f"{seconds:.2f}",
            _number(table.one(data, name, lambda r: r.cpu_s), "{:.1f}"),
            _number(table.one(data, name, lambda r: r.peak_mb), "{:.0f}"),
            _accuracy(row),
            _number(fast and seconds / fast, "{:.1f}"),
            _number(faster and seconds / faster, "{:.1f}"),
        ]
        yield f"| {' | '.join(cells)} |"


def _scale(table: Table) -> Iterator[str]:
    """One line a number of images."""
    yield "| images | seconds | ms for each image more | peak MB | of it not mapped from files |"
    yield "| --- | --- | --- | --- | --- |"
    for images, each in _marginal(table):
        name = f"scale-{images}"
        cells = [
            f"{images:,}",
            _number(table.full_s(TUNED, name), "{:.1f}"),
            _number(each and 1000 * each, "{:.2f}"),
            _number(table.one(TUNED, name, lambda r: r.peak_mb), "{:.0f}"),
            _number(table.one(TUNED, name, lambda r: r.anon_mb), "{:.0f}"),
        ]
        yield f"| {' | '.join(cells)} |"


def _marginal(table: Table) -> list[tuple[int, float | None]]:
    """Numbers of images, and what each image more than the number before cost in seconds."""
    counts = sorted({int(r.name[6:]) for r in table.rows if r.name.startswith("scale-")})
    out: list[tuple[int, float | None]] = []
    for before, images in zip([0, *counts], counts, strict=False):
        one, two = (table.full_s(TUNED, f"scale-{n}") for n in (before, images))
        each = None if one is None or two is None else (two - one) / (images - before)
        out.append((images, each))
    return out


def _promises(table: Table) -> Iterator[str]:
    """One line a promise."""
    yield "| what | measured | wanted | met |"
    yield "| --- | --- | --- | --- |"
    targets = [t for data in sorted({r.data for r in table.rows}) for t in _quick(table, data)]
    for t in [*targets, *_folder(table), *_deep(table), *_large(table)]:
        met = "" if t.met is None else "yes" if t.met else "**no**"
        yield f"| {t.what} | {t.measured} | {t.wanted} | {met} |"


def _quick(table: Table, data: str) -> Iterator[Target]:
    """The linear probe on one set."""
    cold, warm = table.full_s(data, COLD), table.full_s(data, WARM)
    if cold is None:
        return
    for name, what in ((COLD, "first run ever"), (NEW, "new images, later")):
        ours = table.full_s(data, name)
        others = {n: s / ours for n in RIVALS if ours and (s := table.full_s(data, n)) is not None}
        if others:
            least = min(others, key=others.__getitem__)
            measured = f"{others[least]:.1f} (least: {least})"
            text = f"{data}: probe, {what}: times faster than others"
            yield Target(text, measured, "≥ 20", others[least] >= 20)
    if any(table.of(data, n) for n in RIVALS):
        yield _as_accurate(table, data)
    if warm:
        ratio = cold / warm
        yield Target(f"{data}: second run, times faster", f"{ratio:.1f}", "≥ 3", ratio >= 3)
    for name, ours, run in (
        ("floor", table.full_s(data, NEW), "new images, later"),
        ("floor-torch", cold, "first run ever"),
    ):
        floor = table.full_s(data, name)
        if floor and ours:
            ratio = ours / floor
            what = f"{data}: probe, {run}: over {WHAT[name]}"
            yield Target(what, f"{ratio:.2f}", "≤ 1.3", ratio <= 1.3)
    look, after = (table.full_s(data, n) for n in ("recommend", "train-after-recommend"))
    if look and after:
        measured = f"{look:.1f} s, then {after:.1f} s; alone {cold:.1f} s"
        yield Target(
            f"{data}: `recommend`, then `train`", measured, "one pass over the images", None
        )


def _as_accurate(table: Table, data: str) -> Target:
    """The probe's accuracy against those who ran all their epochs."""
    ours = table.one(data, COLD, lambda r: r.accuracy) or 0.0
    whole = [r for n in RIVALS for r in table.of(data, n) if r.whole and r.accuracy is not None]
    better = [f"{r.name} {r.accuracy:.1%}" for r in whole if (r.accuracy or 0.0) > ours]
    above = f"above: {', '.join(better)}" if better else f"none of {len(whole)} above"
    met = None if not whole else not better
    return Target(f"{data}: probe's accuracy", f"{ours:.1%}; {above}", "equal or better", met)


def _folder(table: Table) -> Iterator[Target]:
    """Many images predicted at once."""
    many = table.full_s(PHOTOS, "predict-many")
    rates = (
        ("the engine alone", table.one(PHOTOS, "engine-many", lambda r: r.compute_s)),
        ("start, decode and forward passes", table.full_s(PHOTOS, "floor-many")),
    )
    for what, least in rates:
        if many and least:
            text = f"predict 1,000 images, whole process: share of the rate of {what}"
            yield Target(text, f"{least / many:.0%}", "≥ 80 %", least >= 0.8 * many)


def _deep(table: Table) -> Iterator[Target]:
    """Deep tuning against fastai and against a plain loop."""

    def points(one: str, two: str) -> float | None:
        # after a part of the epochs it says nothing
        a, b = (table.one(TUNED, n, lambda r: r.accuracy if r.whole else None) for n in (one, two))
        return None if a is None or b is None else 100 * (a - b)

    ours, theirs = table.full_s(TUNED, "deep"), table.full_s(TUNED, "fastai")
    if ours and theirs:
        measured = f"{ours:.0f} s against {theirs:.0f} s"
        yield Target("deep, whole process, faster than fastai", measured, "faster", ours < theirs)
    lead = points("deep", "fastai")
    if lead is not None:
        what = "deep more accurate than fastai"
        yield Target(what, f"{lead:+.1f} points", "≥ 25 points", lead >= 25)
    one, two, three = _epoch_seconds(table)
    if one and two:
        measured = f"{two / one:.2f} ({one:.2f} s against {two:.2f} s)"
        yield Target(
            "deep, an epoch, times faster than a plain loop", measured, "≥ 2", two >= 2 * one
        )
    if one and three:
        what = "the same against its forward and backward passes alone"
        yield Target(what, f"{three / one:.2f}", "", None)
    lead = points("deep", "deep-eager")
    if lead is not None:
        yield Target("deep against the plain loop", f"{lead:+.1f} points", "no worse", None)


def _epoch_seconds(table: Table) -> tuple[float | None, float | None, float | None]:
    """Of our deep tuning, of the plain loop, and of what that one computes."""
    each: Callable[[Row], float | None] = lambda r: r.epoch_s  # noqa: E731 - used twice
    return (
        table.one(TUNED, "deep", each),
        table.one(TUNED, "deep-eager", each),
        table.one(TUNED, "deep-eager", lambda r: r.compute_s),
    )


def _large(table: Table) -> Iterator[Target]:
    """Many images against a thousand."""
    found = _marginal(table)
    if len(found) < 2:
        return
    few, many = found[0][0], found[-1][0]
    for what, value in (
        ("peak memory", lambda r: r.peak_mb),
        ("memory not mapped from files", lambda r: r.anon_mb),
    ):
        one, two = (table.one(TUNED, f"scale-{n}", value) for n in (few, many))
        if one is not None and two is not None:
            name = f"{what} at {many:,} images over that at {few:,}"
            yield Target(name, f"{two - one:+.0f} MB", "≤ 200 MB", two - one <= 200)
    first, last = found[1][1], found[-1][1]
    if len(found) > 2 and first and last:
        change = last / first - 1
        what = f"an image more, up to {many:,} against up to {found[1][0]:,}: its time"
        yield Target(what, f"{change:+.0%}", "within 10 %", abs(change) <= 0.1)


def _epochs(row: Row) -> str:
    if row.epochs_of is None:
        return ""
    return str(row.epochs_of) if row.whole else f"{row.epochs_run} of {row.epochs_of}"


def _accuracy(row: Row) -> str:
    if row.accuracy is None:
        return ""
    found = f"{row.accuracy:.1%}"
    if row.last_accuracy is not None and row.last_accuracy != row.accuracy:
        found += f", last {row.last_accuracy:.1%}"
    return found if row.whole else f"({found})"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
