"""Promises of the report's page as a browser shows it: nothing breaks, leaves or shuts out."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import SCHEMES, WIDTHS, visiting
from examples import BLEND_PART, CHOICE, FACTS, HISTORY, LABELS, MATERIAL, RESULT, WRONG

from finetune.decision import table
from finetune.pictures import thumbnails
from finetune.report import gallery
from finetune.report.html import to_html

BAD = """<!doctype html><html lang="en"><title>bad</title><main>
<h1>Bad</h1><p style="color: #ccc; background: #fff">pale</p><a href="#nowhere">to nowhere</a>
<img src="http://127.0.0.1:9/none.png"><div style="width: 2000px">wide</div>
<script>console.warn("odd"); throw new Error("broken")</script></main></html>"""


def page() -> str:
    """A report with all that one can have, its pictures too."""
    wrong = (replace(WRONG, path="ash/1.png"), WRONG)
    result = replace(
        RESULT, errors=wrong, labels=LABELS, backbone_choice=CHOICE, parts=(BLEND_PART,) * 2
    )
    thumb = thumbnails.of_pixels(np.full((16, 16, 3), 99, np.uint8))
    pictures = dict.fromkeys(gallery.wanted(result, MATERIAL), thumb)
    heat = {one.path: thumb for one in MATERIAL.heat_maps}
    return to_html(FACTS, result, MATERIAL, HISTORY, table.actions(), pictures, heat)


def test_the_browser_notices(browser: Any, tmp_path: Path) -> None:
    """A page with every fault has them all told: that another has none means something."""
    file = tmp_path / "bad.html"
    file.write_text(BAD, encoding="utf-8")

    with visiting(browser, file.as_uri(), width=400) as visit:
        assert {"odd", "broken"} <= set(visit.complaints)
        assert visit.asked == ["http://127.0.0.1:9/none.png"]
        assert visit.dead_links() == ["#nowhere"]
        assert visit.overflow_px() > 1000
        kinds = {fault.partition(":")[0] for fault in visit.faults()}
    assert kinds == {"color-contrast", "image-alt"}


@pytest.mark.parametrize(("width", "scheme"), [*product(WIDTHS, SCHEMES)])
def test_the_report_is_sound(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    """No console error, no request, no dead link, no serious fault, not wider than its window."""
    file = tmp_path / "report.html"
    file.write_text(page(), encoding="utf-8")

    with visiting(browser, file.as_uri(), width=width, scheme=scheme) as visit:
        assert visit.complaints == []
        assert visit.asked == []
        assert visit.dead_links() == []
        assert visit.overflow_px() <= 0
        assert visit.faults() == []
