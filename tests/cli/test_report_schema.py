"""freelunch.json of every kind of run follows docs/formats/report.schema.json, and docs/formats/report.md describes
every key of the schema. Each test can be run alone; FREELUNCH_COMMAND names the command."""
import copy
import json
import os
import pathlib
import re
import subprocess

import jsonschema
import pytest
import tiny_model

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = pathlib.Path(os.environ.get("FREELUNCH_COMMAND", ROOT / "build/release/freelunch"))
SCHEMA = json.loads((ROOT / "docs/formats/report.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


class Inputs:
    """A tiny model and texts; reports of runs on them, each made once."""

    def __init__(self, base):
        self.base = base
        self.reports = {}
        tiny_model.make(base / "dense")
        (base / "train.txt").write_text(tiny_model.text(3000))
        (base / "test.txt").write_text(tiny_model.text(1500, seed=1))
        self.text = ["--calibration", base / "train.txt", "--samples", 6, "--length", 32]
        self.calibration = [*self.text, "--held-out", 2]
        self.evaluation = ["--evaluate", base / "test.txt", "--evaluate-windows", 2, "--evaluate-length", 64]

    def command(self, *arguments):
        line = [COMMAND, *map(str, arguments), "--compute", "fp32", "--threads", "2"]
        result = subprocess.run(line, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def report(self, kind):
        if kind not in self.reports:
            arguments = KINDS[kind](self)
            output = self.base / f"out {kind}"
            printed = json.loads(self.command(*arguments, "--output", output, "--json"))
            assert json.loads((output / "freelunch.json").read_text()) == printed
            self.reports[kind] = printed
        return self.reports[kind]

    def mixture(self):
        from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

        if not (self.base / "mixture").exists():
            tiny_model.make(self.base / "mixture", classes=(Qwen3MoeConfig, Qwen3MoeForCausalLM), head_dim=16,
                            moe_intermediate_size=48, num_experts=4, num_experts_per_tok=2)
        return self.base / "mixture"

    def pruned(self):
        self.report("none")
        return self.base / "out none"


def compress(*options, calibrated=True, evaluated=False):
    return lambda i: ["compress", i.base / "dense", *(i.calibration if calibrated else []),
                      *(i.evaluation if evaluated else []), *options]


# each kind of run that decides which keys are there
KINDS = {
    "none": compress("--criterion", "magnitude", "--repair", "none", calibrated=False),
    "2:4 without repair": compress("--pattern", "2:4", "--repair", "none"),
    "solve": compress("--repair", "solve", evaluated=True),
    "matrix": compress("--repair", "matrix"),
    "sublayer": compress("--repair", "solve,sublayer", evaluated=True),
    "blocks": compress("--repair", "blocks:2", "--learning-rate", "1e-3", "--on-divergence", "restart"),
    "model": compress("--repair", "solve,model", evaluated=True),
    "adapters": compress("--repair", "lora,bias-norm", "--model-loss", "ce"),
    "undone": compress("--repair", "model", "--model-loss", "ce", "--model-learning-rate", "1e-2"),
    "auto within a limit": compress("--memory-limit", "2GiB"),
    "no held-out windows": lambda i: ["compress", i.base / "dense", *i.text, "--held-out", 0, "--repair",
                                      "solve,sublayer,model"],
    "allocation and sensitivity": compress("--allocation", "owl", "--sparsity", 0.6, "--repair", "solve",
                                           "--sensitivity", "kronecker", "--blend", "0,0.5"),
    "rules": compress("--rule", "2:4=*q_proj*", "--repair", "none"),
    "given masks": lambda i: ["reconstruct", i.pruned(), "--dense", i.base / "dense", *i.calibration, *i.evaluation,
                              "--repair", "solve,sublayer"],
    "mixture": lambda i: ["compress", i.mixture(), *i.calibration, "--repair", "solve,sublayer"],
    "smaller": compress("--mlp", "96", "--kv-groups", "1", evaluated=True),
    "size and zeros": compress("--size", "0.85", "--pattern", "2:4", "--repair", "solve"),
    "archive": compress("--repair", "none", "--format", "bitmask"),
    "gguf": compress("--repair", "none", "--format", "gguf"),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return Inputs(tmp_path_factory.mktemp("reports"))


def errors(report):
    return [f"{error.json_path}: {error.message}"[:300] for error in VALIDATOR.iter_errors(report)]


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_of_a_run_follows_the_schema(inputs, kind):
    assert errors(inputs.report(kind)) == []


def test_the_kinds_of_runs_have_every_key_that_a_run_on_the_cpu_can_have(inputs):
    """Otherwise the schema describes what no test has seen."""
    seen = set()

    def visit(value, path):
        if isinstance(value, dict):
            for key, inner in value.items():
                seen.add((*path, key))
                visit(inner, (*path, key))
        elif isinstance(value, list):
            for inner in value:
                visit(inner, path)

    for kind in KINDS:
        visit(inputs.report(kind), ())
    on_a_device_only = {("peak_device_bytes",), ("stages", "peak_device_bytes")}
    assert {path for path in schema_paths() if path not in seen} == on_a_device_only


def test_the_budget_that_plan_prints_is_the_one_in_the_report(inputs):
    request = ["plan", inputs.base / "dense", *inputs.calibration, "--repair", "solve", "--json"]
    printed = json.loads(inputs.command(*request))
    budget = {key: value for key, value in printed.items() if key in SCHEMA["$defs"]["budget"]["properties"]}
    partial = {"$ref": "#/$defs/budget", "$defs": SCHEMA["$defs"]}
    assert list(jsonschema.Draft202012Validator(partial).iter_errors(budget)) == []


def places(value, path=()):
    """Every object of a report, as a path; of a list, the last element."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            if path[:1] != ("plan",) and path[:1] != ("sha256",) and key not in ("plan", "sha256"):
                yield from places(inner, (*path, key))
    elif isinstance(value, list) and value:
        yield from places(value[-1], (*path, len(value) - 1))


def at(report, path):
    for step in path:
        report = report[step]
    return report


def test_the_schema_refuses_a_key_that_it_does_not_describe(inputs):
    report = inputs.report("mixture")
    for path in places(report):
        changed = copy.deepcopy(report)
        at(changed, path)["undocumented"] = 1
        assert any("undocumented" in error for error in errors(changed)), path


def test_the_schema_refuses_a_number_in_place_of_a_text_and_a_text_in_place_of_a_number(inputs):
    report = inputs.report("sublayer")
    for path in places(report):
        for key, value in at(report, path).items():
            if isinstance(value, (dict, list)):
                continue
            changed = copy.deepcopy(report)
            at(changed, path)[key] = 1 if isinstance(value, str) else "1"
            assert errors(changed), (*path, key)


def schema_paths(schema=SCHEMA, path=()):
    """Every key that the schema names, as a path through objects and lists."""
    if "$ref" in schema:
        yield from schema_paths(SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]], path)
    for key, inner in schema.get("properties", {}).items():
        yield (*path, key)
        yield from schema_paths(inner, (*path, key))
    if "items" in schema:
        yield from schema_paths(schema["items"], path)


def test_the_page_describes_every_key_of_the_schema():
    page = (ROOT / "docs/formats/report.md").read_text()
    head, *rest = re.split(r"^## ", page, flags=re.M)
    sections = {re.match(r"`(\w+)", section)[1]: section for section in rest} | {None: head}
    for path in schema_paths():
        section = sections.get(path[0]) if len(path) > 1 else sections[None]
        assert section and f"`{path[-1]}`" in section, f"docs/formats/report.md does not describe {'.'.join(path)}"
