"""Opens report pages in headless Chromium: every chart must be drawn and the console must hold no error.

check_report.py PROBE [SCREENSHOT.png]
"""
import json
import math
import pathlib
import subprocess
import sys
import tempfile

from browser import check, chromium, open_page


def sample():
    """As large as a real run: 30 blocks, three stages, 210 matrices; with text that would break a careless page."""
    regions = []
    for stage in ("solve", "sublayer"):
        for block in range(30):
            for sublayer in ("attention", "mlp"):
                error = 0.02 * math.exp(0.1 * block) * (2 if sublayer == "mlp" else 1)
                regions.append(dict(stage=stage, region=f"blocks.{block}.{sublayer}", before=error, after=error * 0.6,
                                    held_out_before=error * 1.1, held_out_after=error * 0.75, seconds=1.5, improved=True))
    regions.append(dict(stage="model", region="model", before=0.31, after=0.26, held_out_before=0.31, held_out_after=0.26, seconds=99, improved=True))
    tensors = [dict(name=f"model.layers.{b}.{m}.weight", shape=[576, 576], zeros=165888, elements=331776, sparsity=0.5, pattern="50%")
               for b in range(30) for m in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                            "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")]
    figure = lambda p: dict(perplexity=p, tokens=20480, windows=10, length=2048)
    return dict(freelunch="0.1.0", command="freelunch compress '</script><!-- x'", date="2026-01-01T00:00:00Z",
                model=dict(name="sample", architecture="llama", parameters=134515008),
                plan={"sparsity": 0.5, "criterion": "wanda", "repair": ["solve", "sublayer", "model"], "loss": "relative-mse", "model-loss": "kl"},
                figures=dict(dense=figure(19.9), pruned=figure(44.4), repaired=figure(31.2)),
                stages=[dict(name=n, seconds=s, peak_bytes=b, note="") for n, s, b in (("solve", 90.0, 9e8), ("sublayer", 280.0, 1.1e9), ("model", 160.0, 1.8e9))],
                regions=regions, tensors=tensors, sparsity=dict(pruned_tensors=0.5, whole_model=0.39), peak_bytes=1800000000, seconds=640.0, output="out")


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
