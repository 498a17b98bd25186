"""A call with paths does what the command does: the same bytes, the same JSON, the same refusals."""
import json

import pytest
from freelunch_command import digest, refusal, run, run_json
from short_runs import flags


@pytest.fixture(scope="module")
def compressed(freelunch, folder, short, tmp_path_factory):
    """(folder of the command, folder of the call, report of the call)"""
    base = tmp_path_factory.mktemp("compressed")
    run("compress", folder, "--output", base / "command", *flags(short), "--evaluate", short["calibration"],
        "--evaluate-windows", 2)
    report = freelunch.compress(folder, base / "call", **short, evaluate=short["calibration"], evaluate_windows=2)
    return base / "command", base / "call", report


def test_compress_writes_the_bytes_of_the_command(compressed):
    command, call, _ = compressed
    assert digest(command) == digest(call)
    names = sorted(p.name for p in command.iterdir())
    assert names == sorted(p.name for p in call.iterdir())
    for name in set(names) - {"freelunch.json", "report.html"}:  # these have the time and the command
        assert (command / name).read_bytes() == (call / name).read_bytes(), name


def test_the_report_has_the_keys_and_figures_of_freelunch_json(compressed):
    command, call, report = compressed
    assert report == json.loads((call / "freelunch.json").read_text())
    of_command = json.loads((command / "freelunch.json").read_text())
    assert report.keys() == of_command.keys()
    for key in ("figures", "sparsity", "plan", "sha256", "model"):
        assert report[key] == of_command[key], key
    assert report["command"].startswith("freelunch.compress('")


