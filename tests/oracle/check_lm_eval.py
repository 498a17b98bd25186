"""Zero-shot scores against lm-eval itself, example by example (slow tier): check_lm_eval.py COMMAND DEMO_FOLDER SHARED_DATA [EXAMPLES [TASK...]]

lm-eval's own task files and metrics run on the same JSONL as ours, in the fields of the public sets. Needs the package lm-eval (0.4.x), which
scripts/setup --peers installs; skipped without it.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
try:
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
except ImportError:
    print("skipped: lm-eval is not installed (scripts/setup --peers)")
    sys.exit(77)

command, demo, data = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
limit = int(sys.argv[4]) if len(sys.argv) > 4 else 400
gguf = demo / "SmolLM2-135M-Instruct.Q4_1.gguf"


def labelled(item):
    letters = [chr(ord("A") + i) for i in range(len(item["choices"]))]
    return {"choices": {"text": item["choices"], "label": letters}, "answerKey": letters[item["gold"]]}


def boolq(item):
    passage, question = item["prompt"].removesuffix("?\nAnswer:").rsplit("\nQuestion: ", 1)
    return {"passage": passage, "question": question, "label": int(item["choices"][item["gold"]] == "yes")}


# task -> its file, the flattened item as the public set has it, the task's file in lm-eval, what of that does not fit the flattened file
TASKS = {
    "arc_easy": ("arc_easy_test", lambda i: {"question": i["question"], **labelled(i)}, "arc/arc_easy.yaml", {}),
    "openbookqa": ("openbookqa_test", lambda i: {"question_stem": i["question"], **labelled(i)}, "openbookqa/openbookqa.yaml", {}),
    "boolq": ("boolq_validation", boolq, "super_glue/boolq/default.yaml", {}),
    "rte": ("rte_validation", lambda i: {"sentence1": i["sentence1"], "sentence2": i["sentence2"], "label": i["gold"]}, "glue/rte/default.yaml", {}),
    "winogrande": ("winogrande_xl_validation", lambda i: {k: i[k] for k in ("sentence", "option1", "option2")} | {"answer": str(i["gold"] + 1)},
                   "winogrande/default.yaml", {}),
    # this file is preprocessed already
    "hellaswag": ("hellaswag_validation_400", dict, "hellaswag/hellaswag.yaml", {"process_docs": None, "doc_to_text": "{{ctx}}", "doc_to_target": "{{gold}}"}),
}
chosen = sys.argv[5:] or list(TASKS)
if not gguf.exists() or not all((data / "tasks" / f"{TASKS[t][0]}.jsonl").exists() for t in chosen):
    print("skipped: the model or the tasks are not at hand (scripts/demo brings the model)")
    sys.exit(77)


def write_task(folder, task):
    """The task's JSONL, and a task file for lm-eval that includes its own and reads that JSONL."""
    name, convert, yaml, overrides = TASKS[task]
    file = folder / f"{task}.jsonl"
    with (data / "tasks" / f"{name}.jsonl").open(encoding="utf-8") as source:
        file.write_text("".join(json.dumps(convert(json.loads(line))) + "\n" for line in source), encoding="utf-8")
    theirs = pathlib.Path(lm_eval.__file__).parent / "tasks" / yaml
    config = {"include": str(theirs), "task": f"{task}_here", "tag": None, "dataset_path": "json", "dataset_name": None,
              "dataset_kwargs": {"data_files": {"test": str(file)}}, "training_split": None, "validation_split": None, "test_split": "test", **overrides}
    (folder / f"{task}_here.yaml").write_text(json.dumps(config))  # JSON is YAML
    return file


def evaluate(folder, task, file, lm):
    out = subprocess.run([command, "zeroshot", folder / "model", "--tasks", f"{task}={file}", "--limit", str(limit), "--compute", "fp32", "--json", "--examples"],
                         check=True, capture_output=True, text=True).stdout
    ours = json.loads(out)["tasks"][0]
    name = f"{task}_here"
    theirs = lm_eval.simple_evaluate(model=lm, tasks=[name], limit=limit, num_fewshot=0, task_manager=TaskManager(include_path=str(folder), include_defaults=False))
    samples = sorted(theirs["samples"][name], key=lambda s: s["doc_id"])
    figures = theirs["results"][name]
    assert len(samples) == len(ours["scored"]), (len(samples), len(ours["scored"]))
    same, worst = 0, 0.0
    for sample, mine in zip(samples, ours["scored"], strict=True):
        scores = [float(r[0]) for r in sample["filtered_resps"]]
        same += scores.index(max(scores)) == mine["best"]
        worst = max([worst] + [abs(a - b) for a, b in zip(scores, mine["log_likelihoods"], strict=True)])
    n = len(samples)
    print(f"{task}: same answer on {same} of {n}, log-likelihoods within {worst:.2g} nats", flush=True)
    for metric in ("acc", "acc_norm"):
        if f"{metric},none" not in figures:
            continue
        value, error = figures[f"{metric},none"], float(figures[f"{metric}_stderr,none"])
        print(f"  {metric}: {100 * ours[metric]['value']:.2f} +- {100 * ours[metric]['stderr']:.2f} % (lm-eval {100 * value:.2f} +- {100 * error:.2f} %)", flush=True)
        assert abs(ours[metric]["value"] - value) <= 0.005 and abs(ours[metric]["stderr"] - error) <= 1e-3, (task, metric)
    assert same >= 0.995 * n, task


with tempfile.TemporaryDirectory() as temporary:
    root = pathlib.Path(temporary)
    subprocess.run([command, "convert", gguf, "--output", root / "model"], check=True, capture_output=True)
    files = {task: write_task(root, task) for task in chosen}
    model = HFLM(pretrained=str(root / "model"), dtype="float32", batch_size=8, device="cpu")
    for task, file in files.items():
        evaluate(root, task, file, model)
