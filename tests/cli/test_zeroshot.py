"""Zero-shot scores follow the rules of lm-eval: PyTorch computes them here, one (context, continuation) at a time."""
import bz2
import json
import random
import re

import pytest
import torch
from freelunch_command import call, refusal, run_json
from transformers import AutoTokenizer

TASKS = ["boolq", "rte", "hellaswag", "winogrande", "arc_easy", "arc_challenge", "openbookqa", "piqa", "choices"]


def clean(text):
    text = text.strip().replace(" [title]", ". ")
    return re.sub("\\[.*?\\]", "", text).replace("  ", " ")


def pairs(task, item):
    """[(context, continuation)], lengths that acc_norm divides by, gold"""

    def one(context, choices):
        return [(context, " " + c) for c in choices], [len(c) for c in choices]

    if task == "boolq":
        return *one(f"{item['passage']}\nQuestion: {item['question']}?\nAnswer:", ["no", "yes"]), item["label"]
    if task == "rte":
        context = f"{item['sentence1']}\nQuestion: {item['sentence2']} True or False?\nAnswer:"
        return *one(context, ["True", "False"]), item["label"]
    if task == "hellaswag":
        context = clean(item["activity_label"] + ": " + item["ctx_a"] + " " + item["ctx_b"].capitalize())
        return *one(context, [clean(e) for e in item["endings"]]), int(item["label"])
    if task == "winogrande":
        i = item["sentence"].index("_")
        contexts = [item["sentence"][:i] + item[o] for o in ("option1", "option2")]
        ending = " " + item["sentence"][i + 1:].strip()
        return [(c, ending) for c in contexts], [len(c) for c in contexts], int(item["answer"]) - 1
    if task in ("arc_easy", "arc_challenge"):
        gold = item["choices"]["label"].index(item["answerKey"])
        return *one(f"Question: {item['question']}\nAnswer:", item["choices"]["text"]), gold
    if task == "openbookqa":
        gold = item["choices"]["label"].index(item["answerKey"])
        return *one(item["question_stem"], item["choices"]["text"]), gold
    if task == "piqa":
        return *one(f"Question: {item['goal']}\nAnswer:", [item["sol1"], item["sol2"]]), item["label"]
    return *one(item["context"], item["choices"]), item["gold"]


def make_item(task, rng):
    def words(n):
        return " ".join("".join(rng.choices("abcdefghij", k=rng.randint(1, 6))) for _ in range(n))

    def labels():
        choices = dict(text=[words(rng.randint(1, 5)) for _ in range(4)], label=["A", "B", "C", "D"])
        return dict(choices=choices, answerKey=rng.choice("ABCD"))

    if task == "boolq":
        return dict(passage=words(rng.randint(3, 40)), question=words(5), label=rng.randint(0, 1))
    if task == "rte":
        return dict(sentence1=words(9), sentence2=words(4), label=rng.randint(0, 1))
    if task == "hellaswag":
        return dict(activity_label="Ab [x] cd", ctx_a=words(4) + " [title]",
                    ctx_b=rng.choice(["éclair ABC", "ßx Y", "", "日 aB"]), label=str(rng.randint(0, 3)),
                    endings=[words(3) + rng.choice([" [a] b", "  c", " [open", ""]) for _ in range(4)])
    if task == "winogrande":
        sentence = f"{words(5)} _ {words(rng.randint(1, 6))}"
        return dict(sentence=sentence, option1=words(1), option2=words(2), answer=rng.choice("12"))
    if task in ("arc_easy", "arc_challenge"):
        return dict(question=words(6), **labels())
    if task == "openbookqa":  # trailing spaces belong to the answer
        return dict(question_stem=words(8) + rng.choice(["", " ", "  "]), **labels())
    if task == "piqa":
        return dict(goal=words(4), sol1=words(7), sol2=words(3), label=rng.randint(0, 1))
    # longer than the model reads
    return dict(context=words(90), choices=[words(4), words(9), "日本 é"], gold=rng.randint(0, 2))


SPACES = [chr(c) for c in range(0x110000) if chr(c).isspace()]
NO_SPACES = ["\u200b", "\ufeff", "\u180e", "\u2060", "\x1b"]


