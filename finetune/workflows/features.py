"""The story of `features`: look, split, and compute the features of one share of the images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from finetune.analysis import analyze, bodies, look
from finetune.analysis.clock import Clock
from finetune.backbones import features
from finetune.records.backbone_choice import AUTO
from finetune.records.errors import CacheError, DataError, UsageError, cause, refusals, safe_name
from finetune.records.events import Listener, Silent
from finetune.records.options import Options
from finetune.records.sharding import FeaturesMade, Shard, ShardImages
from finetune.sources import readers
from finetune.storage import atomic_files, cache_place, feature_cache, feature_parts
from finetune.workflows import begin

# Images of one part: so many are lost at most where a process is killed, a minute on a slow CPU,
# and so many rows are held in memory.
PART_IMAGES = 2048


@dataclass
class _Made:
    """What has been done so far."""

    parts: list[Path] = field(default_factory=list)
    bytes: int = 0
    known: int = 0
    computed: int = 0
    unreadable: list[str] = field(default_factory=list)


class _Ahead(Silent):
    """Progress of one block, told as that of the whole share."""

    def __init__(self, listener: Listener, done: int, total: int) -> None:
        self._listener, self._done, self._total = listener, done, total

    def progress(self, done: int, total: int) -> None:  # noqa: ARG002 - of the block alone
        """Of so many images of the block so many are done."""
        self._listener.progress(min(self._done + done, self._total), self._total)


def run_features(options: Options, listener: Listener, shard: Shard) -> FeaturesMade:
    """`finetune features DIR`: what `train` will ask for, kept where it looks for it.

    Every process reads and checks all files, since the split depends on all of them, and runs the
    network on its share alone.

    Args:
        options: The images, the split and the backbone, as for `train`.
        listener: Hears of progress.
        shard: Which share of the images that are not test.

    Raises:
        UsageError: the backbone is to be chosen, which needs features of its own.
        CacheError: the cache is switched off, or has no room.
        DataError: an image cannot be read, where that is an error.
    """
    _require(options)
    place = cache_place.folder()
    if place is None:
        raise CacheError(
            f"{cache_place.FOLDER_VARIABLE} is off, and features are kept in the cache",
            hint=f"Set {cache_place.FOLDER_VARIABLE} to a folder that all processes see.",
        )
    clock, began = Clock(listener), time.perf_counter()
    seen = look.look(options, listener, clock, kept=False)
    root = readers.root_of(options.data.root, options.data.columns)
    every = seen.fitting
    paths = [root / sample.path for sample in every]
    # as for all images, so that every shard chooses the same runtime
    body = bodies.prepare(options, paths, seen.scaled, listener, clock)
    if not body.engine.key:
        raise CacheError(
            f"the features of {body.facts.backbone.name} with these weights cannot be kept",
            hint="Give weights that have an identity: a file, or the backbone's own.",
        )
    box, side = analyze.box_of(options, body), body.facts.backbone.preprocess.side_px
    key = features.kept_by(body.engine, seen.scaled, box)
    width = max(stop for _, stop in body.engine.layout.values())
    chosen = list(range(len(every)))[shard.share(len(every))]
    made, store = _Made(), feature_cache.Features(listener.note)
    with clock.step("features", f"shard {shard}: {len(chosen)} of {len(every)} images"):
        for start in range(0, len(chosen), PART_IMAGES):
            block = chosen[start : start + PART_IMAGES]
            digests = [every[i].digest for i in block]
            found = {k for k, _ in store.find(key, digests, width)}
            made.known += len(found)
            missing = [i for k, i in enumerate(block) if k not in found]
            ahead = _Ahead(listener, start + len(found), len(chosen))
            table = features.extract(
                *([paths[i] for i in missing], body.engine, side, ahead), None, seen.scaled, box
            )
            _require_readable(options, [fault.message for _, fault in table.faults])
            made.unreadable += [fault.message for _, fault in table.faults]
            kept = [missing[k] for k in table.kept.tolist()]
            digests = [every[i].digest for i in kept]
            _keep(place, key, [paths[i] for i in kept], digests, table, made)
    store.close()
    return FeaturesMade(
        data=safe_name(options.data.root),
        backbone=body.facts.backbone.name,
        runtime=body.engine.runtime,
        shard=shard,
        images=ShardImages(
            total=len(every),
            own=len(chosen),
            known=made.known,
            computed=made.computed,
            unreadable=tuple(made.unreadable),
        ),
        width=width,
        folder=str(place),
        parts=tuple(str(part.relative_to(place)) for part in made.parts),
        bytes=made.bytes,
        seconds=time.perf_counter() - began,
    )


def _require(options: Options) -> None:
    """Refuse what cannot be done before any image is read."""
    begin.check_options(options)
    if options.backbone.name == AUTO:
        raise UsageError(
            f"--backbone {AUTO} is chosen by features of some images, and here they are made",
            hint="Name the backbone; finetune recommend DIR --backbone auto says which it takes.",
        )


def _require_readable(options: Options, messages: Sequence[str]) -> None:
    if messages and options.data.on_bad_image == "error":
        raise DataError(
            f"{len(messages)} image(s) cannot be read: " + "; ".join(messages[:5]),
            hint="Repair or remove them, or use --on-bad-image skip.",
        )


def _keep(
    place: Path,
    key: str,
    paths: Sequence[Path],
    digests: Sequence[str],
    table: features.Table,
    made: _Made,
) -> None:
    """Write the rows of one block, less those of files that were changed since they were read."""
    same = [
        k
        for k, (path, digest) in enumerate(zip(paths, digests, strict=True))
        if atomic_files.unchanged(path, digest)
    ]
    made.computed += len(same)
    if not same:
        return
    with refusals(
        lambda error: CacheError(
            f"cannot keep features in {place}: {cause(error)}",
            hint=f"Make room there, or set {cache_place.FOLDER_VARIABLE} to another folder.",
        )
    ):
        rows = table.rows[np.array(same, np.int64)]
        part, size = feature_parts.write(place, key, [digests[k] for k in same], rows)
    made.parts.append(part)
    made.bytes += size
