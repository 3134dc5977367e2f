"""What lies in the cache, and emptying it."""

from __future__ import annotations

import contextlib
import shutil

from finetune.records.answers import CacheUsage
from finetune.records.errors import CacheError, cause, refusals
from finetune.storage import cache_place, feature_cache, feature_parts, model_cache
from finetune.storage.cache_place import FEATURES, FOLDER_VARIABLE, MODELS
from finetune.storage.feature_cache import FAULTS


def usage() -> CacheUsage:
    """What lies in the cache."""
    place = cache_place.folder()
    if place is None:
        return CacheUsage(folder=None, limit_bytes=cache_place.limit_bytes())
    images, size = 0, model_cache.bytes_below(place, f"{FEATURES}*")
    with (
        contextlib.suppress(*FAULTS),  # a damaged one has its bytes, and no images
        contextlib.closing(feature_cache.opened_to_count(place)) as database,
    ):
        images = database.execute("SELECT count(DISTINCT image) FROM features").fetchone()[0]
        size = feature_cache.database_bytes(database)
    parts = feature_parts.files(place)
    models = [p for p in model_cache.model_folders(place / MODELS) if not p.name.startswith(".")]
    return CacheUsage(
        folder=str(place),
        limit_bytes=cache_place.limit_bytes(),
        images=images,
        feature_bytes=size,
        models=len(models),
        model_bytes=sum(model_cache.bytes_below(model) for model in models),
        parts=len(parts),
        part_bytes=model_cache.bytes_below(place / feature_parts.FOLDER, "*/*"),
    )


def clear() -> CacheUsage:
    """Empty the cache and nothing else that may lie there; returns what was in it.

    Raises:
        CacheError: something could not be removed.
    """
    before = usage()
    place = cache_place.folder()
    if place is None:
        return before
    with refusals(
        lambda error: CacheError(
            f"cannot empty the cache in {place}: {cause(error)}",
            hint=f"Remove the folder yourself, or set {FOLDER_VARIABLE} to another.",
        )
    ):
        for file in place.glob(f"{FEATURES}*"):
            file.unlink(missing_ok=True)
        feature_parts.clear(place)
        for model in model_cache.model_folders(place / MODELS):
            shutil.rmtree(model)
    return before
