"""Pages in Chromium, headless: what a script finds there, what the console says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

__all__ = ["looked_at", "needs_browser"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None and "BAYESV_BROWSER" not in os.environ, reason="Chromium is not installed"
)

_NARROWEST = 500  # pixels of a window; a narrower page is one of larger pixels


def looked_at(html: str, folder: Path, width: int, find: str) -> tuple[Any, list[str]]:
    """Return what JavaScript says of a page once it is loaded, and the lines of the console.

    Parameters
    ----------
    html : str
    folder : Path
        For the page and the browser's profile.
    width : int
        Of the window, in pixels of the page.
    find : str
        An expression, of what JSON can hold.
    """
    script = (
        '<script>addEventListener("load", () => {'
        f"document.body.dataset.found = JSON.stringify({find})}})</script></body>"
    )
    path = folder / "page.html"
    path.write_text(html.replace("</body>", script), encoding="utf-8")
    scale = [f"--force-device-scale-factor={_NARROWEST / width}"] if width < _NARROWEST else []
    done = subprocess.run(
        [CHROMIUM or "chromium", "--headless=new", "--no-sandbox", "--disable-gpu",
         "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-dev-shm-usage", "--enable-logging=stderr", "--log-level=0",
         f"--user-data-dir={folder / 'profile'}",
         f"--window-size={max(width, _NARROWEST)},900", *scale, "--virtual-time-budget=5000",
         "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'data-found="(.*?)"', done.stdout)
    assert found is not None, done.stderr[-2000:]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unescape(found.group(1))), console
