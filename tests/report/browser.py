"""Pages in headless Chromium: is every chart drawn, and is the console quiet?"""
import json
import re
import shutil
import subprocess
import tempfile

import pytest


def chromium():
    """The browser's path. Skips the test if there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return shutil.which(name)
    pytest.skip("no chromium on this machine; scripts/setup --tests installs it")


def open_page(browser, page, *options):
    with tempfile.TemporaryDirectory() as profile:
        return subprocess.run(
            [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}",
             "--enable-logging=stderr", "--window-size=1100,2400", "--virtual-time-budget=4000", *options,
             page.as_uri()],
            capture_output=True, text=True, timeout=120)


# Runs in the page once it is drawn: a canvas of one colour is a chart that was not drawn.
CHECK = """<script>window.addEventListener("load", () => setTimeout(() => {
  const canvases = [...document.querySelectorAll("canvas")];
  const blank = canvases.filter(c => {
    const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    for (let i = 4; i < d.length; i += 4) if (d[i] !== d[0] || d[i + 3] !== d[3]) return false;
    return true;
  }).length;
  const seen = { canvases: canvases.length, blank, drawn: window.__charts_drawn };
  document.body.setAttribute("data-check", JSON.stringify(seen));
}, 500));</script>"""


def expect_drawn(browser, html, charts, folder):
    """The page draws so many charts (None: as many as it has) without an error and without the network.

    Returns the number of charts. Writes the page to the folder.
    """
    page = folder / "page.html"
    page.write_text(html + CHECK, encoding="utf-8")
    result = open_page(browser, page, "--dump-dom")
    match = re.search(r'data-check="([^"]*)"', result.stdout)
    assert match, "the page did not finish: " + result.stderr[-2000:]
    seen = json.loads(match.group(1).replace("&quot;", '"'))
    expected = seen["canvases"] if charts is None else charts
    assert seen == dict(canvases=expected, blank=0, drawn=expected), seen
    errors = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    assert not errors, errors
    assert not re.search(r'(src|href)="https?:', html), "the page refers to the network"
    return expected
