"""A result as text that its own reader takes: at most so many entries of each list."""

from __future__ import annotations

import json
from dataclasses import replace

from finetune.records.codec import to_builtins
from finetune.records.metrics import Metrics
from finetune.records.run import RunResult
from finetune.records.target_result import TargetResult

# The most that is read of a file: ten thousand classes with long names take 3 MB, one and a half
# million images 250 MB.
MOST_FACTS_BYTES, MOST_SPLITS_BYTES = 32_000_000, 256_000_000
# Where a result is too long: at most so many entries of each list, tried in turn. Cells of a
# confusion matrix have few bytes, and are worth more.
MOST_LISTED = (30_000, 10_000, 3_000, 1_000, 100)
CELLS_PER_ENTRY = 100
PRETTY_CHARS = 1_000_000


def fitting(result: RunResult | TargetResult) -> str:
    """`result.json`, in as many bytes as are read of it.

    Lists that grow with the images are cut where they would be too long: wrong answers, the files
    of a finding, and at last the rarest cells of the confusion matrices. Their numbers stand in the
    figures and titles.
    """
    if isinstance(result, TargetResult):
        few = tuple(replace(f, paths=f.paths[: MOST_LISTED[-1]]) for f in result.findings)
        text = pretty(result)
        if len(text.encode(errors="backslashreplace")) <= MOST_FACTS_BYTES:
            return text
        return pretty(replace(result, findings=few))
    longest = max(map(len, (result.errors, *(f.paths for f in result.findings))))
    for most in (*([None] if longest <= MOST_LISTED[0] else []), *MOST_LISTED):
        text = pretty(_cut(result, most))
        if len(text.encode(errors="backslashreplace")) <= MOST_FACTS_BYTES:
            break
    return text


def _cut(result: RunResult, most: int | None) -> RunResult:
    """The result with at most so many entries in each list that grows with the images."""

    def fewer(metrics: Metrics) -> Metrics:
        if most is None or len(metrics.cells) <= CELLS_PER_ENTRY * most:
            return metrics
        largest = sorted(metrics.cells, key=lambda c: -c[2])[: CELLS_PER_ENTRY * most]
        return replace(metrics, cells=tuple(sorted(largest)))

    return replace(
        result,
        errors=result.errors[:most],
        findings=tuple(replace(f, paths=f.paths[:most]) for f in result.findings),
        test=None if result.test is None else fewer(result.test),
        estimate=fewer(result.estimate),
    )


def pretty(record: object) -> str:
    """JSON with a value a line; on one line where that is longer than people read."""
    flat = to_builtins(record)
    text = json.dumps(flat, ensure_ascii=False, separators=(",", ":"))
    if len(text) <= PRETTY_CHARS:
        text = json.dumps(flat, indent=1, ensure_ascii=False)
    return text + "\n"
