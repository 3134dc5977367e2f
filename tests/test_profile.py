from __future__ import annotations

import numpy as np
import pytest

from finetune import profile
from finetune.profile import LARGE_IMAGES, LARGE_RAREST

SIZES = [
    (LARGE_IMAGES - 1, LARGE_RAREST, "small"),
    (LARGE_IMAGES, LARGE_RAREST, "large"),
    (LARGE_IMAGES + 1, LARGE_RAREST, "large"),
    (LARGE_IMAGES, LARGE_RAREST - 1, "small"),
    (LARGE_IMAGES, LARGE_RAREST + 1, "large"),
    (20 * LARGE_IMAGES, LARGE_RAREST - 1, "small"),
]


def labels_of(*counts: int) -> np.ndarray:
    """So many labels of each class in turn."""
    return np.repeat(np.arange(len(counts)), counts)


def answers(both: int, better: int, worse: int, neither: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Right answers (top, lower): both right, only the lower, only the top, none."""
    top = [True] * both + [False] * better + [True] * worse + [False] * neither
    lower = [True] * both + [True] * better + [False] * worse + [False] * neither
    return np.array(top), np.array(lower)


@pytest.mark.parametrize(("images", "rarest", "verdict"), SIZES)
def test_size_needs_enough_images_and_enough_of_the_rarest(
    images: int, rarest: int, verdict: str
) -> None:
    """Large from the limits on, in all and for the rarest class; small just below either."""
    found = profile.size(labels_of(images - rarest, rarest), 2)

    assert found.verdict == verdict
    assert (found.images, found.rarest_class, found.classes) == (images, rarest, 2)


def test_size_counts_a_class_without_images_as_the_rarest() -> None:
    """A class that no label names has zero images and makes any data small."""
    found = profile.size(labels_of(5000, 5000), 3)

    assert found.rarest_class == 0
    assert found.verdict == "small"


def test_the_sizes_reason_has_the_numbers() -> None:
    """The reason gives the images, the rarest class and both limits."""
    text = profile.size(labels_of(300, 12), 2).reason.text

    for number in (312, 12, LARGE_IMAGES, LARGE_RAREST):
        assert str(number) in text


@pytest.mark.parametrize(
    ("better", "worse", "verdict"),
    # Standard error of the mean of 100 differences, `better` of +1 and `worse` of -1:
    # 7 and 4 → 3.0 points, error 3.3; 8 and 4 → 4.0 points, error 3.5.
    [(7, 4, "similar"), (8, 4, "different"), (4, 8, "similar"), (4, 4, "similar")],
)
def test_similarity_needs_a_lead_above_one_standard_error(
    better: int, worse: int, verdict: str
) -> None:
    """Different just where a lower stage leads by more than the paired difference's error."""
    top, lower = answers(60, better, worse, neither=40 - better - worse)

    found = profile.similarity(top, {"stage 4": lower})

    spread = (better + worse) / 100 - ((better - worse) / 100) ** 2
    assert found.verdict == verdict
    assert found.lower_stage_gain == pytest.approx((better - worse) / 100)
    assert found.noise == pytest.approx(np.sqrt(spread * 100 / 99 / 100))


@pytest.mark.parametrize("n", range(5, 60))
def test_one_image_is_never_more_than_noise(n: int) -> None:
    """A lead of one image equals one standard error, so it decides nothing at any number."""
    top, lower = answers(n - 1, 1, 0)

    assert profile.similarity(top, {"stage 4": lower}).verdict == "similar"


def test_the_error_is_that_of_the_pairs_not_of_two_samples() -> None:
    """Where answers agree but for six images a lead counts that unpaired noise would drown."""
    top, lower = answers(50, 6, 0, neither=44)

    found = profile.similarity(top, {"stage 4": lower})

    assert found.noise < np.sqrt(2 * 0.25 / 100) / 2
    assert found.verdict == "different"


def test_the_best_lower_stage_is_compared() -> None:
    """Of several lower stages the one with the highest accuracy decides and is named."""
    top, good = answers(60, 20, 2, neither=18)
    bad = np.zeros(100, bool)

    found = profile.similarity(top, {"stem": bad, "stage 3": good, "stage 4": bad})

    assert found.verdict == "different"
    assert "(stage 3)" in found.reason.text


@pytest.mark.parametrize(
    ("better", "worse", "numbers"),
    [
        (20, 2, ("62.0 %", "80.0 %", "18.0 points", "4.4")),
        (5, 5, ("65.0 %", "65.0 %", "3.2 points")),
    ],
)
def test_the_similaritys_reason_has_the_numbers(
    better: int, worse: int, numbers: tuple[str, ...]
) -> None:
    """The reason gives both accuracies and the noise, and the lead where there is one."""
    top, lower = answers(60, better, worse, neither=40 - better - worse)

    text = profile.similarity(top, {"stage 4": lower}).reason.text

    for number in numbers:
        assert number in text


def test_similarity_is_taken_as_similar_where_no_stage_was_probed() -> None:
    """Without lower stages there is no gain and no noise, and the reason says it is unmeasured."""
    found = profile.similarity(np.ones(10, bool), {})

    assert found.verdict == "similar"
    assert found.lower_stage_gain is None
    assert found.noise is None
    assert "not measured" in found.reason.text


@pytest.mark.parametrize(
    "classes",
    [
        ("0", "1", "2"),
        ("00", "01", "10"),
        ("a", "b", "c"),
        ("A", "B"),
        ("digit_3", "digit_4"),
        ("sym_12", "sym_13"),
        ("character01", "character02"),
        ("Class 1", "Class 2"),
        ("letter-x", "letter-y"),
        ("left_hand", "right_hand"),
        ("turn right", "straight", "stop"),
        ("anticlockwise", "still"),
        ("turnLeft", "turnRight"),
        ("あ", "い"),
        ("A_upper", "a_lower"),
    ],
)
def test_letters_digits_and_directions_are_symbols(classes: tuple[str, ...]) -> None:
    """Names that a mirror image would change are recognised, and the reason quotes one."""
    found, why = profile.symbols(classes)

    assert found
    assert any(f"'{name}'" in why for name in classes)


@pytest.mark.parametrize(
    "classes",
    [
        ("dog", "cat"),
        ("oak", "maple", "birch"),
        ("copyright", "bright"),
        ("classic", "numbering", "signature"),
        ("t-shirt", "x-ray", "jeans"),
        ("type_2b", "b52"),
        ("1234", "5678"),
        *((word, f"{word}s") for word in ("charm", "chart", "letter", "number", "sign", "label")),
    ],
)
def test_ordinary_words_are_no_symbols(classes: tuple[str, ...]) -> None:
    """Names that only contain such letters or words are left alone."""
    found, why = profile.symbols(classes)

    assert not found
    assert "do not" in why


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(("a", "dog", "cat"), False), (("a", "b", "cat", "dog"), False), (("a", "b", "dog"), True)],
)
def test_letters_decide_only_in_the_majority(classes: tuple[str, ...], expected: bool) -> None:
    """A few one-letter names among words are no alphabet; more than half are."""
    found, _ = profile.symbols(classes)

    assert found is expected


def test_the_reason_quotes_the_name_that_decided() -> None:
    """A direction decides alone, so it is the one quoted."""
    found, why = profile.symbols(("a", "turn left", "dog", "cat"))

    assert found
    assert "'turn left'" in why
