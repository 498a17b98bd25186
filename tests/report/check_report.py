"""Opens report pages in headless Chromium: every chart must be drawn and the console must hold no error.

check_report.py PROBE [SCREENSHOT.png]
"""
import json
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile


def sample():
    """As large as a real run: 30 blocks, three stages, 210 matrices; with text that would break a careless page."""
    regions = []
    for stage in ("solve", "half"):
        for block in range(30):
            for half in ("attention", "mlp"):
                error = 0.02 * math.exp(0.1 * block) * (2 if half == "mlp" else 1)
                regions.append(dict(stage=stage, region=f"blocks.{block}.{half}", before=error, after=error * 0.6,
                                    held_before=error * 1.1, held_after=error * 0.75, seconds=1.5, kept=True))
    regions.append(dict(stage="model", region="model", before=0.31, after=0.26, held_before=0.31, held_after=0.26, seconds=99, kept=True))
    tensors = [dict(name=f"model.layers.{b}.{m}.weight", shape=[576, 576], zeros=165888, elements=331776, sparsity=0.5, pattern="50%")
               for b in range(30) for m in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                            "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")]
    figure = lambda p: dict(perplexity=p, tokens=20480, windows=10, length=2048)
    return dict(freelunch="0.1.0", command="freelunch compress '</script><!-- x'", date="2026-01-01T00:00:00Z",
                model=dict(name="sample", architecture="llama", parameters=134515008),
                plan=dict(pattern="50%", criterion="wanda", repair=["solve", "half", "model"], region=dict(loss="relative-mse"), model=dict(loss="kl")),
                figures=dict(dense=figure(19.9), pruned=figure(44.4), repaired=figure(31.2)),
                stages=[dict(name=n, seconds=s, peak_bytes=b, note="") for n, s, b in (("solve", 90.0, 9e8), ("half", 280.0, 1.1e9), ("model", 160.0, 1.8e9))],
                regions=regions, tensors=tensors, sparsity=dict(pruned_tensors=0.5, whole_model=0.39), peak_bytes=1800000000, seconds=640.0, output="out")


def chromium():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return shutil.which(name)
    print("skipped: no chromium on this machine")
    sys.exit(77)


def open_page(browser, page, *options):
    with tempfile.TemporaryDirectory() as profile:
        return subprocess.run([browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--enable-logging=stderr",
                               "--window-size=1100,2400", "--virtual-time-budget=4000", *options, page.as_uri()], capture_output=True, text=True, timeout=120)


# Runs in the page once it is drawn: a canvas of one colour is a chart that was not drawn.
CHECK = """<script>window.addEventListener("load", () => setTimeout(() => {
  const blank = [...document.querySelectorAll("canvas")].filter(c => { const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    for (let i = 4; i < d.length; i += 4) if (d[i] !== d[0] || d[i + 3] !== d[3]) return false; return true; }).length;
  document.body.setAttribute("data-check", JSON.stringify({ canvases: document.querySelectorAll("canvas").length, blank, drawn: window.__charts_drawn }));
}, 500));</script>"""


def check(browser, html, charts, folder):
    page = folder / "page.html"
    page.write_text(html + CHECK, encoding="utf-8")
    result = open_page(browser, page, "--dump-dom")
    match = re.search(r'data-check="([^"]*)"', result.stdout)
    assert match, "the page did not finish: " + result.stderr[-2000:]
    seen = json.loads(match.group(1).replace("&quot;", '"'))
    assert seen == dict(canvases=charts, blank=0, drawn=charts), seen
    errors = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    assert not errors, errors
    assert not re.search(r'(src|href)="https?:', html), "the page refers to the network"


browser = chromium()
make = lambda report: subprocess.run([sys.argv[1]], input=json.dumps(report), capture_output=True, text=True, check=True).stdout
with tempfile.TemporaryDirectory() as name:
    full = sample()
    check(browser, make(full), 6, pathlib.Path(name))
    # A run without repair or evaluation has less to show, and must show it all the same.
    bare = {k: v for k, v in full.items() if k not in ("figures", "regions")}
    check(browser, make(bare), 3, pathlib.Path(name))
    if len(sys.argv) > 2:
        report = json.load(open(sys.argv[3])) if len(sys.argv) > 3 else full
        page = pathlib.Path(name) / "shot.html"
        page.write_text(make(report), encoding="utf-8")
        open_page(browser, page, f"--screenshot={sys.argv[2]}")
print("report pages: 2 drawn, 9 charts")
