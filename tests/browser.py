"""A headless browser, where one is installed: a page's address in, the page once its scripts have run out."""

from __future__ import annotations

import html
import shutil
import subprocess
import tempfile

BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1400,1400"),
    *("--virtual-time-budget=30000", "--run-all-compositor-stages-before-draw"),  # charts are drawn when they are seen
)


def dump_page(url: str, *flags: str) -> str:
    """The page's elements as text, entities resolved.

    Raises:
        subprocess.SubprocessError: the browser fails or takes more than two minutes.
    """
    assert BROWSER is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [BROWSER, *FLAGS, *flags, f"--user-data-dir={profile}", "--dump-dom", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return html.unescape(done.stdout)