def test_the_report_becomes_the_page_that_the_run_wrote(compressed, tmp_path):
    _, call, report = compressed
    page = report.to_html(tmp_path / "report.html")
    assert page == (call / "report.html").read_text() == (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("as_given", [list, iter, lambda texts: [{"body": t} for t in texts]],
                         ids=["list", "iterator", "rows"])
def test_texts_in_memory_count_as_those_of_a_file(freelunch, folder, short, as_given, tmp_path):
    lines = short["calibration"].read_text().splitlines()
    file = tmp_path / "text.jsonl"
    file.write_text("".join(json.dumps({"body": line}) + "\n" for line in lines))
    options = dict(short, repair="none", field="body")
    freelunch.compress(folder, tmp_path / "file", **dict(options, calibration=file))
    freelunch.compress(folder, tmp_path / "memory", **dict(options, calibration=as_given(lines)))
    assert digest(tmp_path / "file") == digest(tmp_path / "memory")


def test_an_endless_iterable_is_read_only_as_far_as_needed(freelunch, folder, short, tmp_path):
    read = []

    def endless():
        while True:
            read.append(1)
            yield "abc de fgh " * 10

    freelunch.compress(folder, tmp_path / "out", **dict(short, repair="none", calibration=endless()))
    needed = (short["samples"] + short["held_out"]) * short["length"]
    assert len(read) <= needed * 64 // 100


@pytest.mark.parametrize("texts, message", [
    ([], "calibration contains no text"),
    (["a", 3], "calibration: item 1 is int, expected a string"),
    ([{"body": "a"}], "calibration: item 0 has no field 'text'; it has body"),
    (5, "calibration is int, expected a path or an iterable of strings"),
    (["\ud800"], "calibration: item 0 holds half of a surrogate pair, which is no character"),
])
def test_what_is_no_text_is_refused(freelunch, folder, texts, message, tmp_path):
    with pytest.raises(ValueError) as refused:
        freelunch.compress(folder, tmp_path / "out", calibration=texts)
    assert str(refused.value) == message


def test_reconstruct_writes_the_bytes_of_the_command(freelunch, folder, compressed, short, tmp_path):
    pruned = tmp_path / "pruned"
    freelunch.compress(folder, pruned, criterion="magnitude", repair="none")
    options = dict(short, repair="solve")
    run("reconstruct", pruned, "--dense", folder, "--output", tmp_path / "command", *flags(options))
    report = freelunch.reconstruct(pruned, folder, tmp_path / "call", **options)
    assert digest(tmp_path / "command") == digest(tmp_path / "call") != digest(pruned)
    assert report["stages"][-1]["name"] == "save"


def test_perplexity_is_what_the_command_prints(freelunch, folder, text):
    options = dict(length=32, windows=3, threads=1)
    printed = run_json("perplexity", folder, "--text", text, *flags(options))
    assert freelunch.perplexity(folder, text, **options) == printed


def test_zeroshot_is_what_the_command_prints(freelunch, folder, tmp_path):
    tasks = tmp_path / "choices.jsonl"
    tasks.write_text("".join(json.dumps(dict(context=f"abc {i}", choices=["de", "fgh ij"], gold=i % 2)) + "\n"
                             for i in range(6)))
    printed = run_json("zeroshot", folder, "--tasks", tasks, "--limit", 5, "--threads", 1)
    assert freelunch.zeroshot(folder, str(tasks), limit=5, threads=1) == printed
    assert freelunch.zeroshot(folder, {"choices": tasks}, limit=5, threads=1) == printed
    assert "scored" in freelunch.zeroshot(folder, [str(tasks)], limit=5, threads=1, examples=True)["tasks"][0]


def test_inspect_is_what_the_command_prints(freelunch, folder):
    assert freelunch.inspect(folder) == run_json("inspect", folder)


def test_convert_writes_the_bytes_of_the_command(freelunch, folder, tmp_path):
    run("convert", folder, "--output", tmp_path / "command.gguf", "--dtype", "f16")
    written = freelunch.convert(folder, tmp_path / "call.gguf", dtype="f16")
    assert written == {"output": str(tmp_path / "call.gguf")}
    assert (tmp_path / "call.gguf").read_bytes() == (tmp_path / "command.gguf").read_bytes()


def test_plan_has_what_the_command_prints(freelunch, folder, short):
    printed = run_json("plan", folder, *flags(short))
    planned = freelunch.plan(folder, **short)
    assert planned.keys() == printed.keys()
    assert planned["repair"] == printed["repair"] == ["solve", "sublayer"]
    assert [s["name"] for s in planned["stages"]] == [s["name"] for s in printed["stages"]]


def test_a_study_has_the_results_of_the_command(freelunch, folder, text, tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(f"""models = ["{folder}"]
[calibration]
text = "{text}"
samples = 4
length = 32
held_out = 2
[[evaluate]]
name = "test"
text = "{text}"
windows = 2
length = 32
[[grid]]
criterion = ["magnitude", "wanda"]
repair = ["none"]
""")
    assert len(freelunch.study(file, list=True)["cells"]) == 2
    results = freelunch.study(file, tmp_path / "call", threads=1)
    printed = run_json("study", file, "--output", tmp_path / "command", "--threads", 1)
    figures = [[(row["id"] if "id" in row else row.get("criterion"), row["perplexity"]["test"]["mean"])
                if isinstance(row.get("perplexity"), dict) and "test" in row["perplexity"] else row.keys()
                for row in found["rows"]] for found in (results, printed)]
    assert figures[0] == figures[1] and len(figures[0]) == 2


@pytest.mark.parametrize("arguments, keywords, code", [
    (["--samples", "0"], dict(samples=0), 2),
    (["--sparsity", "1.5"], dict(sparsity=1.5), 2),
    (["--pattern", "4:2"], dict(pattern="4:2"), 2),
    (["--pattern", "0.5"], dict(pattern="0.5"), 2),
    (["--repair", "solved"], dict(repair="solved"), 2),
    (["--criterion", "wander"], dict(criterion="wander"), 2),
    (["--held-out", "-1"], dict(held_out=-1), 2),
    (["--lambda", "x"], dict(lambda_="x"), 2),
    (["--learning-rate", "nan"], dict(learning_rate=float("nan")), 2),
    (["--memory-limit", "lots"], dict(memory_limit="lots"), 2),
    (["--device", "cuda:x"], dict(device="cuda:x"), 2),
    ([], {}, 2),  # no calibration text
    (["--calibration", "absent.txt"], dict(calibration="absent.txt"), 3),
])
def test_refusals_are_those_of_the_command(freelunch, folder, arguments, keywords, code, tmp_path):
    printed = refusal(code, "compress", folder, "--output", tmp_path / "out", *arguments)
    with pytest.raises(ValueError if code == 2 else freelunch.Error) as refused:
        freelunch.compress(folder, tmp_path / "out", **keywords)
    spelled = printed.removeprefix("freelunch: ")
    for keyword in freelunch.options("compress"):
        spelled = spelled.replace(f"--{keyword['name']} ", f"{keyword['keyword']} ")
    spelled = spelled.removeprefix(f"--{arguments[0][2:]}: " if arguments else "")
    assert str(refused.value).replace("'", "") == spelled.replace("--", "").replace("'", "")


def test_a_missing_model_is_an_error_with_its_kind(freelunch, tmp_path):
    with pytest.raises(freelunch.Error) as refused:
        freelunch.inspect(tmp_path / "absent")
    assert refused.value.kind == "bad-file" and "absent' does not exist" in str(refused.value)


def test_options_exclude_and_need_each_other_as_on_the_command_line(freelunch, folder, tmp_path):
    with pytest.raises(ValueError, match="^pattern excludes sparsity$"):
        freelunch.compress(folder, tmp_path / "out", sparsity=0.5, pattern="2:4")
    with pytest.raises(ValueError, match="^sensitivity_damping requires sensitivity$"):
        freelunch.compress(folder, tmp_path / "out", sensitivity_damping=0.1)


def test_an_occupied_output_is_refused_and_overwritten_on_request(freelunch, folder, tmp_path):
    output = tmp_path / "out"
    freelunch.compress(folder, output, criterion="magnitude", repair="none")
    with pytest.raises(ValueError, match="overwrite"):
        freelunch.compress(folder, output, criterion="magnitude", repair="none")
    freelunch.compress(folder, output, criterion="magnitude", repair="none", overwrite=True)


def test_a_path_needs_an_output(freelunch, folder):
    with pytest.raises(ValueError, match="^output is required"):
        freelunch.compress(folder, criterion="magnitude", repair="none")
