"""Structured pruning: a smaller model of every architecture computes what the dense model with the removed units
masked computes, and chooses the units that independent implementations of the criteria choose."""
import json
import shutil

import architectures
import numpy as np
import pytest
import tiny_model
import torch
from freelunch_command import refusal, run, tensors
from safetensors.torch import save_file
from smaller_models import ARCHITECTURES, IDS, WINDOWS, build, cut, expect_equal, transformers_logits
from transformers import AutoModelForCausalLM

VARIANTS = ["llama, biases", "opt, 350m", "gpt_neox, sequential", "qwen3_moe, some blocks"]
WITH_HEADS = ["llama", "llama, biases", "mistral", "qwen3", "gemma2", "gemma3_text", "mixtral", "qwen3_moe"]
MIXTURES = ["mixtral", "qwen3_moe", "qwen3_moe, some blocks"]


def masked_logits(folder, small):
    """The logits of the dense model with zeros in place of what the small one lacks."""
    other = folder.with_name("masked")
    shutil.copytree(folder, other)
    save_file(masked(tensors(folder), tensors(small)), other / "model.safetensors", metadata={"format": "pt"})
    return transformers_logits(other)


def kept_slices(dense, small):
    """(dimension, indices) of the slices of a dense tensor that make up the small one, in order."""
    dim = next(d for d in range(dense.dim()) if dense.shape[d] != small.shape[d])
    a, b = (t.movedim(dim, 0).reshape(t.shape[dim], -1) for t in (dense, small))
    same = (a[:, None] == b[None]).all(-1)
    assert same.any(0).all(), "the small tensor has slices that the dense one has not"
    index = same.int().argmax(0)
    assert (index.diff() > 0).all()
    return dim, index


def masked(dense, small):
    """The dense tensors with zeros in place of every slice that the small ones lack."""
    result = {name: tensor.clone() for name, tensor in dense.items()}
    changed = 0
    for name, tensor in small.items():
        if tensor.shape == dense[name].shape:
            assert torch.equal(tensor, dense[name]), name
            continue
        dim, index = kept_slices(dense[name], tensor)
        keep = torch.zeros(dense[name].shape[dim], dtype=torch.bool)
        keep[index] = True
        result[name].movedim(dim, 0)[~keep] = 0
        changed += 1
    assert changed > 0
    return result


@pytest.mark.parametrize("name", ARCHITECTURES + VARIANTS)
def test_fewer_channels_are_the_dense_model_with_channels_masked(name, oracle_probe, tmp_path):
    folder = build(name, tmp_path / "dense")
    small = cut(folder, tmp_path / "small", "--mlp", "0.67", "--unit-criterion", "magnitude")
    expected = masked_logits(folder, small)
    expect_equal(transformers_logits(small), expected)
    expect_equal(architectures.logits(oracle_probe, small, IDS), expected)


@pytest.mark.parametrize("name", WITH_HEADS)
@pytest.mark.parametrize("options", [("--kv-groups", "1"), ("--heads", "2"), ("--kv-groups", "1", "--heads", "1")],
                         ids=["group", "heads of each group", "both"])
def test_fewer_heads_are_the_dense_model_with_heads_masked(name, options, oracle_probe, tmp_path):
    folder = build(name, tmp_path / "dense")
    small = cut(folder, tmp_path / "small", *options, "--unit-criterion", "random")
    config = json.loads((small / "config.json").read_text())
    dense = json.loads((folder / "config.json").read_text())
    assert config["head_dim"] == dense.get("head_dim") or dense["hidden_size"] // dense["num_attention_heads"]
    expected = masked_logits(folder, small)
    expect_equal(transformers_logits(small), expected)
    expect_equal(architectures.logits(oracle_probe, small, IDS), expected)


