"""The story of `export`: write aside, check on pictures, put in place or leave nothing."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from finetune.deploy import drawn_pictures, formats, outputs, parity, predictor, readmes
from finetune.pictures import bands
from finetune.records.answers import Exported, Int8
from finetune.records.choices import Format
from finetune.records.errors import (
    DataError,
    ExportError,
    TakenError,
    UsageError,
    refusals,
    safe_name,
)
from finetune.records.events import Listener
from finetune.records.run import RunFacts
from finetune.report import target_words
from finetune.runs import places, run_folder
from finetune.sources import files
from finetune.storage import atomic_files
from finetune.storage.arrays import Array
from finetune.workflows import export_int8

OWN_PICTURES = 40  # of the run's data, or --images
LEAST_PICTURES = 32
DRAWN_PICTURES = 8  # one of each kind, always


def run_export(
    run: Path,
    kind: Format,
    out: Path | None,
    *,
    images: Path | None = None,
    int8: bool = False,
    max_loss: float = 1.0,
    listener: Listener,
) -> Exported:
    """`finetune export RUN`: a run for other programs, checked against `predict`.

    Args:
        run: Its folder.
        kind: The format.
        out: Where to write; beside the run where None.
        images: Pictures to check on; the run's own where None.
        int8: Layers in 8 bits.
        max_loss: In points of accuracy or mAP, or percent of RMSE, the most these may lose.
        listener: Hears of progress.

    Raises:
        ExportError: the format cannot express the model, or the export answers otherwise; nothing
            is written then.
        TakenError: something stands in that place.
    """
    formats.require(kind)
    if int8:
        export_int8.require(kind)
    loaded = run_folder.load(run)
    if int8:
        _require_measurable(loaded.facts)
    end, single = formats.ENDS[kind]
    place = out or run.resolve().with_name(f"{run.resolve().name}{'-int8' * int8}{end}")
    name = _require_place(loaded.facts, place, kind, run)
    ranges = export_int8.pictures(run, loaded.facts, images) if int8 else None
    with _aside(place) as folder, tempfile.TemporaryDirectory(prefix="finetune-") as scratch:
        listener.step(f"exporting {run} as {kind}")
        expected = _expected(run, loaded.facts, images, Path(scratch), listener)
        job = _Job(run, kind, loaded, folder, name, expected[0], listener)
        if ranges is None:
            found, cost = job.plain(), None
        else:
            found, cost = job.in_8_bits(ranges, max_loss)
        written = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        sizes = {p.relative_to(folder).as_posix(): p.stat().st_size for p in written}
        _put(folder, place, name, single=single)
    return Exported(
        path=safe_name(str(place)),
        format=kind,
        run=safe_name(str(run)),
        files=sizes,
        checked=found.checked,
        labels_equal=found.labels_equal,
        ties=found.ties,
        max_difference=found.max_difference,
        allowed_difference=parity.ALLOWED if cost is None else 1.0,
        worst=found.worst.replace(f"{scratch}/", "drawn "),
        pictures=expected[1],
        int8=cost,
        target=None if loaded.facts.target is None else loaded.facts.target.kind,
    )


@dataclass(frozen=True)
class _Job:
    """One export: what is written where, and what `predict` says of the pictures to check on."""

    run: Path
    kind: Format
    loaded: run_folder.LoadedRun
    folder: Path
    name: str
    expected: parity.Expected
    listener: Listener

    def plain(self) -> parity.Agreement:
        """Write it in full precision, and refuse it where it answers otherwise."""
        made = formats.write(self.kind, self.loaded, self.folder, self.name)
        found = self._checked(made)
        formats.describe(self.kind, self.loaded.facts, made, self.folder, score=self._score())
        return found

    def in_8_bits(
        self, chosen: export_int8.Pictures, max_loss: float
    ) -> tuple[parity.Agreement, Int8]:
        """Write it in 8 bits, once the same in full precision has passed."""
        network = formats.onnx_content(self.loaded)
        facts, listener = self.loaded.facts, self.listener
        with tempfile.TemporaryDirectory(prefix="finetune-") as beside:
            full = formats.write(self.kind, self.loaded, Path(beside), self.name, network)
            self._checked(full)
            small = export_int8.network(self.loaded, network, chosen, listener)
            made = formats.write(self.kind, self.loaded, self.folder, self.name, small)
            found = parity.compare(made.answer, self.expected, listener.progress)
            sizes = _size(self.folder), _size(Path(beside))
            cost = export_int8.measured(
                self.run, facts, (made, full), sizes, chosen, max_loss, listener
            )
        formats.describe(self.kind, facts, made, self.folder, cost, score=self._score())
        return found.agreement, cost

    def _score(self) -> str:
        """How good the run is, for the README."""
        if self.loaded.facts.target is None:
            return readmes.accuracy(self.loaded.facts)
        result = run_folder.load_target_result(self.run)
        metrics = result.test or result.estimate
        score, rest = target_words.headline(metrics)
        return f"{score} {rest} {'test images' if result.test else result.estimate_source}"

    def _checked(self, made: formats.Export) -> parity.Agreement:
        self.listener.step(f"checking {self.kind} on {len(self.expected.paths)} pictures")
        classes = self.loaded.facts.classes
        return parity.check(made.answer, self.expected, classes, self.listener.progress)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _require_place(facts: RunFacts, place: Path, kind: Format, run: Path) -> str:
    """What the model is called, after its file or its run, where its place is free.

    Raises:
        ExportError: the name does not say the format.
        TakenError: something stands there.
    """
    end, single = formats.ENDS[kind]
    name = place.name.removesuffix(end) if single else _model_name(run)
    if single and (place.suffix != end or not name):
        raise ExportError(
            f"{place} is no name for {kind}", hint=f"Give one that ends in {end}: --out model{end}"
        )
    places.require_outside(facts.data_root, place)
    taken = [place, place.with_suffix(".md")] if single else [place]
    for path in taken:
        if os.path.lexists(path):
            raise TakenError(f"{path} exists already", hint="Give another --out, or remove it.")
    return name


def _model_name(run: Path) -> str:
    """What the model is called in a folder: letters that every repository takes."""
    name = "".join(
        c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in run.resolve().name
    )
    return name or "model"


@contextlib.contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """An empty folder beside a place, which is gone afterwards unless it was moved."""
    with refusals(
        lambda error: ExportError(
            f"cannot write {place}: {error.strerror}", hint="Give another --out, or make room."
        )
    ):
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".finetune-export-", dir=place.parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _put(folder: Path, place: Path, name: str, *, single: bool) -> None:
    """Flush what was written, and rename it to its place."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            atomic_files.flush(path)
    if not single:
        folder.chmod(0o777 & ~_umask(folder))
        folder.rename(place)
    else:
        (folder / f"{name}.md").rename(place.with_suffix(".md"))
        (folder / place.name).rename(place)
    atomic_files.flush(place.parent)


