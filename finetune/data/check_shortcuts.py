"""Checks for what gives a class away without its picture: format, size, mode."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from finetune.data import check_subject
from finetune.data.check_subject import SHOWN, Outcome, Subject
from finetune.pictures.decoding import Glance

# A class is given away where a guess from the file alone, never having seen that file, is right for
# nine of ten of its images and of the others, on average. With five images each the worst that
# passes (all five share what a fifth of the others have) comes by chance once in 3,000.
GIVEN_AWAY = 0.9
GIVEN_AWAY_IMAGES = 5
# Sizes within 19 % count as one: a quarter of an octave.
SIZE_STEPS = 4
_SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}


def by_format(subject: Subject) -> Outcome:
    """Whether the file format gives the class away."""
    return shortcut(subject, "file format", lambda g: _SAME_FORMAT.get(g.format, g.format))


def by_size(subject: Subject) -> Outcome:
    """Whether the picture's size gives the class away."""

    def rounded(side_px: int) -> int:
        return round(2 ** (round(SIZE_STEPS * math.log2(side_px)) / SIZE_STEPS))

    def about(seen: Glance) -> str:
        return f"about {rounded(seen.width_px)} x {rounded(seen.height_px)} px"

    return shortcut(subject, "size in pixels", about)


def by_mode(subject: Subject) -> Outcome:
    """Whether the color mode gives the class away."""
    return shortcut(subject, "color mode", lambda g: g.mode)


def shortcut(subject: Subject, what: str, value_of: Callable[[Glance], str]) -> Outcome:
    """Can a class be told by a value of the file that has nothing to do with its content?"""
    samples, classes = subject.samples, subject.dataset.classes
    values = [value_of(subject.glances[s.path]) for s in samples]
    labels = [s.label for s in samples]
    scores = guesses(values, labels)
    if not scores:
        return check_subject.void(f"no class with {GIVEN_AWAY_IMAGES} images beside as many others")
    if len(classes) == 2:  # what gives one away gives the other away
        scores = dict([max(scores.items(), key=lambda item: item[1])])
    told = {label: score for label, score in scores.items() if score >= GIVEN_AWAY}
    best = max(scores.values())
    if not told:
        text = f"a guess by {what} is at most {best:.0%} right (chance is 50%)"
        return check_subject.passed(text, best=best)
    parts = []
    for label, score in list(told.items())[:SHOWN]:
        own = Counter(v for v, y in zip(values, labels, strict=True) if y == label)
        others = Counter(v for v, y in zip(values, labels, strict=True) if y != label)
        common, count = own.most_common(1)[0]
        parts.append(
            f"'{classes[label]}' ({common}: {count / own.total():.0%} of it, "
            f"{others[common] / others.total():.0%} of the others; a guess is {score:.0%} right)"
        )
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    text = f"{len(told)} class(es) can be recognized by the {what} alone: {', '.join(parts)}{more}"
    return Outcome(text, found=True, numbers={"classes": len(told), "best": best})


def guesses(values: Sequence[str], labels: Sequence[int]) -> dict[int, float]:
    """How well each class can be told from the others by one value of each image.

    An image is guessed to be of the class where its value is more common among the class than
    among the others, that image left out; a tie counts half. The score is the mean of the two
    recalls: 0.5 is chance whatever the counts, and values that are all different give no more.

    Returns:
        Label → score, for classes with at least `GIVEN_AWAY_IMAGES` and as many others.
    """
    totals, sizes = Counter(values), Counter(labels)
    inside: dict[int, Counter[str]] = defaultdict(Counter)
    for value, label in zip(values, labels, strict=True):
        inside[label][value] += 1
    # images of values that the class does not have: told rightly if another image has that value
    elsewhere = sum(n if n > 1 else 0.5 for n in totals.values())
    scores = {}
    for label, size in sorted(sizes.items()):
        rest = len(values) - size
        if min(size, rest) < GIVEN_AWAY_IMAGES:
            continue
        own, other = 0.0, elsewhere
        for value, a in inside[label].items():
            b = totals[value] - a
            other -= totals[value] if totals[value] > 1 else 0.5
            own += a * _vote((a - 1) / (size - 1), b / rest)
            other += b * _vote((b - 1) / (rest - 1), a / size)
        scores[label] = (own / size + other / rest) / 2
    return scores


def _vote(mine: float, theirs: float) -> float:
    return 0.5 if mine == theirs else float(mine > theirs)
