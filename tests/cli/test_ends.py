"""Where generated texts end and what an empty context of a zero-shot item is, as in transformers and lm-eval."""
import json
import shutil

import pytest
import tiny_model
import torch
from freelunch_command import call, refusal, run, run_json
from gguf_files import metadata
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

PROMPT = "abc def"
TOKENS = 24


@pytest.fixture
def folder(dense, tmp_path):
    return shutil.copytree(dense, tmp_path / "in")


@pytest.fixture(scope="module")
def free(dense):
    """The greedy tokens if nothing ends the text."""
    return run_json("generate", dense, "--prompt", PROMPT, "--tokens", TOKENS, "--past-end", "--compute", "fp32")["tokens"]


@pytest.fixture(scope="module")
def ends(free):
    """Two tokens that come up late and later, and one that does not."""
    first = [t for i, t in enumerate(free) if t not in free[:i]]
    assert len(first) >= 3, free
    return first[-1], first[1], next(t for t in range(1, 400) if t not in free)


def edit(path, **values):
    content = json.loads(path.read_text()) if path.exists() else {}
    content.update(values)
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))


def expected_tokens(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(folder)(PROMPT, return_tensors="pt").input_ids
    out = model.generate(ids, max_new_tokens=TOKENS, do_sample=False)[0, ids.shape[1]:].tolist()
    stop = model.generation_config.eos_token_id
    return out[:-1] if out[-1] in (stop if isinstance(stop, list) else [stop]) else out


# how config.json and generation_config.json name the end tokens; None: no generation_config.json
@pytest.mark.parametrize("config, generation", [
    (lambda late, early, never: [never, late], None),
    (lambda late, early, never: [never, early, late], None),
    (lambda late, early, never: late, lambda late, early, never: [never, early]),
    (lambda late, early, never: [early], lambda late, early, never: [never, late]),
    (lambda late, early, never: never, lambda late, early, never: late),
], ids=["list", "longer list", "both", "generation_config.json wins", "one id"])
def test_a_text_ends_at_each_end_token_as_in_transformers(config, generation, folder, free, ends):
    edit(folder / "config.json", eos_token_id=config(*ends))
    (folder / "generation_config.json").unlink(missing_ok=True)
    if generation:
        edit(folder / "generation_config.json", eos_token_id=generation(*ends))
    got = run_json("generate", folder, "--prompt", PROMPT, "--tokens", TOKENS, "--compute", "fp32")
    assert got["tokens"] == expected_tokens(folder) and len(got["tokens"]) < len(free)
    assert got["ending"] == "end-of-text"


@pytest.mark.parametrize("key", ["eos", "eot", "eom"])
def test_gguf_ends_at_eos_eot_and_eom(key, dense_model, free, ends, tmp_path):
    late, _, never = ends

    def tokenizer(writer, folder):
        tiny_model.add_byte_level_tokenizer(writer, folder)
        del writer.kv_data[0]["tokenizer.ggml.eos_token_id"]
        writer.add_eos_token_id(late if key == "eos" else never)
        if key != "eos":
            getattr(writer, f"add_{key}_token_id")(late)

    tiny_model.write_gguf(tmp_path / "m.gguf", *dense_model, tokenizer)
    got = run_json("generate", tmp_path / "m.gguf", "--prompt", PROMPT, "--tokens", TOKENS, "--compute", "fp32")
    assert got["tokens"] == free[:free.index(late)]
    run("convert", tmp_path / "m.gguf", "-o", tmp_path / "out", "--dtype", "f32")
    assert expected_tokens(tmp_path / "out") == got["tokens"]


def test_end_tokens_of_a_folder_reach_gguf(folder, ends, tmp_path):
    late, early, never = ends
    edit(folder / "generation_config.json", eos_token_id=[0, late, early])
    run("convert", folder, "-o", tmp_path / "m.gguf")
    fields = metadata(tmp_path / "m.gguf")
    assert [fields[f"tokenizer.ggml.{k}_token_id"] for k in ("eos", "eot", "eom")] == [0, late, early]
    got = run_json("generate", tmp_path / "m.gguf", "--prompt", PROMPT, "--tokens", TOKENS, "--compute", "fp32")
    assert got["tokens"] == expected_tokens(folder)


def test_a_text_ends_where_learned_positions_end(tmp_path):
    folder = tmp_path / "gpt2"
    size = 24
    tiny_model.make(folder, classes=(GPT2Config, GPT2LMHeadModel), max_position_embeddings=size)
    edit(folder / "generation_config.json", eos_token_id=None)
    edit(folder / "config.json", eos_token_id=None)
    result = call("generate", folder, "--prompt", PROMPT, "--tokens", 100, "--compute", "fp32", "--json")
    assert result.returncode == 0, result.stderr
    got = json.loads(result.stdout)
    assert len(got["prompt"]) + len(got["tokens"]) == size + 1 and got["ending"] == "positions"
    assert f"warning: the text ends after {len(got['tokens'])} of 100 tokens" in result.stderr
    ids = torch.tensor([got["prompt"]])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        while ids.shape[1] <= size:
            ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
    assert got["prompt"] + got["tokens"] == ids[0].tolist()
    assert "positions" in refusal(2, "generate", folder, "--prompt", "a " * 60, alone=False)


# tokens that no answer holds, because transformers finds special tokens in the text first
NAMED = {
    "bos and eos": dict(bos_token="Q", eos_token="R"),
    "bos as an object": dict(bos_token={"content": "S", "__type": "AddedToken", "special": True}),
    "eos only": dict(bos_token=None, eos_token="T"),
    "class of GPT-2": dict(tokenizer_class="GPT2TokenizerFast", eos_token=...),
    "class of Qwen2": dict(tokenizer_class="Qwen2Tokenizer", eos_token=...),
    "usual names in the vocabulary": dict(bos_token="U", eos_token="V"),
}


@pytest.mark.parametrize("name", NAMED)
def test_an_empty_context_is_the_bos_or_eos_of_transformers(name, folder, dense_model, tmp_path):
    edit(folder / "tokenizer_config.json", **NAMED[name])
    if name.startswith("usual"):  # the vocabulary has a token called <s>, which is not BOS here
        raw = (folder / "tokenizer.json").read_text()
        tokenizer = json.loads(raw)
        tokenizer["added_tokens"].append(dict(id=399, content="<s>", special=True, normalized=False, lstrip=False,
                                              rstrip=False, single_word=False))
        last = next(t for t, i in tokenizer["model"]["vocab"].items() if i == 399)
        del tokenizer["model"]["vocab"][last]
        tokenizer["model"]["merges"] = [m for m in tokenizer["model"]["merges"] if "".join(m).replace(" ", "") != last]
        tokenizer["model"]["vocab"]["<s>"] = 399
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "task.jsonl").write_text(json.dumps(dict(context="", choices=["dab ce", "fa gig"], gold=0)) + "\n")
    got = run_json("zeroshot", folder, "--tasks", tmp_path / "task.jsonl", "--compute", "fp32", "--examples")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id  # lm-eval's rule
    expected = []
    for choice in ("dab ce", "fa gig"):
        answer = tokenizer.encode(" " + choice, add_special_tokens=False)
        with torch.no_grad():
            log_p = dense_model[1](torch.tensor([[prefix, *answer[:-1]]])).logits[0].log_softmax(-1)
        expected.append(log_p.gather(1, torch.tensor(answer)[:, None]).sum().item())
    assert got["tasks"][0]["scored"][0]["log_likelihoods"] == pytest.approx(expected, abs=1e-3)


def test_an_item_with_a_token_without_a_row_is_skipped(folder, tmp_path):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append(dict(id=400, content="<image>", special=True, normalized=False, lstrip=False,
                                          rstrip=False, single_word=False))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    items = [dict(context=context, choices=["dab ce", "fa gig"], gold=0) for context in ("abc", "a <image> b", "cab")]
    (tmp_path / "task.jsonl").write_text("\n".join(map(json.dumps, items)) + "\n")
    result = call("zeroshot", folder, "--tasks", tmp_path / "task.jsonl", "--compute", "fp32", "--json")
    assert result.returncode == 0 and "<image>" in result.stderr, result.stderr
    assert json.loads(result.stdout)["tasks"][0]["skipped"] == 1
