"""A data set looked at before anything learns from it: groups, splits, and what the checks say.

Each file is glanced at once (its header, and a picture of 32 pixels), which is all that is read.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.data import check_subject, checks, grouping, near_duplicates, split
from finetune.data.check_subject import Subject
from finetune.pictures import bands, decoding, small_copies
from finetune.pictures.bands import Bands
from finetune.pictures.decoding import Glance
from finetune.records.dataset import Check, Dataset, Finding, Sample, Splits
from finetune.records.errors import DataError, ImageError
from finetune.records.options import DataOptions
from finetune.sources import files, findings, names, readers
from finetune.storage import arrays, atomic_files, cache_place, feature_cache
from finetune.storage.arrays import Filed

KEPT_AT_ONCE = 500
OPAQUE = frozenset({"JPEG", "MPO", "BMP", "DIB", "PPM"})  # formats without transparency
# Images that are read or wait to be taken: enough that no thread waits for a slow one, and two
# megabytes of small copies at most.
IN_FLIGHT = 256
SMALL_BYTES = 32_000_000  # small pictures beyond this lie in a file: of 10,000 images


@dataclass(frozen=True)
class Examination:
    """A data set with groups, less its unreadable images; its splits; and what the checks said."""

    dataset: Dataset
    splits: Splits
    checks: tuple[Check, ...]
    subject: Subject
    looked: Looked

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What did not pass."""
        return checks.findings(self.checks)


def examine(
    asked: DataOptions,
    seed: int,
    progress: Callable[[int, int], None],
    *,
    with_test: bool = False,
    learnt: Set[str] = frozenset(),
) -> Examination:
    """Scan, look at every image, group, split, check.

    Args:
        asked: The folder, how to split and group, and what is to stop.
        seed: Another seed is another split.
        progress: Called with (done, total) images looked at.
        with_test: Look at a ready-made test too, whose images are else left alone to the end; so
            does `strict`, since a leak can only be found there.
        learnt: As for `split.split`.

    Raises:
        DataError: no data set; unreadable images where these are an error; with `strict`, any
            warning.
        UsageError: `--group` or `--label-from` is not a regular expression, `--group` matches
            no file, or a fraction is out of range.
    """
    root = readers.root_of(asked.root, asked.columns)
    pattern = names.compiled("--group", asked.group, "^(patient[0-9]+)_")
    label_from = names.compiled("--label-from", asked.label_from, r"^([a-z]+)\.")
    whole = readers.read(asked.root, label_from, asked.target, asked.columns)
    with_test = with_test or asked.strict or whole.test is None
    whole = _digested(whole, root) if with_test else whole
    samples = check_subject.labelled(whole, test=with_test)
    side = None if asked.near_duplicates == "ignore" else near_duplicates.SIDE_PX
    taken = bands.parsed(asked.bands)
    looked = Looked.nothing(len(check_subject.labelled(whole, test=True)), side, taken)
    looked = look(root, samples, side, progress, looked)
    if asked.on_bad_image == "error":
        _refuse(looked.faults | _closed(whole), root)
    clusters = near_clusters(samples, looked)
    dataset = _usable(whole, grouping.groups(samples, clusters, pattern), looked.faults)
    splits = split.split(
        dataset,
        seed=seed,
        val_fraction=asked.val_fraction,
        test_fraction=asked.test_fraction,
        max_per_class=asked.max_per_class,
        learnt=learnt,
    )
    subject = Subject(
        dataset=whole,
        splits=splits,
        glances=looked.glances,
        faults=looked.faults,
        plain=looked.plain,
        strays=_strays(root, whole),
        clusters=clusters,
        pattern=pattern,
        seen_test=with_test,
        compared=side is not None,
        hidden=_hidden(root, looked),
    )
    found = checks.run(subject)
    if asked.strict:
        _require_health(found, root)
    return Examination(dataset, splits, found, subject, looked)


