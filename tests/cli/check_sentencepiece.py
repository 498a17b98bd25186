"""A model whose tokenizer is SentencePiece's, as a folder with tokenizer.model and as GGUF with scores: perplexity equals PyTorch's on the ids
of the sentencepiece package, and the folder converted from GGUF gives those ids in transformers."""
import json
import math
import pathlib
import subprocess
import tempfile

import gguf
import sentencepiece
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

import tiny_model
from freelunch_command import command, run

LENGTH = 64


def add_scored_tokenizer(processor):
    def add(writer, _):
        n = processor.get_piece_size()
        kinds = (("is_unknown", 2), ("is_control", 3), ("is_byte", 6))
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([processor.id_to_piece(i) for i in range(n)])
        writer.add_token_scores([processor.get_score(i) for i in range(n)])
        writer.add_token_types([next((t for check, t in kinds if getattr(processor, check)(i)), 1) for i in range(n)])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)

    return add


def fields(path):
    prefix = "tokenizer.ggml."
    return {key.removeprefix(prefix): field.contents() for key, field in gguf.GGUFReader(path).fields.items() if key.startswith(prefix)}


def perplexity(model, ids):
    losses = []
    for i in range(len(ids) // LENGTH):
        window = torch.tensor(ids[i * LENGTH:(i + 1) * LENGTH])
        with torch.no_grad():
            logits = model(window[None]).logits[0]
        losses.append(F.cross_entropy(logits[:-1], window[1:]).item())
    return math.exp(sum(losses) / len(losses))


with tempfile.TemporaryDirectory() as temporary:
    base = pathlib.Path(temporary)
    model = tiny_model.make_with_sentencepiece(base / "folder")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(base / "folder/tokenizer.model"))
    tiny_model.write_gguf(base / "model.gguf", base / "folder", model, add_scored_tokenizer(processor))
    text = tiny_model.text(3000, seed=1) + "  ünïcödé 日本 \n\n\tx"
    (base / "test.txt").write_text(text)
    ids = [1] + processor.encode(text)
    run("convert", base / "model.gguf", "--output", base / "converted")
    for path in ("folder", "model.gguf", "converted"):
        got = json.loads(run("perplexity", base / path, "--text", base / "test.txt", "--length", LENGTH, "--compute", "fp32", "--json"))
        expected = perplexity(model, ids)
        assert got["windows"] == len(ids) // LENGTH and abs(got["perplexity"] / expected - 1) < 1e-4, (path, got, expected)
        print(f"{path}: perplexity equals PyTorch's on sentencepiece's ids")
    theirs = AutoTokenizer.from_pretrained(base / "converted")(text).input_ids
    assert theirs == ids, (theirs[:40], ids[:40])
    assert AutoModelForCausalLM.from_pretrained(base / "converted").config.bos_token_id == 1
    print("converted: transformers gives sentencepiece's ids")
    # and into GGUF: from tokenizer.model the scores, from tokenizer.json scores that make the same merges
    run("convert", base / "folder", "--output", base / "from-model.gguf")
    run("convert", base / "converted", "--output", base / "from-json.gguf")
    expected = fields(base / "model.gguf")
    for name in ("from-model", "from-json"):
        got = fields(base / f"{name}.gguf")
        for key in ("model", "tokens", "token_type", "bos_token_id", "eos_token_id", "unknown_token_id"):
            assert got[key] == expected[key], (name, key, got[key], expected[key])
        assert got["add_space_prefix"] and got["add_bos_token"] and not got["add_eos_token"], got
        ours = json.loads(run("perplexity", base / f"{name}.gguf", "--text", base / "test.txt", "--length", LENGTH, "--compute", "fp32", "--json"))
        assert abs(ours["perplexity"] / perplexity(model, ids) - 1) < 1e-4, (name, ours)
        if name == "from-model":
            assert got["scores"] == expected["scores"]
    print("folders to GGUF: the same tokens, scores and perplexity")
    (base / "folder/tokenizer.model").write_bytes(tiny_model.sentencepiece_model()[:-3])
    result = subprocess.run([command, "perplexity", base / "folder", "--text", base / "test.txt"], capture_output=True, text=True)
    assert result.returncode == 3 and result.stderr.count("\n") == 1 and "tokenizer.model: truncated" in result.stderr, result.stderr
    print("a cut tokenizer.model is refused in one line")
