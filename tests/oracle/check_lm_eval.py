"""Zero-shot scores against lm-eval's own HFLM, example by example (slow tier): check_lm_eval.py COMMAND DEMO_FOLDER SHARED_DATA [EXAMPLES]

Needs the package lm-eval (0.4.x) beside transformers; skipped without it.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
except ImportError:
    print("skipped: lm-eval is not installed (pip install 'lm-eval<0.5')")
    sys.exit(77)

command, demo, data = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
examples = int(sys.argv[4]) if len(sys.argv) > 4 else 400
gguf = demo / "SmolLM2-135M-Instruct.Q4_1.gguf"
files = sorted((data / "tasks").glob("*.jsonl"))
if not gguf.exists() or not files:
    print("skipped: the model or the tasks are not at hand (scripts/demo brings the model)")
    sys.exit(77)


def requests(task, item):
    """The flattened fields of the shared files; prompts as docs/methods/zero_shot.md has them."""
    if task.startswith("winogrande"):
        i = item["sentence"].index("_")
        return [(item["sentence"][:i] + item[o], " " + item["sentence"][i + 1:].strip()) for o in ("option1", "option2")]
    if task.startswith("rte"):
        context, choices = f"{item['sentence1']}\nQuestion: {item['sentence2']} True or False?\nAnswer:", ["True", "False"]
    elif task.startswith("arc"):
        context, choices = f"Question: {item['question']}\nAnswer:", item["choices"]
    else:
        context, choices = item.get("prompt") or item.get("ctx") or item["question"], item["choices"]
    return [(context, " " + c) for c in choices]


with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary) / "model"
    subprocess.run([command, "convert", gguf, "--output", folder], check=True, capture_output=True)
    ours = json.loads(subprocess.run([command, "zeroshot", folder, "--tasks", *files, "--limit", str(examples), "--compute", "fp32", "--json", "--examples"], check=True, capture_output=True, text=True).stdout)
    lm = HFLM(pretrained=str(folder), dtype="float32", batch_size=8, device="cpu")
    for file, task in zip(files, ours["tasks"], strict=True):
        items = [json.loads(line) for line in file.open()][:examples]
        pairs = [requests(file.name, item) for item in items]
        scores = iter(lm.loglikelihood([Instance("loglikelihood", {}, pair, i) for i, group in enumerate(pairs) for pair in group], disable_tqdm=True))
        same = right = 0
        for group, item, mine in zip(pairs, items, task["scored"], strict=True):
            theirs = [next(scores)[0] for _ in group]
            best = theirs.index(max(theirs))
            same += best == mine["best"]
            right += best == item["gold"]
        n = len(items)
        print(f"{file.name}: same answer on {same} of {n}, accuracy {100 * task['acc']['value']:.2f} % (lm-eval {100 * right / n:.2f} %)", flush=True)
        assert same >= 0.995 * n and abs(task["acc"]["value"] - right / n) <= 0.005, file.name
