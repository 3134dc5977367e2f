"""The options of what of a picture the network sees."""

from __future__ import annotations

from finetune.records.option import Option

_DECIDING = "train recommend compare features"
PICTURES = (
    Option(
        name="fit",
        commands=_DECIDING,
        choices=("half", "squash", "center", "letterbox"),
        default="half",
        help="How a picture becomes a square: squeezed and cropped by half each, squeezed, "
        "its middle, or whole with borders.",
    ),
    Option(
        name="bands",
        commands=f"{_DECIDING} check",
        metavar="R,G,B",
        help="Which bands of TIFFs with many are red, green and blue, counted from 1: 4,3,2; "
        "one alone is gray; all: every third is red, green or blue, by their mean.",
    ),
)
