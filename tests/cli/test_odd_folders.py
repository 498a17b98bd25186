"""Folders with more in them than the model needs open, and what was passed over is said."""
import json
import shutil

import gguf
import pytest
import tiny_model
import torch
from freelunch_command import call, refusal, run, run_json, tensors
from gguf_files import metadata
from reference import perplexity
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

IDS = torch.arange(40)[None]


@pytest.fixture
def folder(dense, tmp_path):
    return shutil.copytree(dense, tmp_path / "in")


def add_tensors(folder, **more):
    file = folder / "model.safetensors"
    save_file({**load_file(file), **more}, file, metadata={"format": "pt"})


def measured(folder, text):
    """Perplexity by the command, and the lines of warning."""
    result = call("perplexity", folder, "--text", text, "--length", 64, "--compute", "fp32", "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["perplexity"], [s for s in result.stderr.splitlines() if s.startswith("warning: ")]


def expect_the_figure_of_pytorch(folder, text):
    got, warnings = measured(folder, text)
    expected, _ = perplexity(folder, text.read_text(), 64)
    assert abs(got / expected - 1) < 1e-4
    return warnings


def test_an_index_may_name_tensors_that_no_shard_holds(evaluation_text, tmp_path):
    folder = tmp_path / "in"
    tiny_model.make(folder, max_shard_size="150KB")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    shards = sorted(set(index["weight_map"].values()))
    index["weight_map"]["model.layers.0.self_attn.rotary_emb.inv_freq"] = shards[0]
    index["weight_map"]["model.norm.weight"] = shards[0]  # it is in another one
    path.write_text(json.dumps(index))
    warnings = expect_the_figure_of_pytorch(folder, evaluation_text)
    assert len(warnings) == 1 and "inv_freq" in warnings[0]
    run("convert", folder, "-o", tmp_path / "out")
    written = json.loads((tmp_path / "out" / path.name).read_text())["weight_map"]
    assert written.keys() == tensors(folder).keys()


def test_a_needed_tensor_that_only_the_index_names_is_missed(tmp_path):
    folder = tmp_path / "in"
    tiny_model.make(folder, max_shard_size="150KB")
    lost = "model.layers.1.mlp.up_proj.weight"
    shard = folder / json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"][lost]
    weights = load_file(shard)
    del weights[lost]
    save_file(weights, shard, metadata={"format": "pt"})
    assert lost in refusal(3, "inspect", folder)


DTYPES = ["float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz", "uint16", "uint32",
          "uint64", "int16", "bool", "complex64", "float64", "float4_e2m1fn_x2"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_unused_tensor_of_any_dtype_is_copied(dtype, folder, evaluation_text, tmp_path):
    extra = torch.randint(0, 256, (3, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    extra = (extra % 2).bool() if dtype == "bool" else extra.view(getattr(torch, dtype))
    add_tensors(folder, **{"model.layers.0.extra": extra})
    warnings = expect_the_figure_of_pytorch(folder, evaluation_text)
    assert len(warnings) == 1 and "model.layers.0.extra" in warnings[0]
    run("compress", folder, "-o", tmp_path / "out", "--criterion", "magnitude", "--repair", "none")
    written = tensors(tmp_path / "out")["model.layers.0.extra"]
    assert written.dtype == extra.dtype and written.view(torch.uint8).equal(extra.view(torch.uint8))


def test_a_needed_tensor_of_such_a_dtype_is_refused(folder):
    weight = load_file(folder / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    add_tensors(folder, **{"model.layers.0.mlp.up_proj.weight": weight.to(torch.float8_e4m3fn)})
    line = refusal(4, "inspect", folder)
    assert "model.layers.0.mlp.up_proj.weight" in line and "F8_E4M3" in line


@pytest.fixture
def more_tokens(folder):
    """A folder whose tokenizer has a token without a row in the embedding."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append(dict(id=400, content="<image>", special=True, normalized=False, lstrip=False,
                                          rstrip=False, single_word=False))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def test_a_tokenizer_may_have_more_tokens_than_the_embedding_has_rows(more_tokens, evaluation_text):
    warnings = expect_the_figure_of_pytorch(more_tokens, evaluation_text)
    assert len(warnings) == 1 and "400" in warnings[0]


@pytest.mark.parametrize("command", ["perplexity {folder} --text {text}", "generate {folder} --prompt a<image>b",
                                     "compress {folder} -o {out} --calibration {text} --samples 4 --length 32"])
def test_a_text_with_a_token_without_a_row_is_refused(command, more_tokens, tmp_path):
    (tmp_path / "text.txt").write_text(tiny_model.text(600) + "<image>" + tiny_model.text(600))
    arguments = command.format(folder=more_tokens, text=tmp_path / "text.txt", out=tmp_path / "out").split()
    line = refusal(3, *arguments, alone=False)
    assert "<image>" in line and "400" in line


def test_gguf_leaves_out_a_token_without_a_row(more_tokens, dense, tmp_path):
    """llama.cpp's converter does the same, because a file's tokens are as many as the rows."""
    result = call("convert", more_tokens, "-o", tmp_path / "m.gguf")
    assert result.returncode == 0 and "warning: left out of the file" in result.stderr and "<image>" in result.stderr
    run("convert", dense, "-o", tmp_path / "plain.gguf")
    ours, plain = (metadata(tmp_path / f"{name}.gguf") for name in ("m", "plain"))
    assert ours["tokenizer.ggml.tokens"] == plain["tokenizer.ggml.tokens"]


@pytest.mark.parametrize("key, add, value", [
    ("bos", "add_bos_token_id", 5000), ("unknown", "add_unk_token_id", 4294967295), ("padding", "add_pad_token_id", 400),
    ("eot", "add_eot_token_id", 4294967295)])
def test_special_ids_of_gguf_that_no_token_has_are_ignored(key, add, value, dense_model, evaluation_text, tmp_path):
    def tokenizer(writer, folder):
        tiny_model.add_byte_level_tokenizer(writer, folder)
        getattr(writer, add)(value)

    tiny_model.write_gguf(tmp_path / "m.gguf", *dense_model, tokenizer)
    got, warnings = measured(tmp_path / "m.gguf", evaluation_text)
    expected, _ = perplexity(dense_model[0], evaluation_text.read_text(), 64)
    assert abs(got / expected - 1) < 1e-4
    assert len(warnings) == 1 and f"tokenizer.ggml.{key}_token_id is {value}" in warnings[0]
    run("convert", tmp_path / "m.gguf", "-o", tmp_path / "out")
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").bos_token is None


def test_files_are_copied_by_exclusion(folder, tmp_path):
    kept = ["LICENSE", "README.md", "added_tokens.json", "chat_template.jinja", "modeling_mine.py",
            "preprocessor_config.json", "generation_config.json", "additional_chat_templates/tool_use.jinja",
            "assets/deep/notes.txt"]
    left = ["pytorch_model.bin", "model.gguf.bak.gguf", "pytorch_model.bin.index.json", "optimizer.pt", ".gitattributes",
            ".cache/x.txt", "onnx/model.onnx", "onnx/config.json", "original/consolidated.00.pth",
            "original/params.json", "freelunch.json", "report.html"]
    for name in kept + left:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text('{"eos_token_id": 0}' if name.endswith(".json") and "added" not in name else "{}")
    run("convert", folder, "-o", tmp_path / "out")
    for name in kept:
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes(), name
    assert [name for name in left if (tmp_path / "out" / name).exists()] == []
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes(), name


def test_an_output_inside_its_input_does_not_copy_itself(folder):
    (folder / "notes.txt").write_text("n")
    run("convert", folder, "-o", folder / "sub/out")
    assert (folder / "sub/out/notes.txt").exists() and not (folder / "sub/out/sub").exists()


TEMPLATES = {"default": "{{ messages[0]['content'] }}", "rag": "rag {{ messages[0]['content'] }}",
             "tool_use": "tool {{ messages[0]['content'] }}"}


def put_list(folder):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = [dict(name=name, template=text) for name, text in TEMPLATES.items()]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def put_files(folder):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = "the files take priority"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "additional_chat_templates").mkdir()
    for name, text in TEMPLATES.items():
        file = "chat_template" if name == "default" else f"additional_chat_templates/{name}"
        (folder / f"{file}.jinja").write_text(text)


def put_one(folder):
    (folder / "chat_template.jinja").write_text(TEMPLATES["default"])


@pytest.mark.parametrize("put, expected", [(put_list, TEMPLATES), (put_files, TEMPLATES),
                                           (put_one, TEMPLATES["default"])], ids=["list", "files", "one file"])
def test_chat_templates_reach_folders_and_gguf(put, expected, folder, tmp_path):
    put(folder)
    assert AutoTokenizer.from_pretrained(folder).chat_template == expected
    run("convert", folder, "-o", tmp_path / "out")
    run("convert", folder, "-o", tmp_path / "m.gguf")
    run("convert", tmp_path / "m.gguf", "-o", tmp_path / "back")
    for name in ("out", "back"):
        assert AutoTokenizer.from_pretrained(tmp_path / name).chat_template == expected, name
    # the keys are those that the gguf package writes
    writer = gguf.GGUFWriter(tmp_path / "theirs.gguf", "llama")
    templates = {"default": expected} if isinstance(expected, str) else expected
    writer.add_chat_template([dict(name=name, template=text) for name, text in templates.items()])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    ours, theirs = metadata(tmp_path / "m.gguf"), metadata(tmp_path / "theirs.gguf")
    for fields in (ours, theirs):
        fields["tokenizer.chat_templates"] = sorted(fields.get("tokenizer.chat_templates", []))
    assert {k: v for k, v in ours.items() if "chat" in k} == {k: v for k, v in theirs.items() if "chat" in k}


def test_line_ends_of_a_template_file_are_those_of_python(folder, tmp_path):
    (folder / "chat_template.jinja").write_bytes("{{ a }}\r\né\rb\n".encode())
    run("convert", folder, "-o", tmp_path / "m.gguf")
    expected = AutoTokenizer.from_pretrained(folder).chat_template
    assert metadata(tmp_path / "m.gguf")["tokenizer.chat_template"] == expected == "{{ a }}\né\nb\n"


@pytest.fixture
def with_adapter(folder):
    (folder / "adapter_config.json").write_text(json.dumps(dict(peft_type="LORA", base_model_name_or_path="a/b")))
    save_file({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(4, 64)},
              folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_next_to_a_model_is_not_applied_and_said_so(with_adapter, evaluation_text, tmp_path):
    """In the output, transformers would take adapter_config.json for an order to load the base model."""
    warnings = expect_the_figure_of_pytorch(with_adapter, evaluation_text)
    assert len(warnings) == 1 and "adapter_config.json" in warnings[0]
    run("convert", with_adapter, "-o", tmp_path / "out")
    assert not list((tmp_path / "out").glob("adapter*"))


@pytest.mark.parametrize("config", [True, False], ids=["with config.json", "without"])
def test_an_adapter_alone_is_no_model(config, with_adapter):
    (with_adapter / "model.safetensors").unlink()
    if not config:
        (with_adapter / "config.json").unlink()
    assert "adapter" in refusal(4, "inspect", with_adapter)


@pytest.mark.parametrize("key", ["rms_norm_eps", "max_position_embeddings", "hidden_size", "tie_word_embeddings"])
def test_null_is_no_default_where_transformers_refuses_it(key, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: None}))
    refusal(3, "inspect", folder)


def test_byte_level_gguf_without_merges_is_refused(dense_model, evaluation_text, tmp_path):
    """llama.cpp refuses it; every byte would be a token of its own."""
    def tokenizer(writer, folder):
        tiny_model.add_byte_level_tokenizer(writer, folder)
        del writer.kv_data[0]["tokenizer.ggml.merges"]

    tiny_model.write_gguf(tmp_path / "m.gguf", *dense_model, tokenizer)
    line = refusal(3, "perplexity", tmp_path / "m.gguf", "--text", evaluation_text, alone=False)
    assert "tokenizer.ggml.merges" in line


def test_inspect_says_what_was_ignored(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= dict(my_key=3, router_aux_loss_coef=0.1)
    config["rope_parameters"]["beta_fast"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    add_tensors(folder, **{"model.layers.0.extra": torch.zeros(3)})
    ignored = run_json("inspect", folder)["ignored"]
    assert ignored["tensors"] == ["model.layers.0.extra"]
    assert {"my_key", "router_aux_loss_coef", "rope_parameters.beta_fast", "use_cache"} <= set(ignored["keys"])
    used = {"hidden_size", "num_hidden_layers", "rms_norm_eps", "hidden_act", "vocab_size", "tie_word_embeddings",
            "rope_parameters", "rope_parameters.rope_theta", "attention_bias", "eos_token_id", "num_key_value_heads"}
    assert not used & set(ignored["keys"])
    text = run("inspect", folder)
    assert "tensors not used: model.layers.0.extra" in text and "my_key" in text
