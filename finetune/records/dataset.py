"""Labelled images, their splits, and what was noticed about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

from finetune.records.choices import OtherTarget, Severity, Status


@dataclass(frozen=True)
class Sample:
    """One labelled image; `path` is relative to the data set's root, with forward slashes.

    Images of one `group` stay on one side of a split; without one, an image stays with its exact
    copies. Where several labels or numbers are learned, `values` has a 0 or 1 for each label, or
    the numbers, and `label` is the stratum by which images are divided. `weight` is how much the
    image counts in learning, as it was given.
    """

    path: str
    label: Annotated[int, msgspec.Meta(ge=0)]
    digest: str
    group: str = ""
    values: tuple[float, ...] = ()
    weight: Annotated[float, msgspec.Meta(ge=0)] = 1.0

    @property
    def unit(self) -> str:
        """What is never divided: equal units are on the same side of every split."""
        return self.group or self.digest


@dataclass(frozen=True)
class Finding:
    """Something noticed about the data: a stable code, what it is, what to do."""

    code: str
    severity: Severity
    title: str
    hint: str
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One check of a data set and what came of it; passed and not applicable ones are records too.

    `text` says what was found with its numbers, or why the check does not apply; `details` has a
    remark for each of `paths`, or is empty.
    """

    code: str
    title: str
    status: Status
    text: str
    hint: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    @property
    def alarming(self) -> bool:
        """Does `--strict` stop here?"""
        return self.status in ("warning", "error")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What is learned of each image where that is not one class: `names` of labels or numbers.

    `reason` says in one line how that was told.
    """

    kind: OtherTarget
    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Dataset:
    """A checked folder of images: what `scan.scan` found, nothing decoded yet.

    In a `ready` layout the samples of `test` have empty digests: their bytes are not read before
    the end. Where `target` is there, `classes` are strata by which images are divided: of labels
    the rarest that an image has, of numbers a range.
    """

    root: str
    classes: tuple[str, ...]
    layout: Literal["plain", "ready"]
    pool: tuple[Sample, ...]
    val: tuple[Sample, ...] | None
    test: tuple[Sample, ...] | None
    findings: tuple[Finding, ...]
    target: Target | None = None


@dataclass(frozen=True)
class Splits:
    """Disjoint lists of samples; `val` is kept from tuning, `test` from everything.

    `learnt` are digests of images, of this data or not, that have taught the network in the run
    that it comes from, and in those before; empty where it comes from no run.
    """

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]
    learnt: tuple[str, ...] = ()

    @property
    def fitting(self) -> tuple[Sample, ...]:
        """Every image that is not test: what probes are fitted on."""
        return self.train + self.val


@dataclass(frozen=True)
class Scale:
    """Which values are black and white in pictures of more than 8 bits, of one kind.

    Decided once, from `images` of the training images, and used for every picture from then on.
    """

    kind: Literal["16-bit", "32-bit", "float"]
    black: float
    white: float
    images: int
    reason: str


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding: a stable code, how bad it is, what it is called and what to do."""

    code: str
    severity: Severity
    title: str
    hint: str

    def finding(self, text: str, paths: Sequence[str]) -> Finding:
        """One such finding: what was found, and where."""
        return Finding(self.code, self.severity, text, self.hint, tuple(paths))