def _umask(folder: Path) -> int:
    """What the system takes from a new folder's rights: asked of one, as it cannot be read."""
    probe = folder / ".probe"
    probe.mkdir()
    mode = probe.stat().st_mode & 0o777
    probe.rmdir()
    return 0o777 ^ mode


def _expected(
    run: Path, facts: RunFacts, images: Path | None, scratch: Path, listener: Listener
) -> tuple[parity.Expected, str]:
    """What `predict` says of the pictures to check on, and where these are from."""
    own, where = _own(run, facts, images)
    drawn = drawn_pictures.draw(scratch, max(DRAWN_PICTURES, LEAST_PICTURES - len(own)))
    if own:
        where = f"{len(own)} pictures {where} and {len(drawn)} drawn ones"
    else:
        where = f"{len(drawn)} drawn pictures: {where}"
        listener.note(f"checked on drawn pictures alone: {where}")
    paths = [*own, *drawn]
    # an export takes red, green and blue: that these are bands of a TIFF is for who calls it
    seen = replace(facts, preprocess=replace(facts.preprocess, bands=None))
    found = predictor.run_logits(run, seen, paths, device="cpu", listener=listener)
    likely = np.concatenate([some for _, some in found.probabilities()])
    kept = tuple(paths[i] for i in found.kept.tolist())
    target = facts.target
    if target is None:
        return parity.Expected(kept, likely), where
    if target.kind == "labels":
        least = outputs.thresholds(target, facts.classes)
        return parity.Expected(kept, likely, thresholds=least), where
    return parity.Expected(kept, likely, scale=_deviation(run, facts)), where


def _deviation(run: Path, facts: RunFacts) -> Array:
    """Of the numbers that the run learned from, float64[K]; 1 where it keeps none."""
    kept = [s.values for s in run_folder.load_splits(run).fitting if s.values]
    found = np.array(kept, np.float64).reshape(-1, len(facts.classes)).std(axis=0)
    return np.where(found > 0, found, 1.0)


def _require_measurable(facts: RunFacts) -> None:
    """Refuse 8 bits where what they lose cannot be measured on files as any program reads them.

    Raises:
        UsageError: the run's pictures are bands of TIFFs.
    """
    taken = facts.preprocess.bands
    if taken is not None:
        raise UsageError(
            "--int8 is measured on the run's pictures as any program reads them, and here "
            f"{bands.told(taken)}",
            hint="Export without --int8.",
        )


def _own(run: Path, facts: RunFacts, images: Path | None) -> tuple[list[Path], str]:
    """Pictures of `--images`, else of the run's data: some of each class, the unseen first."""
    if images is not None:
        listed = files.list_images([images])
        readable = [p for i, p in enumerate(listed.files) if i not in listed.faults]
        every = max(1, len(readable) // OWN_PICTURES)
        chosen = [p for p in readable[::every] if parity.fair(p)][:OWN_PICTURES]
        if not chosen:
            raise DataError(
                f"no picture of 8 bits that can be read in {images}",
                hint=f"Give another folder: --images {shlex.quote('DIR')}",
            )
        return chosen, f"of {images}"
    splits, root = run_folder.load_splits(run), export_int8.place_of(facts)
    turn: dict[int, int] = {}
    ranked: list[tuple[int, int, Path]] = []
    for sample in (*splits.test, *splits.val, *splits.train):
        turn[sample.label] = turn.get(sample.label, 0) + 1
        ranked.append((turn[sample.label], len(ranked), root / sample.path))
    chosen = []
    for _, _, path in sorted(ranked):
        if len(chosen) == OWN_PICTURES:
            break
        if path.is_file() and parity.fair(path):
            chosen.append(path)
    if not chosen and facts.preprocess.bands is not None:
        return [], f"{bands.told(facts.preprocess.bands)}, which other programs do not read so"
    return chosen, f"of {root}" if chosen else f"no picture of the run lies in {root} any more"