def test_a_llama_whose_heads_do_not_divide_its_width_becomes_a_mistral(oracle_probe, tmp_path):
    tiny_model.make(tmp_path / "dense", num_attention_heads=8, num_key_value_heads=4, hidden_size=64)
    small = cut(tmp_path / "dense", tmp_path / "small", "--kv-groups", "3", "--unit-criterion", "random")
    config = json.loads((small / "config.json").read_text())
    assert (config["model_type"], config["num_attention_heads"], config["sliding_window"]) == ("mistral", 6, None)
    expected = masked_logits(tmp_path / "dense", small)
    expect_equal(transformers_logits(small), expected)
    expect_equal(architectures.logits(oracle_probe, small, IDS), expected)


@pytest.mark.parametrize("name", MIXTURES)
def test_fewer_experts_are_the_dense_model_with_experts_out_of_reach(name, oracle_probe, tmp_path, monkeypatch):
    folder = build(name, tmp_path / "dense")
    small = cut(folder, tmp_path / "small", "--experts", "3", "--expert-criterion", "random")
    dense, fewer = tensors(folder), tensors(small)
    routers = {n: kept_slices(dense[n], fewer[n])[1].tolist() for n in fewer if fewer[n].shape != dense[n].shape}
    assert routers and all(len(kept) == 3 for kept in routers.values())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    linear = torch.nn.functional.linear

    def with_removed_experts_out_of_reach(x, weight, bias=None):
        out = linear(x, weight, bias)
        for router, kept in routers.items():
            if weight.shape == dense[router].shape and torch.equal(weight, dense[router]):
                removed = [e for e in range(weight.shape[0]) if e not in kept]
                out[..., removed] = -torch.inf
        return out

    monkeypatch.setattr(torch.nn.functional, "linear", with_removed_experts_out_of_reach)
    with torch.no_grad():
        expected = model(IDS).logits[0].numpy()
    monkeypatch.undo()
    expect_equal(transformers_logits(small), expected)
    expect_equal(architectures.logits(oracle_probe, small, IDS), expected)


def moments_of_first_block(folder, text):
    """The inputs of the first block's down and o over the calibration windows, (tokens, in) fp64 each."""
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text.read_text()).ids[:6 * 64]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    seen = {}
    block = model.model.layers[0]
    block.mlp.down_proj.register_forward_pre_hook(lambda _, x: seen.update(down=x[0].flatten(0, 1)))
    block.self_attn.o_proj.register_forward_pre_hook(lambda _, x: seen.update(o=x[0].flatten(0, 1)))
    with torch.no_grad():
        model(torch.tensor(ids).view(6, 64))
    return {name: x.double().numpy() for name, x in seen.items()}


