"""The rows of the option table for the answers of `predict`."""

from __future__ import annotations

import math

from finetune.records.option import Option

PREDICT = (
    Option(
        name="top",
        kind="int",
        commands="predict",
        ends=(1, math.inf),
        unset="3; 1 in --csv",
        help="Classes to list per image.",
    ),
    Option(
        name="csv_file",
        typed="--csv",
        kind="file",
        commands="predict check explain suggest",
        metavar="FILE",
        help="Write the answers (of check: the suspect labels) to this file.",
    ),
    Option(
        name="jsonl",
        kind="file",
        commands="predict",
        metavar="FILE",
        help="Write the answers as JSON, one a line; - for stdout, as --json.",
    ),
    Option(
        name="parquet",
        kind="file",
        commands="predict",
        metavar="FILE",
        help="Write the answers as a Parquet table; needs pyarrow.",
    ),
    Option(
        name="features",
        kind="file",
        commands="predict",
        metavar="FILE",
        help="Write what the classifier reads of each image: a NumPy file (.npy), a row an answer.",
    ),
    Option(
        name="sort_into",
        kind="folder",
        commands="predict",
        metavar="DIR",
        help="Put the images into a folder for each class there; nothing is overwritten.",
    ),
    Option(
        name="sort_by",
        commands="predict",
        choices=("copy", "link"),
        default="copy",
        help="Copy them there, or make links to them.",
    ),
)
