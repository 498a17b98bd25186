"""What a run holds in memory: streams on disk change nothing, more blocks cost nothing, the plan tells the truth, a limit is kept."""
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import tiny_model

command = sys.argv[1]


def run(*arguments, code=0):
    result = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == code, f"{arguments}: exit {result.returncode}\n{result.stderr}"
    return result.stdout if code == 0 else result.stderr


with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    (base / "train.txt").write_text(tiny_model.text(20000))
    tiny_model.make(base / "tiny")
    # blocks of 2.4 million weights: held all at once, six more of them could not go unnoticed
    wide = dict(hidden_size=384, intermediate_size=1024, num_attention_heads=6, num_key_value_heads=6)
    for blocks in (2, 8):
        tiny_model.make(base / f"wide{blocks}", num_hidden_layers=blocks, **wide)
    text = ("--calibration", base / "train.txt")
    small = (*text, "--samples", 12, "--held-out", 4, "--length", 64)

    def compress(model, *options):
        run("compress", base / model, "--output", base / "out", "--overwrite", *options)
        digest = hashlib.sha256((base / "out/model.safetensors").read_bytes()).hexdigest()
        return json.loads((base / "out/freelunch.json").read_text()), digest

    # Where streams are kept is nobody's business but the memory's.
    for repair in ("solve,sublayer,model", "solve,block --propagation sparse", "matrix,blocks:2 --propagation dense", "matrix", "solve --blend 0,0.5 --sensitivity kronecker"):
        options = (*small, "--repair", *repair.split())
        memory, expected = compress("tiny", *options, "--activations", "memory")
        disk, found = compress("tiny", *options, "--activations", "disk")
        assert found == expected, repair
        assert memory["plan"]["activations"] == "memory" and memory["plan"]["activation-dtype"] == "fp32" and disk["plan"]["activations"] == "disk"
        rounded, other = compress("tiny", *options, "--activation-dtype", "bf16")
        same, again = compress("tiny", *options, "--activation-dtype", "bf16", "--activations", "disk")
        assert again == other != expected, repair
    print("disk and memory agree")

    # Without the model stage the peak is one region's, however many there are.
    reports = {}
    for blocks in (2, 8):
        options = (*text, "--samples", 24, "--held-out", 8, "--length", 128, "--repair", "solve,sublayer")
        reports[blocks], _ = compress(f"wide{blocks}", *options)
    for few, many in zip(reports[2]["stages"], reports[8]["stages"]):
        if few["name"] in ("solve", "sublayer"):
            print(f"{few['name']}: {few['peak_bytes'] / 1e6:.0f} MB with 2 blocks, {many['peak_bytes'] / 1e6:.0f} MB with 8")
            # six more blocks' weights alone would be 20 %
            assert abs(many["peak_bytes"] / few["peak_bytes"] - 1) < 0.05, (few, many)

    # Planned against used, stage by stage.
    options = (*text, "--samples", 64, "--held-out", 8, "--length", 128, "--evaluate", base / "train.txt")
    for extra in (("--repair", "solve,sublayer"), ("--repair", "matrix,block", "--activations", "disk"), ("--repair", "none", "--criterion", "sparsegpt")):
        planned = json.loads(run("plan", base / "wide2", *options, *extra, "--json"))
        report, _ = compress("wide2", *options, *extra)
        assert [s["name"] for s in planned["stages"]] == [s["name"] for s in report["planned"]["stages"]]
        compared = 0
        for stage in report["stages"]:
            if "planned_bytes" not in stage:
                assert stage["name"] in ("open", "save"), stage
                continue
            ratio = stage["planned_bytes"] / stage["peak_bytes"]
            print(f"{stage['name']}: planned {stage['planned_bytes'] / 1e6:.0f} MB, used {stage['peak_bytes'] / 1e6:.0f} MB")
            assert 0.85 < ratio < 1.15, stage
            compared += 1
        assert compared >= 3
        assert planned["operations"] > 0 and planned["seconds"] > 0
    assert not (base / "freelunch.json").exists()
    table = run("plan", base / "wide2", *options, "--repair", "solve,sublayer")
    assert "evaluate dense" in table and "activations" in table, table

    # A limit: kept by giving something up, in order, or refused with what would do.
    def plan(limit, *extra):
        return json.loads(run("plan", base / "wide2", *text, "--samples", 256, "--held-out", 8, "--length", 128, "--json", "--memory-limit", limit, *extra))

    free = plan("100GB", "--repair", "solve,sublayer")
    assert free["activations"] == "memory" and free["activation_dtype"] == "fp32" and free["changes"] == []
    tight = plan(free["peak_bytes"] - 10_000_000, "--repair", "solve,sublayer")
    assert tight["activations"] == "disk" and tight["peak_bytes"] <= tight["memory_limit"] and tight["disk_bytes"] > free["disk_bytes"], tight
    by_name = ("--repair", "solve,sublayer", "--activations", "memory")
    rounded = plan(free["peak_bytes"] - 10_000_000, *by_name)
    assert rounded["activations"] == "memory" and rounded["activation_dtype"] == "bf16", rounded
    with_model = plan("100GB", "--repair", "auto")
    assert with_model["repair"] == ["solve", "sublayer", "model"], with_model
    without = plan(with_model["peak_bytes"] * 2 // 3, "--repair", "auto")
    assert without["repair"] == ["solve", "sublayer"] and "no model stage" in without["changes"], without
    for arguments, words in (
            (("--memory-limit", "20MB"), ("20 MB", "the least that would do is --memory-limit")),
            (("--memory-limit", "2 bananas"), ("2 bananas", "2GiB")),
            (("--activations", "tape"), ("tape", "auto, memory, host, disk")),
            (("--activation-dtype", "fp8"), ("fp8", "auto, fp32, bf16"))):
        message = run("compress", base / "tiny", "--output", base / "never", *small, *arguments, code=2)
        assert all(word in message for word in words) and message.count("\n") == 1, message
        assert not (base / "never").exists()
    least = run("plan", base / "tiny", *small, "--memory-limit", "20MB", code=2).split("--memory-limit ")[-1].split("MB")[0]
    assert json.loads(run("plan", base / "tiny", *small, "--json", "--memory-limit", f"{int(least) + 20}MB"))["peak_bytes"] > 20_000_000
    print("limits are kept")
