"""Zero-shot scores against the evaluation harness's rules in PyTorch, one (context, continuation) at a time: check_zeroshot.py COMMAND"""
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny_model

command = sys.argv[1]


def clean(text):
    text = text.strip().replace(" [title]", ". ")
    return re.sub("\\[.*?\\]", "", text).replace("  ", " ")


def pairs(task, item):
    """[(context, continuation)], lengths that acc_norm divides by, gold"""
    one = lambda context, choices: ([(context, " " + c) for c in choices], [len(c) for c in choices])
    if task == "boolq":
        return *one(f"{item['passage']}\nQuestion: {item['question']}?\nAnswer:", ["no", "yes"]), item["label"]
    if task == "rte":
        return *one(f"{item['sentence1']}\nQuestion: {item['sentence2']} True or False?\nAnswer:", ["True", "False"]), item["label"]
    if task == "hellaswag":
        return *one(clean(item["activity_label"] + ": " + item["ctx_a"] + " " + item["ctx_b"].capitalize()), [clean(e) for e in item["endings"]]), int(item["label"])
    if task == "winogrande":
        i = item["sentence"].index("_")
        contexts = [item["sentence"][:i] + item[o] for o in ("option1", "option2")]
        return [(c, " " + item["sentence"][i + 1:].strip()) for c in contexts], [len(c) for c in contexts], int(item["answer"]) - 1
    if task in ("arc_easy", "arc_challenge"):
        return *one(f"Question: {item['question']}\nAnswer:", item["choices"]["text"]), item["choices"]["label"].index(item["answerKey"])
    if task == "openbookqa":
        return *one(item["question_stem"], item["choices"]["text"]), item["choices"]["label"].index(item["answerKey"])
    if task == "piqa":
        return *one(f"Question: {item['goal']}\nAnswer:", [item["sol1"], item["sol2"]]), item["label"]
    return *one(item["context"], item["choices"]), item["gold"]


def make_item(task, rng):
    words = lambda n: " ".join("".join(rng.choices("abcdefghij", k=rng.randint(1, 6))) for _ in range(n))
    labels = lambda: dict(choices=dict(text=[words(rng.randint(1, 5)) for _ in range(4)], label=["A", "B", "C", "D"]), answerKey=rng.choice("ABCD"))
    if task == "boolq":
        return dict(passage=words(rng.randint(3, 40)), question=words(5), label=rng.randint(0, 1))
    if task == "rte":
        return dict(sentence1=words(9), sentence2=words(4), label=rng.randint(0, 1))
    if task == "hellaswag":
        return dict(activity_label="Ab [x] cd", ctx_a=words(4) + " [title]", ctx_b=rng.choice(["éclair ABC", "ßx Y", "", "日 aB"]), label=str(rng.randint(0, 3)), endings=[words(3) + rng.choice([" [a] b", "  c", " [open", ""]) for _ in range(4)])
    if task == "winogrande":
        return dict(sentence=f"{words(5)} _ {words(rng.randint(1, 6))}", option1=words(1), option2=words(2), answer=rng.choice("12"))
    if task in ("arc_easy", "arc_challenge"):
        return dict(question=words(6), **labels())
    if task == "openbookqa":
        return dict(question_stem=words(8) + rng.choice(["", " ", "  "]), **labels())  # trailing spaces belong to the answer
    if task == "piqa":
        return dict(goal=words(4), sol1=words(7), sol2=words(3), label=rng.randint(0, 1))
    return dict(context=words(90), choices=[words(4), words(9), "日本 é"], gold=rng.randint(0, 2))  # longer than the model reads


with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    model = tiny_model.make(base / "model")
    tokenizer = AutoTokenizer.from_pretrained(base / "model")
    rng = random.Random(0)
    tasks = ["boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa", "piqa", "choices"]
    items = {task: [make_item(task, rng) for _ in range(40)] for task in tasks}
    for task in tasks:
        (base / f"{task}.jsonl").write_text("".join(json.dumps(i) + "\n" for i in items[task]))
    got = json.loads(subprocess.run([command, "zeroshot", base / "model", "--tasks", *[base / f"{t}.jsonl" for t in tasks], "--compute", "fp32", "--json", "--examples"], check=True, capture_output=True, text=True).stdout)
    limit = model.config.max_position_embeddings
    for task, scored in zip(tasks, got["tasks"], strict=True):
        assert scored["task"] == task and scored["examples"] == 40
        right, right_norm = [], []
        for item, ours in zip(items[task], scored["scored"], strict=True):
            requests, lengths, gold = pairs(task, item)
            theirs = []
            for context, continuation in requests:
                spaces = len(context) - len(context.rstrip())
                if spaces:
                    context, continuation = context[:-spaces], context[-spaces:] + continuation
                whole, alone = tokenizer.encode(context + continuation), tokenizer.encode(context)
                answer = whole[len(alone):]
                ids = torch.tensor((alone + answer)[-(limit + 1):])
                with torch.no_grad():
                    log_p = model(ids[None, :-1]).logits[0].log_softmax(-1)
                theirs.append(log_p[-len(answer):].gather(1, ids[-len(answer):, None]).sum().item())
            assert torch.allclose(torch.tensor(theirs), torch.tensor(ours["log_likelihoods"]), atol=1e-3), (task, item, theirs, ours)
            normed = [v / max(1, n) for v, n in zip(theirs, lengths)]
            if sorted(theirs)[-1] - sorted(theirs)[-2] > 1e-3:
                assert ours["best"] == theirs.index(max(theirs)), (task, item)
            if sorted(normed)[-1] - sorted(normed)[-2] > 1e-4:
                assert ours["best_norm"] == normed.index(max(normed)), (task, item)
            right.append(ours["best"] == gold)
            right_norm.append(ours["best_norm"] == gold)
        for name, values in (("acc", right), ("acc_norm", right_norm)):
            values = torch.tensor(values, dtype=torch.float64)
            assert abs(scored[name]["value"] - values.mean().item()) < 1e-12
            assert abs(scored[name]["stderr"] - (values.std() / len(values) ** 0.5).item()) < 1e-12
        print(f"{task}: 40 examples, acc {scored['acc']['value']:.3f}")
    # bad files: one line that names file, line and field
    for text, reason in (('{"context": "a"}', "choices"), ('{"context": "a", "choices": ["b"], "gold": 1}', "number 1 of 1"), ("[]", "not a JSON object"), ("", "no examples")):
        (base / "bad.jsonl").write_text(text + "\n")
        result = subprocess.run([command, "zeroshot", base / "model", "--tasks", base / "bad.jsonl"], capture_output=True, text=True)
        assert result.returncode == 3 and reason in result.stderr and result.stderr.count("\n") == 1, result.stderr
    result = subprocess.run([command, "zeroshot", base / "model", "--tasks", "mmlu=x.jsonl"], capture_output=True, text=True)
    assert result.returncode == 2 and "mmlu" in result.stderr and "boolq" in result.stderr, result.stderr
