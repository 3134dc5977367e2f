"""In which letters a text file is written."""

from __future__ import annotations

import codecs


def decoded(content: bytes) -> str:
    """UTF-8, UTF-16 or 32 where a mark or zeros say so, else what Windows writes in the West."""
    # before UTF-16, whose mark is the start of this one's
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return content.decode("utf-32", "replace")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    if b"\0" in content[:4]:  # without a mark: the zeros beside letters say which
        return content.decode("utf-16-be" if content[:1] == b"\0" else "utf-16-le", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")
