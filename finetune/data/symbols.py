"""Do class names look like letters, digits or directions, which a flip would change?"""

from __future__ import annotations

import re
from collections.abc import Sequence

_PREFIX = "class|digit|letter|char|character|num|number|sym|symbol|glyph|sign|label"
# a lone letter or number, perhaps after a prefix; `charm` is a word, `char_m` and `char7` are not
_SYMBOL = re.compile(
    rf"^(?:(?:{_PREFIX})[ _-]+(?:[a-z]|\d{{1,3}})|(?:{_PREFIX})?\d{{1,3}}|[^\W\d_]"
    r"|[a-z][ _-]+(?:upper|lower|cap|capital|small)(?:case)?"
    r"|zero|one|two|three|four|five|six|seven|eight|nine|ten)$",
    re.IGNORECASE,
)
# a direction at the end or before a body part or sign: `left_hand`, `turnRight`; not `right_whale`
_DIRECTION = re.compile(
    r"(?:(?:^|[ _-])(?:left|right|clockwise|anticlockwise|counterclockwise)|Left|Right)$"
    r"|^(?:left|right)[ _-]+(?:hand|foot|eye|ear|arm|leg|side|turn|arrow|lane|profile)s?$"
)


def look_like_symbols(classes: Sequence[str]) -> tuple[bool, str]:
    """Do the class names look like letters, digits or directions, which a flip would change?

    One direction is enough, of the others more than half.
    """
    turned = [c for c in classes if _DIRECTION.search(c)]
    hits = turned or [c for c in classes if _SYMBOL.match(c)]
    if turned or 2 * len(hits) > len(classes):
        return True, f"class names such as '{hits[0]}' look like letters, digits or directions"
    return False, "class names do not look like letters, digits or directions"
