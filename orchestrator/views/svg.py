"""The bytes of an SVG file in; markup that stands safely inside an HTML page out."""

from __future__ import annotations

import re
from html import escape

REM_PER_POINT = 0.104
"""Letters of 8 points come out at about 0.83 rem."""

_ID = re.compile(r'(?<=\sid=")([^"]*)(?=")')
_LINK = re.compile(r'(?<=href="#)([^"]*)(?=")')
_URL = re.compile(r"(?<=url\(#)([^)]*)(?=\))")


def inline_svg(content: bytes, prefix: str, description: str) -> str:
    """`content` without prolog, comments and metadata, its ids under `prefix` so that several figures share a page.

    The drawing names itself to screen readers by `description`. Its style sheet is bound to itself, and the custom
    property `--natural` holds the width at which its letters are about as large as the page's.
    """
    text = content.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for pattern in (_ID, _LINK, _URL):
        text = pattern.sub(lambda found: f"{prefix}-{found[1]}", text)
    text = text.replace('<style type="text/css">*{', f'<style type="text/css">#{prefix} *{{')
    width = float(text[text.index('viewBox="') :].split()[2])
    look = (
        f'id="{prefix}" role="img" aria-label="{escape(description)}" style="--natural:{width * REM_PER_POINT:.4g}rem"'
    )
    return text.replace("<svg ", f"<svg {look} ", 1)