def odd_items(task):
    """Items whose white space and letters ASCII's rules read otherwise than Python's."""
    answers = dict(choices=dict(text=["b\u2003", "\x1fc d", "e\u3000"], label=["A", "B", "C"]), answerKey="B")
    if task == "hellaswag":
        return [dict(activity_label=f"{a} Ab", ctx_a=f"ab{a}", ctx_b=b, label="1",
                     endings=[f"{a}x y{a}", f"z [a{a}b] c", f"d [a\nb] e{a}", f"  {a}  f"])
                for a, b in zip(["\xa0", "\u3000", "\x1c", "\x85", "\u2028", "\u200b"],
                                ["ǆEP \u0130X", "ΑΣΣΑΣ", "ŉ A", "ﬁN", "ᾳ Ω", "\U00010428a"])]
    if task == "winogrande":
        return [dict(sentence=f"ab cd{a}_{a}ef gh{a}", option1=f"x{a}", option2="y", answer="2") for a in SPACES]
    if task == "piqa":
        return [dict(goal=f"{a}ab{a}", sol1=f"{a}cd", sol2=f"ef{a}", label=0) for a in SPACES]
    if task == "openbookqa":
        return [dict(question_stem=f"ab cd{a}", **answers) for a in SPACES + NO_SPACES]
    contexts = [f"ab{a}cd{b}{a}" for a in SPACES + NO_SPACES for b in (" ", "\u3000", "e")]
    return [dict(context=c, choices=["f g", "\xa0h"], gold=0) for c in contexts]


ODD_TASKS = ["hellaswag", "winogrande", "piqa", "openbookqa", "choices"]


@pytest.mark.parametrize("task", ODD_TASKS)
def test_white_space_and_letters_are_those_of_python(task, dense, log_likelihood, tmp_path):
    items = odd_items(task)
    (tmp_path / f"{task}.json").write_text(json.dumps(items))
    [report] = run_json("zeroshot", dense, "--tasks", tmp_path / f"{task}.json", "--compute", "fp32",
                        "--examples")["tasks"]
    assert report["examples"] == len(items)
    for item, ours in zip(items, report["scored"], strict=True):
        theirs = [log_likelihood(*request) for request in pairs(task, item)[0]]
        assert ours["log_likelihoods"] == pytest.approx(theirs, rel=1e-5, abs=1e-3), item


@pytest.mark.parametrize("form", ["crlf", "marked", "packed", "utf-16", "array"])
def test_task_files_come_in_every_form_of_text(form, items, scored, dense, tmp_path):
    lines = "".join(json.dumps(i) + "\n" for i in items["arc_easy"])
    content = {"crlf": lines.replace("\n", "\r\n").encode(), "marked": lines.encode("utf-8-sig"),
               "packed": bz2.compress(lines.encode()), "utf-16": lines.encode("utf-16"),
               "array": json.dumps(items["arc_easy"], indent=2).encode()}[form]
    (tmp_path / "arc_easy.json").write_bytes(content)
    assert run_json("zeroshot", dense, "--tasks", tmp_path / "arc_easy.json", "--compute", "fp32", "--examples"
                    )["tasks"] == [scored["arc_easy"]]


def test_odd_items_are_skipped_with_one_warning_that_counts_them(items, scored, dense, tmp_path):
    odd = ["{", "[1]", '{"goal": null, "sol1": "a", "sol2": "b", "label": 0}', '{"goal": "a", "sol1": "b"}',
           '{"goal": "a \\udc00", "sol1": "a", "sol2": "b", "label": 0}']
    lines = [json.dumps(dict(i, idx=float("nan"))) for i in items["piqa"]]
    (tmp_path / "piqa.jsonl").write_text("\n".join(lines[:7] + odd + lines[7:]))
    result = call("zeroshot", dense, "--tasks", tmp_path / "piqa.jsonl", "--compute", "fp32", "--examples", "--json")
    [report] = json.loads(result.stdout)["tasks"]
    assert report == dict(scored["piqa"], skipped=len(odd))
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1 and "piqa.jsonl, line 8: not valid JSON" in warnings[0]
    assert "items skipped: 5, 40 are left" in warnings[0]


