"""Labels that look wrong, and images that are best labelled next."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.records import tables
from finetune.records.choices import SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class SuspectLabel:
    """An image whose label the other images contradict.

    Probabilities are of a probe that has not seen the image, its copies, its near duplicates or the
    rest of its group; `margin` is that of the given class less that of the suggested one, from -1
    to 0. `neighbors` are the most similar images that bear the suggested label, the nearest first;
    of the `compared` most similar images of any label `agreeing` bear it. Paths are relative to the
    data set's root.
    """

    path: str
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float
    margin: float
    agreeing: int
    compared: int
    neighbors: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelIssues:
    """The labels of a data set that look wrong, the worst first; nothing is relabelled.

    `images` were judged, `found` of them look wrong; `suspects` lists them, or the worst of them
    where that is kept in a run. `probe` names the features, `accuracy` is how often the probe
    agrees with the labels, a fraction of 1; `text` says it in a sentence.
    """

    images: int
    found: int
    suspects: tuple[SuspectLabel, ...]
    probe: str
    accuracy: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """An image to label next, and what the run takes it for.

    `margin` is by how much the likeliest class is ahead of the second, in probability; `similar`
    how many images looked at are of its group, itself counted. `path` is relative to the folder.
    """

    path: str
    label: str
    probability: float
    margin: float
    similar: int


@dataclass(frozen=True, kw_only=True)
class Suggestions:
    """The answer of `finetune suggest`: images of a folder to label next, what helps most first.

    `images` were looked at; `known` lie in the run already and `copies` are files of the same
    bytes: both are left out. `unreadable` says of each other file why; `text` says it all in a
    sentence.
    """

    run: str
    data: str
    images: int
    known: int
    copies: int
    unreadable: tuple[str, ...]
    suggestions: tuple[Suggestion, ...]
    text: str
    schema_version: int = SCHEMA_VERSION

    _repr_html_ = tables.as_html
