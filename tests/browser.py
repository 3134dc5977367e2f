"""A headless Chromium that reads pages as people do, and notes what goes wrong in them."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS, SCHEMES = (400, 1200), ("light", "dark")
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_AXE = "axe_playwright_python.sync_playwright"
_GRAVE = frozenset({"serious", "critical"})
_DEAD = """() => [...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href'))
  .filter(h => h.startsWith('#') && !document.getElementById(decodeURIComponent(h.slice(1))))"""
_OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Visit:
    """A page that is open, and what was noticed of it so far.

    `complaints` are errors and warnings of the console and uncaught exceptions; `asked` are the
    addresses that were asked for beside the page's own.
    """

    page: Page
    axe: Any
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def faults(self) -> list[str]:
        """What axe-core finds serious or critical for those who cannot see or use a mouse."""
        found = self.axe.run(self.page).response["violations"]
        return [
            f"{fault['id']}: {node['html'][:200]}"
            for fault in found
            if fault["impact"] in _GRAVE
            for node in fault["nodes"]
        ]

    def dead_links(self) -> list[str]:
        """Links to places in the page that are not there."""
        return list(self.page.evaluate(_DEAD))

    def overflow_px(self) -> int:
        """How much wider than its window the page is."""
        return int(self.page.evaluate(_OVERFLOW))


@contextmanager
def started() -> Iterator[Browser]:
    """The browser; skips the test that needs it where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    pytest.importorskip(_AXE, reason="axe-playwright-python is not installed")
    program = next((found for name in _NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is on PATH")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(
    browser: Browser, address: str, *, width: int = 1200, scheme: str = "light"
) -> Iterator[Visit]:
    """Open a page.

    Args:
        browser: The fixture of that name.
        address: `file://…` or `http://127.0.0.1…`.
        width: Of the window, px.
        scheme: `light` or `dark`, as the user's system asks for.
    """
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    try:
        visit = Visit(context.new_page(), importlib.import_module(_AXE).Axe())
        visit.page.on(
            "console",
            lambda line: (
                visit.complaints.append(line.text) if line.type in ("error", "warning") else None
            ),
        )
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.on("request", lambda request: _note(visit, request.url, address))
        visit.page.goto(address, wait_until="load")
        yield visit
    finally:
        context.close()


def _note(visit: Visit, url: str, address: str) -> None:
    if url != address and not url.startswith(("data:", "blob:")):
        visit.asked.append(url)