@dataclass
class Looked:
    """What was seen of each image, by path; why the others cannot be read; which have one colour.

    `small` has room for a row of each labelled image, those of a ready-made test last: what
    `small_copies.packed` makes of it. None where images are not compared. `bands`
    are those of a TIFF that are looked at.
    """

    small: npt.NDArray[np.float32] | Filed | None
    glances: dict[str, Glance] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    plain: set[str] = field(default_factory=set)
    bands: Bands | None = None

    @classmethod
    def nothing(cls, count: int, side_px: int | None, taken: Bands | None = None) -> Looked:
        """Room for so many images, with small copies of `side_px` or without."""
        width = small_copies.packed_width(side_px or 0)
        small = None if side_px is None else arrays.new(count, width, SMALL_BYTES)
        return cls(small, bands=taken)

    def missing(self, samples: Sequence[Sample]) -> list[int]:
        """The numbers of those that were not looked at yet."""
        seen = self.glances.keys() | self.faults.keys()
        return [i for i, sample in enumerate(samples) if sample.path not in seen]

    def take(self, path: str, seen: Glance) -> None:
        """Add what was seen of one image, less its small copy."""
        if seen.thumb is not None and near_duplicates.is_plain(seen.thumb):
            self.plain.add(path)
        self.glances[path] = replace(seen, thumb=None)


def look(
    root: Path,
    samples: Sequence[Sample],
    side_px: int | None,
    progress: Callable[[int, int], None],
    looked: Looked | None = None,
) -> Looked:
    """Glance at images in threads.

    With small copies, what was seen is kept in the cache, so that no image is unpacked twice.

    Args:
        root: Where the images lie.
        samples: Which they are.
        side_px: Side of the small copies; None without them.
        progress: Called with (done, total) images looked at.
        looked: What was seen of some of them before; it is added to.
    """
    looked = looked or Looked.nothing(len(samples), side_px)
    small = looked.small
    # why a cache cannot be used is told when features are taken
    store = None if small is None else feature_cache.Features(lambda _: None)
    of = [] if looked.bands is None else [str(looked.bands)]
    key = cache_place.key("glance", str(side_px), *of, versions=(decoding.PIXELS_VERSION,))
    if store is not None and small is not None and side_px is not None:
        new, width = looked.missing(samples), small_copies.packed_width(side_px)
        for at, row in store.find(key, [samples[i].digest for i in new], width):
            small[[new[at]]] = row[None]
            looked.take(samples[new[at]].path, small_copies.unpacked(row, side_px))

    def attempt(number: int) -> Glance | str:
        try:
            return decoding.glance(root / samples[number].path, side_px, looked.bands)
        except ImageError as error:
            return error.reason

    new = looked.missing(samples)
    total, known = len(samples), len(samples) - len(new)
    progress(known, total)
    results = decoding.in_order(new, attempt, IN_FLIGHT, os.cpu_count())
    with contextlib.closing(results):
        for done, (i, seen) in enumerate(zip(new, results, strict=True), start=1):
            if isinstance(seen, str):
                looked.faults[samples[i].path] = seen
            else:
                if small is not None:
                    small[[i]] = small_copies.packed(seen)[None]
                looked.take(samples[i].path, seen)
            progress(known + done, total)
    if store is not None and small is not None:
        # what has been changed since its digest was taken would be kept under the old one
        good = [
            i
            for i in new
            if samples[i].digest
            and samples[i].path in looked.glances
            and atomic_files.unchanged(root / samples[i].path, samples[i].digest)
        ]
        for start in range(0, len(good), KEPT_AT_ONCE):
            some = np.array(good[start : start + KEPT_AT_ONCE])
            store.keep(key, [samples[i].digest for i in some], small[some])
        store.close()
    paths = (s.path for s in samples)
    looked.glances = {path: looked.glances[path] for path in paths if path in looked.glances}
    return looked


def late_findings(examined: Examination | None, root: Path) -> tuple[Finding, ...]:
    """What shows only once a ready-made test may be looked at: near duplicates and groups across.

    Exact copies are found by the test itself. Nothing where the test was looked at before.
    """
    if examined is None or examined.subject.seen_test:
        return ()
    before = examined.subject
    whole = _digested(before.dataset, root)
    samples = check_subject.labelled(whole, test=True)
    side = near_duplicates.SIDE_PX if before.compared else None
    looked = look(root, samples, side, lambda *_: None, examined.looked)
    after = replace(
        before,
        dataset=whole,
        glances=looked.glances,
        faults=looked.faults,
        plain=looked.plain,
        clusters=near_clusters(samples, looked),
        seen_test=True,
    )
    return checks.findings(checks.run_late(after))