def naive_obs(W, X, removed, size):
    """The units that stay: the inverse is computed anew for every removal."""
    H = X.T @ X
    H += 0.01 * H.diagonal().mean() * np.eye(len(H))
    stay = list(range(W.shape[1] // size))
    columns = lambda units: np.concatenate([np.arange(u * size, (u + 1) * size) for u in units])
    for _ in range(removed):
        index = columns(stay)
        inverse = np.linalg.inv(H[np.ix_(index, index)])
        refitted = W @ H[:, index] @ inverse if len(stay) < W.shape[1] // size else W
        costs = []
        for i in range(len(stay)):
            part = slice(i * size, (i + 1) * size)
            costs.append(np.trace(refitted[:, part] @ np.linalg.inv(inverse[part, part]) @ refitted[:, part].T))
        stay.pop(int(np.argmin(costs)))
    return stay


def naive_scores(criterion, W, X, size):
    by_column = {"magnitude": np.linalg.norm(W, axis=0),
                 "wanda": np.abs(W).mean(0) * np.linalg.norm(X, axis=0),
                 "flap": X.var(0) * (W ** 2).sum(0)}[criterion]
    return by_column.reshape(-1, size).sum(1)


@pytest.mark.parametrize("criterion", ["obs", "flap", "wanda", "magnitude"])
@pytest.mark.parametrize("unit", ["channels", "groups"])
def test_a_criterion_keeps_the_units_of_an_independent_implementation(criterion, unit, train_text, tmp_path):
    folder = tmp_path / "dense"
    tiny_model.make(folder, num_attention_heads=8, num_key_value_heads=4, intermediate_size=256)
    flag, value, matrix, size = {"channels": ("--mlp", "160", "mlp.down_proj", 1),
                                 "groups": ("--kv-groups", "2", "self_attn.o_proj", 16)}[unit]
    run("compress", folder, "-o", tmp_path / "small", flag, value, "--unit-criterion", criterion, "--repair", "none",
        "--calibration", train_text, *WINDOWS)
    name = f"model.layers.0.{matrix}.weight"
    W = tensors(folder)[name]
    _, index = kept_slices(W, tensors(tmp_path / "small")[name])
    kept = sorted({int(column) // size for column in index})
    X = moments_of_first_block(folder, train_text)["down" if unit == "channels" else "o"]
    W = W.double().numpy()
    wanted = {"channels": 160, "groups": 2}[unit]
    if criterion == "obs":
        expected = naive_obs(W, X, W.shape[1] // size - wanted, size)
    else:
        expected = sorted(np.argsort(-naive_scores(criterion, W, X, size), kind="stable")[:wanted].tolist())
    assert kept == expected


def test_the_refit_is_the_least_squares_solution_on_the_kept_channels(train_text, tmp_path):
    folder = tmp_path / "dense"
    tiny_model.make(folder, num_hidden_layers=1)
    run("compress", folder, "-o", tmp_path / "small", "--mlp", "64", "--repair", "solve", "--calibration", train_text,
        "--lambda", "0.01", "--blend", "0", *WINDOWS)
    dense, small = tensors(folder), tensors(tmp_path / "small")
    _, kept = kept_slices(dense["model.layers.0.mlp.up_proj.weight"], small["model.layers.0.mlp.up_proj.weight"])
    W = dense["model.layers.0.mlp.down_proj.weight"].double().numpy()
    X = moments_of_first_block(folder, train_text)["down"]
    H = X.T @ X
    ridge = 0.01 * H[np.ix_(kept, kept)].diagonal().mean()
    expected = (W @ H[:, kept] + ridge * W[:, kept]) @ np.linalg.inv(H[np.ix_(kept, kept)] + ridge * np.eye(len(kept)))
    ours = small["model.layers.0.mlp.down_proj.weight"].double().numpy()
    assert np.abs(ours - expected).max() < 1e-4 * np.abs(expected).max()
    report = json.loads((tmp_path / "small" / "freelunch.json").read_text())
    region = next(r for r in report["regions"] if r["stage"] == "cut")
    assert region["held_out_after"] < region["held_out_before"]


def test_structure_and_zeros_combine_and_the_whole_recipe_runs(dense, train_text, evaluation_text, tmp_path):
    output = tmp_path / "small"
    run("compress", dense, "-o", output, "--mlp", "96", "--kv-groups", "1", "--pattern", "2:4", "--repair",
        "solve,sublayer,model", "--calibration", train_text, "--evaluate", evaluation_text, "--evaluate-length", "64",
        *WINDOWS)
    down = tensors(output)["model.layers.1.mlp.down_proj.weight"]
    assert down.shape == (64, 96)
    assert ((down != 0).view(64, -1, 4).sum(-1) <= 2).all()
    report = json.loads((output / "freelunch.json").read_text())
    stages = {s["name"]: s for s in report["stages"]}
    assert stages["cut"]["note"] == "MLP channels 128 -> 96, query heads 4 -> 2, KV heads 2 -> 1, obs with refit"
    assert report["model"]["parameters"] < report["model"]["dense_parameters"]
    # the guard compares solve with the masks alone, not with the model before there were masks
    assert stages["solve"]["divergence_before"] > stages["cut"]["divergence"]
    assert not stages["solve"].get("undone")
    assert set(report["figures"]) == {"dense", "pruned", "repaired"}
    with torch.no_grad():
        AutoModelForCausalLM.from_pretrained(output, dtype=torch.float32)(IDS % 64)


@pytest.mark.parametrize("options, message", [
    (("--mlp", "100"), "the nearest is 96"),
    (("--mlp", "128"), "has 128 channels"),
    (("--mlp", "1"), "keeps all 128 channels"),
    (("--mlp", "0.999"), "the largest size below is 96"),
    (("--kv-groups", "2"), "the model has 2 KV heads"),
    (("--heads", "3"), "the nearest that works is 2"),
    (("--experts", "1", "--expert-criterion", "random"), "a llama has no experts"),
    (("--experts", "1"), "need a --calibration text"),
])
def test_a_shape_that_cannot_be_is_refused_before_any_work(dense, tmp_path, options, message):
    line = refusal(2, "compress", dense, "-o", tmp_path / "out", "--unit-criterion", "magnitude", "--repair", "none",
                   "--criterion", "magnitude", *options)
    assert message in line
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("name", ["qwen2", "phi3", "olmo2", "gpt2", "gpt_neox", "opt", "starcoder2"])
def test_heads_that_some_engine_counts_from_the_width_stay(name, tmp_path):
    folder = build(name, tmp_path / "dense")
    line = refusal(2, "compress", folder, "-o", tmp_path / "out", "--heads", "2", "--unit-criterion", "magnitude",
                   "--repair", "none", "--criterion", "magnitude")
    assert "no head can be removed" in line


def test_reap_keeps_the_experts_of_an_independent_implementation(train_text, tmp_path):
    """Of the first block: mean over the tokens of an expert of its router weight times the norm of its output."""
    from tokenizers import Tokenizer
    from transformers import MixtralConfig, MixtralForCausalLM

    folder = tmp_path / "dense"
    model = tiny_model.make(folder, classes=(MixtralConfig, MixtralForCausalLM), num_local_experts=6,
                            num_experts_per_tok=2, sliding_window=None)
    run("compress", folder, "-o", tmp_path / "small", "--experts", "4", "--repair", "none", "--calibration", train_text,
        *WINDOWS)
    weights = tensors(folder)
    name = "model.layers.0.block_sparse_moe."
    router = weights[name + "gate.weight"]
    _, kept = kept_slices(router, tensors(tmp_path / "small")[name + "gate.weight"])
    seen = {}
    model.model.layers[0].mlp.register_forward_pre_hook(lambda _, x: seen.update(x=x[0].flatten(0, 1)))
    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(train_text.read_text()).ids[:6 * 64]
    with torch.no_grad():
        model(torch.tensor(ids).view(6, 64))
        x = seen["x"]
        gates, chosen = torch.softmax(x @ router.T, -1).topk(2)
        gates = gates / gates.sum(-1, keepdim=True)
        scores = []
        for e in range(6):
            w1, w2, w3 = (weights[f"{name}experts.{e}.w{i}.weight"] for i in (1, 2, 3))
            out = (torch.nn.functional.silu(x @ w1.T) * (x @ w3.T)) @ w2.T
            gate = (gates * (chosen == e)).sum(-1)
            reached = (chosen == e).any(-1)
            scores.append((gate * out.norm(dim=-1))[reached].mean().item())
    assert kept.tolist() == sorted(np.argsort(scores)[-4:].tolist())


def test_a_mixture_loses_experts_and_channels_and_is_repaired(train_text, oracle_probe, tmp_path):
    folder = build("mixtral", tmp_path / "dense")
    tiny_model.make_tokenizer(folder)
    run("compress", folder, "-o", tmp_path / "small", "--experts", "3", "--mlp", "64", "--calibration", train_text,
        "--repair", "solve,sublayer,model", *WINDOWS)
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert (config["num_local_experts"], config["intermediate_size"], config["num_experts_per_tok"]) == (3, 64, 2)
    ours = architectures.logits(oracle_probe, tmp_path / "small", IDS)
    expect_equal(ours, transformers_logits(tmp_path / "small"), 1e-4)


def test_gguf_files_are_cut_to_the_same_model(dense, oracle_probe, train_text, tmp_path):
    run("convert", dense, "--output", tmp_path / "dense.gguf", "--dtype", "f32")
    options = ("--mlp", "96", "--kv-groups", "1", "--calibration", train_text, "--repair", "solve", "--threads", "1",
               *WINDOWS)
    run("compress", dense, "-o", tmp_path / "folder", *options)
    run("compress", tmp_path / "dense.gguf", "-o", tmp_path / "gguf", *options, "--format", "gguf", "--dtype", "f32")
    expected = transformers_logits(tmp_path / "folder")
    expect_equal(architectures.logits(oracle_probe, tmp_path / "gguf" / "model.gguf", IDS), expected, 1e-4)


@pytest.mark.parametrize("name", ["gemma3_text", "gemma2", "qwen3_moe", "gpt2", "phi3", "gpt_neox"])
def test_a_gguf_file_gives_the_smaller_model_that_its_folder_gives(name, tmp_path):
    architectures.build_for_gguf(name).save_pretrained(tmp_path / "dense")
    tiny_model.make_tokenizer(tmp_path / "dense")
    run("convert", tmp_path / "dense", "--output", tmp_path / "dense.gguf", "--dtype", "f32")
    options = ("--mlp", "0.67", "--unit-criterion", "magnitude")
    expected = transformers_logits(cut(tmp_path / "dense", tmp_path / "folder", *options))
    expect_equal(transformers_logits(cut(tmp_path / "dense.gguf", tmp_path / "gguf", *options)), expected)


def test_size_keeps_the_shape_nearest_to_the_dense_model(dense, train_text, tmp_path):
    output = tmp_path / "small"
    run("compress", dense, "-o", output, "--size", "0.85", "--repair", "solve", "--calibration", train_text, *WINDOWS)
    report = json.loads((output / "freelunch.json").read_text())
    tried = [s for s in report["stages"] if s["name"].startswith("cut, shape")]
    chosen = next(s for s in report["stages"] if s["name"] == "cut")
    assert len(tried) >= 3
    assert any("blocks" in s["note"] for s in tried) and any("KV heads" in s["note"] for s in tried)
    ran = [s["name"] for s in report["stages"] if s["name"] not in ("open", "save")]
    assert ran == [s["name"] for s in report["planned"]["stages"]]
    best = min(tried, key=lambda s: s["divergence"])
    assert chosen["note"] == best["note"]
    assert abs(chosen["divergence"] - best["divergence"]) < 1e-6
    assert report["model"]["parameters"] <= 0.85 * report["model"]["dense_parameters"]
    assert sum(t.numel() for t in tensors(output).values()) == report["model"]["parameters"]


def test_a_study_varies_shapes_and_its_cells_are_single_runs(dense, train_text, evaluation_text, tmp_path):
    (tmp_path / "study.toml").write_text(f"""
models = ["{dense}"]
[calibration]
text = "{train_text}"
samples = 6
length = 64
held_out = 2
[[evaluate]]
name = "test"
text = "{evaluation_text}"
windows = 4
length = 64
[[grid]]
name = "units"
mlp = [96, 64]
unit_criterion = ["obs", "random"]
repair = ["none", "solve,sublayer"]
""")
    results = json.loads(run("study", tmp_path / "study.toml", "-o", tmp_path / "out", "--compute", "fp32", "--threads",
                             "1", "--json"))
    rows = {(r["settings"]["criterion"], r["settings"]["pattern"], r["label"]): r for r in results["rows"]}
    assert len(rows) == 8
    assert not (tmp_path / "out" / "smaller").exists()
    run("compress", dense, "-o", tmp_path / "small", "--mlp", "64", "--repair", "solve,sublayer", "--calibration",
        train_text, "--evaluate", evaluation_text, "--evaluate-length", "64", "--evaluate-windows", "4", "--threads", "1",
        *WINDOWS)
    report = json.loads((tmp_path / "small" / "freelunch.json").read_text())
    cell = rows["obs", "mlp 64", "solve,sublayer"]["figures"]["test"]["mean"]
    assert abs(report["figures"]["repaired"]["perplexity"] / cell - 1) < 1e-3
