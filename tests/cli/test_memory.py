"""What a run holds in memory.

Streams on disk change nothing, more blocks cost nothing, the plan is right, and a limit is kept.
"""
import functools
import json
import re

import pytest
import tiny_model
from freelunch_command import digest, refusal, run, run_json

REPAIRS = ["solve,sublayer,model", "solve,block --propagation sparse", "matrix,blocks:2 --propagation dense", "matrix",
           "solve --blend 0,0.5 --sensitivity kronecker"]
SMALL = "--samples 12 --held-out 4 --length 64"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """tiny, wide2, wide8 and train.txt. A block of the wide models has 1.8 million weights: six more of them show."""
    base = tmp_path_factory.mktemp("memory")
    (base / "train.txt").write_text(tiny_model.text(20000))
    tiny_model.make(base / "tiny")
    wide = dict(hidden_size=384, intermediate_size=1024, num_attention_heads=6, num_key_value_heads=6)
    for blocks in (2, 8):
        tiny_model.make(base / f"wide{blocks}", num_hidden_layers=blocks, **wide)
    return base


@pytest.fixture(scope="module")
def compress(base):
    """(model, options) -> report and digest of a run, run once."""

    @functools.cache
    def compress(model, options):
        out = base / "out"
        run("compress", base / model, "--output", out, "--overwrite", "--calibration", base / "train.txt",
            *options.split())
        return json.loads((out / "freelunch.json").read_text()), digest(out)

    return compress


@pytest.fixture(scope="module")
def plan(base):
    @functools.cache
    def plan(model, options):
        return run_json("plan", base / model, "--calibration", base / "train.txt", *options.split())

    return plan


@pytest.mark.parametrize("repair", REPAIRS)
def test_streams_on_disk_give_the_bytes_of_streams_in_memory(repair, compress):
    memory, expected = compress("tiny", f"{SMALL} --repair {repair} --activations memory")
    disk, found = compress("tiny", f"{SMALL} --repair {repair} --activations disk")
    assert found == expected
    assert memory["plan"]["activations"] == "memory" and memory["plan"]["activation-dtype"] == "fp32"
    assert disk["plan"]["activations"] == "disk"


@pytest.mark.parametrize("repair", REPAIRS)
def test_streams_in_bf16_give_other_bytes_and_the_same_wherever_they_are(repair, compress):
    _, in_fp32 = compress("tiny", f"{SMALL} --repair {repair} --activations memory")
    _, rounded = compress("tiny", f"{SMALL} --repair {repair} --activation-dtype bf16")
    _, on_disk = compress("tiny", f"{SMALL} --repair {repair} --activation-dtype bf16 --activations disk")
    assert on_disk == rounded != in_fp32


@pytest.mark.parametrize("stage", ["solve", "sublayer"])
def test_the_peak_is_that_of_one_region_however_many_blocks_there_are(stage, compress):
    peaks = []
    for model in ("wide2", "wide8"):
        report, _ = compress(model, "--samples 24 --held-out 8 --length 128 --repair solve,sublayer")
        peaks += [entry["peak_bytes"] for entry in report["stages"] if entry["name"] == stage]
    # six more blocks' weights alone would be 20 %
    assert len(peaks) == 2 and abs(peaks[1] / peaks[0] - 1) < 0.05, peaks


@pytest.fixture(scope="module")
def evaluated(base):
    """Options of a run that also evaluates."""
    return f"--samples 64 --held-out 8 --length 128 --evaluate {base / 'train.txt'}"


@pytest.mark.parametrize("options", ["--repair solve,sublayer", "--repair matrix,block --activations disk",
                                     "--repair none --criterion sparsegpt"])
def test_each_stage_takes_the_memory_that_the_plan_says(options, plan, compress, evaluated):
    planned = plan("wide2", f"{evaluated} {options}")
    report, _ = compress("wide2", f"{evaluated} {options}")
    assert [s["name"] for s in planned["stages"]] == [s["name"] for s in report["planned"]["stages"]]
    assert planned["operations"] > 0 and planned["seconds"] > 0
    compared = [stage for stage in report["stages"] if "planned_bytes" in stage]
    assert len(compared) >= 3
    assert {s["name"] for s in report["stages"]} - {s["name"] for s in compared} <= {"open", "save"}
    for stage in compared:
        assert 0.85 < stage["planned_bytes"] / stage["peak_bytes"] < 1.15, stage


def test_the_plan_is_a_table_and_writes_nothing(base, evaluated):
    before = sorted(path.name for path in base.iterdir())
    table = run("plan", base / "wide2", "--calibration", base / "train.txt", *evaluated.split(), "--repair",
                "solve,sublayer")
    assert "evaluate dense" in table and "activations" in table, table
    assert sorted(path.name for path in base.iterdir()) == before


@pytest.fixture(scope="module")
def limited(plan):
    """(limit, options) -> the plan of 264 windows of wide2 under that limit."""
    windows = "--samples 256 --held-out 8 --length 128"
    return lambda limit, options: plan("wide2", f"{windows} --memory-limit {limit} {options}")


@pytest.fixture(scope="module")
def free(limited):
    return limited("100GB", "--repair solve,sublayer")


def test_a_plan_with_memory_to_spare_gives_nothing_up(free):
    assert free["activations"] == "memory" and free["activation_dtype"] == "fp32" and free["changes"] == []


def test_a_limit_first_moves_streams_to_disk(limited, free):
    tight = limited(free["peak_bytes"] - 10_000_000, "--repair solve,sublayer")
    assert tight["activations"] == "disk" and tight["disk_bytes"] > free["disk_bytes"], tight
    assert tight["peak_bytes"] <= tight["memory_limit"], tight


def test_a_limit_rounds_streams_that_must_stay_in_memory(limited, free):
    rounded = limited(free["peak_bytes"] - 10_000_000, "--repair solve,sublayer --activations memory")
    assert rounded["activations"] == "memory" and rounded["activation_dtype"] == "bf16", rounded


def test_a_limit_takes_the_model_stage_from_auto(limited):
    with_model = limited("100GB", "--repair auto")
    assert with_model["repair"] == ["solve", "sublayer", "model"], with_model
    without = limited(with_model["peak_bytes"] * 2 // 3, "--repair auto")
    assert without["repair"] == ["solve", "sublayer"] and "no model stage" in without["changes"], without


@pytest.mark.parametrize("arguments, words", [
    (["--memory-limit", "20MB"], ["--memory-limit", "20 MB"]),
    (["--memory-limit", "2 bananas"], ["2 bananas", "2GiB"]),
    (["--activations", "tape"], ["tape", "auto, memory, host, disk"]),
    (["--activation-dtype", "fp8"], ["fp8", "auto, fp32, bf16"]),
], ids=["limit too low", "limit in bananas", "streams on tape", "streams in fp8"])
def test_what_cannot_be_kept_is_refused_with_what_would_do(arguments, words, base, tmp_path):
    out = tmp_path / "never"
    line = refusal(2, "compress", base / "tiny", "--output", out, "--calibration", base / "train.txt", *SMALL.split(),
                   *arguments)
    assert all(word in line for word in words), line
    assert not out.exists()


def test_the_least_limit_that_a_refusal_names_is_enough(base, plan):
    text = ["--calibration", base / "train.txt", *SMALL.split()]
    line = refusal(2, "plan", base / "tiny", *text, "--memory-limit", "20MB")
    least = int(re.findall(r"--memory-limit (\d+)MB", line)[-1])
    assert plan("tiny", f"{SMALL} --memory-limit {least + 20}MB")["peak_bytes"] > 20_000_000
