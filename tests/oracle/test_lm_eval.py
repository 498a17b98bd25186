"""Zero-shot scores equal those of lm-eval, example by example, on SmolLM2-135M.

lm-eval's own task files and metrics run on the same JSONL as the command, in the fields of the public sets. Needs the
package lm-eval 0.4, which scripts/setup --peers installs in .venv-peers; skipped without it. FREELUNCH_EXAMPLES:
examples of each task, 400 if unset.
"""
import functools
import json
import os
import pathlib

import pytest

os.environ["HF_DATASETS_OFFLINE"] = "1"
lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed (scripts/setup --peers)")
from freelunch_command import run, run_json  # noqa: E402
from lm_eval.models.huggingface import HFLM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402
from places import place  # noqa: E402

pytestmark = pytest.mark.slow
LIMIT = int(os.environ.get("FREELUNCH_EXAMPLES", "400"))


def labelled(item):
    letters = [chr(ord("A") + i) for i in range(len(item["choices"]))]
    return {"choices": {"text": item["choices"], "label": letters}, "answerKey": letters[item["gold"]]}


def arc(item):
    return {"question": item["question"], **labelled(item)}


def openbookqa(item):
    return {"question_stem": item["question"], **labelled(item)}


def boolq(item):
    passage, question = item["prompt"].removesuffix("?\nAnswer:").rsplit("\nQuestion: ", 1)
    return {"passage": passage, "question": question, "label": int(item["choices"][item["gold"]] == "yes")}


def rte(item):
    return {"sentence1": item["sentence1"], "sentence2": item["sentence2"], "label": item["gold"]}


def winogrande(item):
    return {k: item[k] for k in ("sentence", "option1", "option2")} | {"answer": str(item["gold"] + 1)}


# task -> its shared file, an item of that file as the public set has it, lm-eval's task file, what of it does not fit
TASKS = {
    "arc_easy": ("arc_easy_test", arc, "arc/arc_easy.yaml", {}),
    "openbookqa": ("openbookqa_test", openbookqa, "openbookqa/openbookqa.yaml", {}),
    "boolq": ("boolq_validation", boolq, "super_glue/boolq/default.yaml", {}),
    "rte": ("rte_validation", rte, "glue/rte/default.yaml", {}),
    "winogrande": ("winogrande_xl_validation", winogrande, "winogrande/default.yaml", {}),
    # this file is preprocessed already
    "hellaswag": ("hellaswag_validation_400", dict, "hellaswag/hellaswag.yaml",
                  {"process_docs": None, "doc_to_text": "{{ctx}}", "doc_to_target": "{{gold}}"}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The model as a Hugging Face folder, for lm-eval."""
    out = tmp_path_factory.mktemp("lm_eval") / "model"
    run("convert", place("FREELUNCH_DEMO", "SmolLM2-135M-Instruct.Q4_1.gguf"), "--output", out)
    return out


@pytest.fixture(scope="module")
def model(folder):
    return HFLM(pretrained=str(folder), dtype="float32", batch_size=8, device="cpu")


def write_task(folder, task):
    """Writes the task's JSONL, and a task file that includes lm-eval's and reads that JSONL. Returns the JSONL."""
    name, convert, yaml, overrides = TASKS[task]
    file = folder / f"{task}.jsonl"
    source = place("FREELUNCH_DATA", "tasks", f"{name}.jsonl").read_text(encoding="utf-8")
    items = [convert(json.loads(line)) for line in source.splitlines()]
    file.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    theirs = pathlib.Path(lm_eval.__file__).parent / "tasks" / yaml
    config = {"include": str(theirs), "task": f"{task}_here", "tag": None, "dataset_path": "json",
              "dataset_name": None, "dataset_kwargs": {"data_files": {"test": str(file)}}, "training_split": None,
              "validation_split": None, "test_split": "test", **overrides}
    (folder / f"{task}_here.yaml").write_text(json.dumps(config))  # JSON is YAML
    return file


@pytest.fixture(scope="module")
def scored(folder, model):
    """task -> what the command and lm-eval say of it: (report, samples, figures), run once."""

    @functools.cache
    def scored(task):
        file = write_task(folder.parent, task)
        ours = run_json("zeroshot", folder, "--tasks", f"{task}={file}", "--limit", LIMIT, "--compute", "fp32",
                        "--examples")["tasks"][0]
        manager = TaskManager(include_path=str(folder.parent), include_defaults=False)
        theirs = lm_eval.simple_evaluate(model=model, tasks=[f"{task}_here"], limit=LIMIT, num_fewshot=0,
                                         task_manager=manager)
        samples = sorted(theirs["samples"][f"{task}_here"], key=lambda s: s["doc_id"])
        return ours, samples, theirs["results"][f"{task}_here"]

    return scored


@pytest.mark.parametrize("task", TASKS)
def test_the_answers_are_those_of_lm_eval(task, scored):
    ours, samples, _ = scored(task)
    assert len(samples) == len(ours["scored"])
    same, worst = 0, 0.0
    for sample, mine in zip(samples, ours["scored"], strict=True):
        scores = [float(r[0]) for r in sample["filtered_resps"]]
        same += scores.index(max(scores)) == mine["best"]
        worst = max([worst] + [abs(a - b) for a, b in zip(scores, mine["log_likelihoods"], strict=True)])
    print(f"{task}: same answer on {same} of {len(samples)}, log-likelihoods within {worst:.2g} nats")
    assert same >= 0.995 * len(samples)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("metric", ["acc", "acc_norm"])
def test_the_accuracy_and_its_error_are_those_of_lm_eval(task, metric, scored):
    ours, _, figures = scored(task)
    if f"{metric},none" not in figures:
        pytest.skip(f"lm-eval has no {metric} for {task}")
    value, error = figures[f"{metric},none"], float(figures[f"{metric}_stderr,none"])
    print(f"{task} {metric}: {100 * ours[metric]['value']:.2f} +- {100 * ours[metric]['stderr']:.2f} % "
          f"(lm-eval {100 * value:.2f} +- {100 * error:.2f} %)")
    assert abs(ours[metric]["value"] - value) <= 0.005 and abs(ours[metric]["stderr"] - error) <= 1e-3