def _closed(dataset: Dataset) -> dict[str, str]:
    """Files and folders that may not be read, or are not there, with the reason."""
    why = {
        findings.LISTED["closed"].code: "no right to read it",
        findings.LISTED["missing"].code: "no such file",
    }
    return {p: why[f.code] for f in dataset.findings if f.code in why for p in f.paths}


def _refuse(faults: Mapping[str, str], root: Path) -> None:
    if faults:
        raise DataError(
            f"{len(faults)} image(s) of {root} cannot be read: "
            + "; ".join(
                f"{path} ({why})" for path, why in list(faults.items())[: check_subject.SHOWN]
            ),
            hint="Repair or remove them, or use --on-bad-image skip.",
        )


def _require_health(found: Iterable[Check], root: Path) -> None:
    alarms = [c for c in found if c.alarming]
    if alarms:
        raise DataError(
            f"--strict: {root} has {len(alarms)} warning(s): "
            + "; ".join(f"{c.code} {c.text}" for c in alarms[: check_subject.SHOWN])
            + (" …" if len(alarms) > check_subject.SHOWN else ""),
            hint=f"Fix them, or leave out --strict; finetune check {shlex.quote(str(root))} "
            "lists the files.",
        )


def _digested(dataset: Dataset, root: Path) -> Dataset:
    """The data set with digests of its ready-made test too, where the files can be read."""

    def digested(sample: Sample) -> Sample:
        try:
            return replace(sample, digest=sample.digest or files.digest_file(root / sample.path))
        except DataError:  # looking at it will tell
            return sample

    if dataset.test is None:
        return dataset
    return replace(dataset, test=tuple(digested(s) for s in dataset.test))


def _usable(dataset: Dataset, groups: Mapping[str, str], faults: Mapping[str, str]) -> Dataset:
    """The data set with groups, less the images that cannot be read."""

    def kept(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
        return tuple(
            replace(s, group=groups.get(s.path, "")) for s in samples if s.path not in faults
        )

    return replace(
        dataset,
        pool=kept(dataset.pool),
        val=None if dataset.val is None else kept(dataset.val),
        test=None if dataset.test is None else kept(dataset.test),
    )


def near_clusters(samples: Sequence[Sample], looked: Looked) -> tuple[tuple[Sample, ...], ...]:
    """Groups of near duplicates that are not all the same file, in the order of their first."""
    if looked.small is None:
        return ()
    first: dict[str, int] = {}
    for i, sample in enumerate(samples):
        if sample.path in looked.glances:
            first.setdefault(sample.digest, i)
    small = small_copies.Small(
        looked.small, np.array([*first.values()], np.int64), near_duplicates.SIDE_PX
    )
    cluster = dict(zip(first, near_duplicates.clusters(small).tolist(), strict=True))
    sizes = Counter(cluster.values())
    members = defaultdict(list)
    for sample in samples:
        if sizes[cluster.get(sample.digest, -1)] > 1:
            members[cluster[sample.digest]].append(sample)
    return tuple(tuple(members[key]) for key in sorted(members))


def _hidden(root: Path, looked: Looked) -> set[str]:
    """Plain pictures in which there is something to see, were it not for their transparency."""
    return {
        path
        for path in looked.plain
        if looked.glances[path].format not in OPAQUE and decoding.hidden(root / path)
    }


def _strays(root: Path, dataset: Dataset) -> dict[str, str]:
    """Formats of files that are images although their names do not say so, by path."""
    hidden = {}
    for finding in dataset.findings:
        if finding.code in (findings.LISTED["other"].code, findings.LISTED["foreign"].code):
            for path in finding.paths:
                try:
                    hidden[path] = decoding.glance(root / path).format
                except ImageError:  # what its name says: no image
                    continue
    return hidden
