"""Models in memory: the same weights as from their folder, in the same memory; what cannot be pruned is refused and
left as it was."""
import copy

import pytest
import tiny_model
import torch
from freelunch_command import digest, tensors
from short_runs import load


def same(left, right):
    assert left.keys() == right.keys()
    return all(left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def check_against_path(freelunch, folder, short, tmp_path, model=None, tokenizer=None, **options):
    """Compresses a folder and the model loaded from it; returns the report of the latter."""
    options = dict(short, **options)
    freelunch.compress(folder, tmp_path / "path", **options)
    if model is None:
        model, tokenizer = load(folder, dtype="auto")
    places = {name: value.data_ptr() for name, value in model.state_dict().items()}
    before = weights(model)
    report = freelunch.compress(model, tokenizer=tokenizer, **options)
    assert places == {name: value.data_ptr() for name, value in model.state_dict().items()}  # the same memory
    assert not same(before, weights(model))
    reloaded, _ = load(tmp_path / "path", dtype="auto")
    assert same(weights(reloaded), weights(model))
    return report


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_a_live_model_gets_the_weights_of_its_folder(freelunch, short, dtype, tmp_path):
    tiny_model.make(tmp_path / "dense", dtype=dtype)
    report = check_against_path(freelunch, tmp_path / "dense", short, tmp_path)
    assert report["sparsity"]["pruned_tensors"] == 0.5 and report["output"] == ""


@pytest.mark.parametrize("options", [dict(criterion="sparsegpt", pattern="2:4", repair="solve"),
                                     dict(repair="model", model_batch=4), dict(criterion="magnitude", repair="none")],
                         ids=["sparsegpt", "model", "magnitude"])
def test_other_criteria_and_stages_agree_too(freelunch, folder, short, options, tmp_path):
    check_against_path(freelunch, folder, short, tmp_path, **options)


def test_tied_weights_stay_tied(freelunch, short, tmp_path):
    tiny_model.make(tmp_path / "dense", tie_word_embeddings=True)
    model, tokenizer = load(tmp_path / "dense")
    check_against_path(freelunch, tmp_path / "dense", short, tmp_path, model, tokenizer)
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe"])
def test_stacked_experts_are_pruned_in_their_stack(freelunch, short, kind, tmp_path):
    import transformers

    if kind == "mixtral":
        classes, sizes = (transformers.MixtralConfig, transformers.MixtralForCausalLM), dict(num_local_experts=4)
    else:
        classes = (transformers.Qwen3MoeConfig, transformers.Qwen3MoeForCausalLM)
        sizes = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=64, head_dim=16)
    tiny_model.make(tmp_path / "dense", classes=classes, **sizes)
    check_against_path(freelunch, tmp_path / "dense", short, tmp_path, repair="solve")


@pytest.mark.parametrize("kind", ["gpt2", "phi3"])
def test_fused_and_transposed_matrices_are_pruned_in_place(freelunch, short, kind, tmp_path):
    import transformers

    if kind == "gpt2":
        classes = (transformers.GPT2Config, transformers.GPT2LMHeadModel)
        sizes = dict(n_embd=64, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=0)
    else:
        classes, sizes = (transformers.Phi3Config, transformers.Phi3ForCausalLM), dict(pad_token_id=0)
    tiny_model.make(tmp_path / "dense", classes=classes, **sizes)
    check_against_path(freelunch, tmp_path / "dense", short, tmp_path, repair="solve")


def test_an_output_gets_the_bytes_of_the_folder_path_and_leaves_the_model_alone(freelunch, folder, short, tmp_path):
    freelunch.compress(folder, tmp_path / "path", **short)
    model, tokenizer = load(folder)
    before = weights(model)
    freelunch.compress(model, tmp_path / "live", tokenizer=tokenizer, **short)
    assert same(before, weights(model))
    assert digest(tmp_path / "live") == digest(tmp_path / "path")
    reloaded, again = load(tmp_path / "live")  # a folder that transformers opens
    assert again("abc de").input_ids == tokenizer("abc de").input_ids
    assert reloaded.config.model_type == "llama" and (tmp_path / "live/freelunch.json").exists()


def test_a_smaller_shape_and_other_formats_go_to_an_output(freelunch, folder, short, tmp_path):
    model, tokenizer = load(folder)
    options = dict(short, mlp=0.5, repair="none")
    freelunch.compress(folder, tmp_path / "path", **options)
    freelunch.compress(model, tmp_path / "live", tokenizer=tokenizer, **options)
    assert same(tensors(tmp_path / "path"), tensors(tmp_path / "live"))
    freelunch.compress(model, tmp_path / "gguf", tokenizer=tokenizer, criterion="magnitude", repair="none",
                       format="gguf")
    assert freelunch.inspect(tmp_path / "gguf")["sparsity"]["matrices"] == pytest.approx(0.5, abs=1e-3)


