"""Labels that look wrong, and images that are best labelled next."""

from __future__ import annotations

from dataclasses import dataclass


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
