"""Promises of `--shard`: every image is one shard's, and schedulers are understood."""

from __future__ import annotations

import pytest

from finetune.records.errors import UsageError
from finetune.records.sharding import Shard, read

ID, COUNT, MIN = "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"
STEP, MAX = "SLURM_ARRAY_TASK_STEP", "SLURM_ARRAY_TASK_MAX"


def slurm(number: int, count: int, first: int, **more: int) -> dict[str, str]:
    return {
        ID: str(number),
        COUNT: str(count),
        MIN: str(first),
        **{k: str(v) for k, v in more.items()},
    }


@pytest.mark.parametrize(("images", "count"), [(10, 3), (2, 5), (0, 4), (1000, 16)])
def test_every_image_is_one_shards(images: int, count: int) -> None:
    """All together are all images, in their order, and none has more than one above another's."""
    parts = [range(images)[Shard(index=i, count=count).share(images)] for i in range(1, count + 1)]

    assert [n for part in parts for n in part] == list(range(images))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        (None, slurm(3, 4, 1), (1, 1)),
        ("3/16", slurm(1, 4, 1), (3, 16)),
        ("auto", slurm(1, 16, 1), (1, 16)),
        ("auto", slurm(15, 16, 0, **{MAX: 15}), (16, 16)),
        ("auto", slurm(14, 3, 10, **{STEP: 2, MAX: 14}), (3, 3)),
        ("auto", {"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "4"}, (1, 4)),
        ("auto", {"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "4"}, (4, 4)),
    ],
)
def test_a_shard_is_what_was_typed_or_what_a_scheduler_says(text, environment, shard) -> None:
    """Slurm's arrays may begin anywhere and go in steps; Kubernetes counts from 0."""
    found = read(text, environment)

    assert (found.index, found.count) == shard


@pytest.mark.parametrize(
    ("text", "environment", "named"),
    [
        ("0/4", {}, "0/4"),
        ("5/4", {}, "5/4"),
        ("a/b", {}, "a/b"),
        ("3", {}, "'3'"),
        ("auto", {}, ID),
        ("auto", slurm(3, 3, 1, **{MAX: 7}), "gaps"),
        ("auto", {ID: "3"}, f"{COUNT} is not set"),
        ("auto", slurm(9, 3, 1, **{MAX: 3}), f"{ID} is 9"),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, "JOB_COMPLETIONS is not set"),
        (
            "auto",
            {"JOB_COMPLETION_INDEX": "4", "JOB_COMPLETIONS": "4"},
            "JOB_COMPLETION_INDEX is 4",
        ),
    ],
)
def test_what_is_no_shard_is_refused_by_name(text, environment, named) -> None:
    """A gap in an array would leave images out: refused, as is whatever does not fit."""
    with pytest.raises(UsageError) as error:
        read(text, environment)

    assert named in error.value.message
    assert error.value.hint