def test_two_runs_after_one_another_equal_two_runs_from_folders(freelunch, folder, short, tmp_path):
    model, tokenizer = load(folder)
    first = dict(short, sparsity=0.3, repair="solve")
    second = dict(short, sparsity=0.6)
    freelunch.compress(folder, tmp_path / "first", **first)
    freelunch.compress(tmp_path / "first", tmp_path / "second", **second)
    freelunch.compress(model, tokenizer=tokenizer, **first)
    freelunch.compress(model, tokenizer=tokenizer, **second)
    assert same(weights(load(tmp_path / "second")[0]), weights(model))


def test_wrappers_are_looked_through(freelunch, folder, short):
    model, tokenizer = load(folder)
    plain = copy.deepcopy(model)
    options = dict(short, repair="none")
    freelunch.compress(plain, tokenizer=tokenizer, **options)
    freelunch.compress(torch.nn.DataParallel(model), tokenizer=tokenizer, **options)
    assert same(weights(plain), weights(model))


def test_the_modes_of_the_caller_change_nothing(freelunch, folder, short):
    model, tokenizer = load(folder)
    plain = copy.deepcopy(model)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    freelunch.compress(plain, tokenizer=tokenizer, **short)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        freelunch.compress(model.train(), tokenizer=tokenizer, **short)
    assert same(weights(plain), weights(model))
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)


def test_a_pruned_model_still_runs_and_trains(freelunch, folder, short):
    model, tokenizer = load(folder)
    tokens = torch.arange(20).unsqueeze(0)
    before = model(tokens).logits
    freelunch.compress(model, tokenizer=tokenizer, **short)
    loss = model(tokens, labels=tokens)
    assert not torch.equal(before, loss.logits)
    loss.loss.backward()
    assert model.model.layers[0].mlp.up_proj.weight.grad is not None


def test_perplexity_and_inspect_take_live_models(freelunch, folder, text):
    model, tokenizer = load(folder)
    options = dict(length=32, windows=2, threads=1)
    live = freelunch.perplexity(model, text, tokenizer=tokenizer, **options)
    assert live == freelunch.perplexity(folder, text, **options)
    live, path = freelunch.inspect(model), freelunch.inspect(folder)
    assert live["tensors"] == path["tensors"] and live["parameters"] == path["parameters"]


def test_the_report_of_the_evaluation_is_of_the_weights_in_memory(freelunch, folder, short, text):
    model, tokenizer = load(folder)
    report = freelunch.compress(model, tokenizer=tokenizer, evaluate=text, evaluate_windows=2, evaluate_length=32,
                                **short)
    measured = freelunch.perplexity(model, text, tokenizer=tokenizer, windows=2, length=32, threads=1)
    assert report["figures"]["repaired"]["perplexity"] == measured["perplexity"]


def meta_model(folder):
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))


class Peft(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.config, self.peft_config = model, model.config, {}


REFUSED = {
    "meta": (meta_model, "is on the device meta and has no values; load the weights, without offloading, first"),
    "plain module": (lambda folder: torch.nn.Linear(4, 4), "is Linear, expected a path or a transformers model"),
    "adapters": (lambda folder: Peft(load(folder)[0]), "the model carries adapters"),
    "float8": (lambda folder: load(folder)[0].to(torch.float8_e4m3fn), "has dtype Float8_e4m3fn, expected float32"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_pruned_is_refused_with_one_sentence(freelunch, folder, kind):
    make, message = REFUSED[kind]
    with pytest.raises(ValueError) as refused:
        freelunch.compress(make(folder), criterion="magnitude", repair="none")
    assert message in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("options, message", [
    (dict(mlp=0.5), "needs smaller tensors, but the model is changed in place; set output"),
    (dict(format="gguf"), "format is of files"),
    (dict(dtype="f16"), "dtype is of files"),
    (dict(shard_size="1GB"), "shard_size is of files"),
])
def test_what_only_files_can_have_needs_an_output(freelunch, folder, options, message):
    model, _ = load(folder)
    before = weights(model)
    with pytest.raises(ValueError, match=message):
        freelunch.compress(model, criterion="magnitude", unit_criterion="magnitude", repair="none", **options)
    assert same(before, weights(model))


def test_texts_need_the_tokenizer(freelunch, folder, short):
    with pytest.raises(ValueError, match="give tokenizer="):
        freelunch.compress(load(folder)[0], **short)