def test_a_right_answer_that_is_no_answer_counts_as_wrong(items, scored, dense, tmp_path):
    """lm-eval: gold = gold if gold < len(choices) else -100, and acc = 1.0 if pred == gold else 0.0."""
    extra = [dict(items["piqa"][0], label=label) for label in (2, -1)]
    (tmp_path / "piqa.jsonl").write_text("".join(json.dumps(i) + "\n" for i in items["piqa"] + extra))
    result = call("zeroshot", dense, "--tasks", tmp_path / "piqa.jsonl", "--compute", "fp32", "--json")
    [report] = json.loads(result.stdout)["tasks"]
    assert report["acc"]["value"] == pytest.approx(scored["piqa"]["acc"]["value"] * 40 / 42)
    assert "2 of 42" in result.stderr and "line 41" in result.stderr


@pytest.fixture(scope="module")
def items():
    rng = random.Random(0)
    return {task: [make_item(task, rng) for _ in range(40)] for task in TASKS}


@pytest.fixture(scope="module")
def scored(items, dense, tmp_path_factory):
    """task -> what the command says of it; all tasks in one run, as one would call it."""
    base = tmp_path_factory.mktemp("tasks")
    for task in TASKS:
        (base / f"{task}.jsonl").write_text("".join(json.dumps(i) + "\n" for i in items[task]))
    files = [base / f"{task}.jsonl" for task in TASKS]
    report = run_json("zeroshot", dense, "--tasks", *files, "--compute", "fp32", "--examples")
    assert [entry["task"] for entry in report["tasks"]] == TASKS
    return {entry["task"]: entry for entry in report["tasks"]}


@pytest.fixture(scope="module")
def log_likelihood(dense_model):
    """(context, continuation) -> nats, by the rules of lm-eval."""
    folder, model = dense_model
    tokenizer = AutoTokenizer.from_pretrained(folder)
    limit = model.config.max_position_embeddings

    def compute(context, continuation):
        spaces = len(context) - len(context.rstrip())
        if spaces:
            context, continuation = context[:-spaces], context[-spaces:] + continuation
        whole, alone = tokenizer.encode(context + continuation), tokenizer.encode(context)
        answer = whole[len(alone):]
        ids = torch.tensor((alone + answer)[-(limit + 1):])
        with torch.no_grad():
            log_p = model(ids[None, :-1]).logits[0].log_softmax(-1)
        return log_p[-len(answer):].gather(1, ids[-len(answer):, None]).sum().item()

    return compute


@pytest.mark.parametrize("task", TASKS)
def test_every_example_gets_the_log_likelihoods_and_answers_of_lm_eval(task, items, scored, log_likelihood):
    assert scored[task]["examples"] == 40
    for item, ours in zip(items[task], scored[task]["scored"], strict=True):
        requests, lengths, _ = pairs(task, item)
        theirs = [log_likelihood(*request) for request in requests]
        assert ours["log_likelihoods"] == pytest.approx(theirs, rel=1e-5, abs=1e-3), item
        normed = [v / max(1, n) for v, n in zip(theirs, lengths)]
        if sorted(theirs)[-1] - sorted(theirs)[-2] > 1e-3:
            assert ours["best"] == theirs.index(max(theirs)), item
        if sorted(normed)[-1] - sorted(normed)[-2] > 1e-4:
            assert ours["best_norm"] == normed.index(max(normed)), item


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("metric, answer", [("acc", "best"), ("acc_norm", "best_norm")])
def test_accuracy_and_its_error_follow_from_the_answers(task, metric, answer, items, scored):
    right = [ours[answer] == pairs(task, item)[2]
             for item, ours in zip(items[task], scored[task]["scored"], strict=True)]
    values = torch.tensor(right, dtype=torch.float64)
    assert abs(scored[task][metric]["value"] - values.mean().item()) < 1e-12
    assert abs(scored[task][metric]["stderr"] - (values.std() / len(values) ** 0.5).item()) < 1e-12


@pytest.mark.parametrize("line, reason", [
    ('{"context": "a"}', "choices"),
    ('{"context": "a", "choices": ["b"], "gold": 1}', "none of the answers"),
    ("7", "not a JSON object"),
    ("", "no examples"),
], ids=["field missing", "gold out of range", "not an object", "empty"])
def test_a_bad_task_file_is_refused_with_the_reason(line, reason, dense, tmp_path):
    (tmp_path / "bad.jsonl").write_text(line + "\n")
    assert reason in refusal(3, "zeroshot", dense, "--tasks", tmp_path / "bad.jsonl")


def test_an_unknown_task_is_refused_with_the_known_ones(dense):
    line = refusal(2, "zeroshot", dense, "--tasks", "mmlu=x.jsonl")
    assert "mmlu" in line and "boolq" in line
