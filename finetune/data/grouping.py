"""Which images go together: exact copies, near duplicates, and what `--group` finds in names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from finetune.records.dataset import Sample
from finetune.records.errors import UsageError
from finetune.sources import names


def groups(
    samples: Sequence[Sample],
    clusters: Iterable[Sequence[Sample]],
    pattern: re.Pattern[str] | None,
    *,
    must_match: bool = True,
) -> dict[str, str]:
    """The name of each image's group by path, where it has one beside its exact copies.

    Near duplicates, and files whose names `--group` finds the same in, are joined, in chains. A
    group is called by its least name, so that it keeps its side when files of that name are added.

    Args:
        samples: Images with digests.
        clusters: Those of them that are near duplicates.
        pattern: That of `--group`; where it finds nothing, a group that a list names counts.
        must_match: Whether a pattern that finds nothing is a fault.

    Raises:
        UsageError: the pattern matches no file.
    """
    parent: dict[str, str] = {}

    def head(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = key = parent[parent[key]]
        return key

    def join(keys: Iterable[str]) -> None:
        heads = sorted({head(key) for key in keys})
        parent.update(dict.fromkeys(heads, heads[0]))

    for cluster in clusters:
        join(f"near {s.digest}" for s in cluster)
    matched = False
    for sample in samples:
        label = None if pattern is None else names.found_in(pattern, sample.path)
        matched |= label is not None
        label = label if label is not None else sample.group or None
        # "group" sorts before "near": a group that has a name is called by it
        join([f"near {sample.digest}", *([] if label is None else [f"group {label}"])])
    if pattern is not None and not matched and must_match:
        raise UsageError(
            f"--group '{pattern.pattern}' matches no file name, such as "
            f"'{PurePosixPath(samples[0].path).name}'",
            hint="Try the expression on a few of your file names.",
        )
    sizes = Counter(head(key) for key in list(parent))
    heads = {s.path: head(f"near {s.digest}") for s in samples}
    return {path: name for path, name in heads.items() if sizes[name] > 1}


def units(
    samples: Sequence[Sample],
    clusters: Iterable[Sequence[Sample]] = (),
    pattern: re.Pattern[str] | None = None,
) -> list[str]:
    """What is never divided, of each image: equal ones go together.

    Args:
        samples: Images with digests; groups that they have already are kept.
        clusters: As for `groups`.
        pattern: As for `groups`; where it finds nothing, nothing is grouped by it.
    """
    known = groups(samples, clusters, pattern, must_match=False)
    return [s.group or known.get(s.path, s.digest) for s in samples]
