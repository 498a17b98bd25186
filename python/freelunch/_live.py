"""Models in memory: their tensors under the names that a folder has, and a folder with everything else."""
import copy
import os
import re

import torch

from ._library import native

# Mixtures that transformers holds stacked and folders hold by expert: the name in the folder of what encloses the
# experts, and of the matrices gate, up and down of an expert.
EXPERTS = {"mixtral": (".block_sparse_moe.", "w1", "w3", "w2"),
           "qwen3_moe": (".mlp.", "gate_proj", "up_proj", "down_proj")}


def unwrapped(model):
    """The model inside DataParallel, DistributedDataParallel or torch.compile."""
    while True:
        if isinstance(model, (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)):
            model = model.module
        elif type(model).__name__ == "OptimizedModule" and hasattr(model, "_orig_mod"):
            model = model._orig_mod
        else:
            return model


def check(model):
    """Refuses what is no transformers model, and wrappers that hide its weights."""
    if not isinstance(model, torch.nn.Module) or not hasattr(model, "config"):
        raise ValueError(f"the model is {type(model).__name__}, expected a path or a transformers model")
    if hasattr(model, "peft_config"):
        raise ValueError("the model carries adapters (peft); call merge_and_unload() and give what it returns")
    if getattr(model, "quantization_method", None) is not None or hasattr(model, "hf_quantizer"):
        raise ValueError("the model is quantised; load it in float32, float16 or bfloat16")
    for name, parameter in model.named_parameters():
        if type(parameter) is not torch.nn.Parameter or type(parameter.data) is not torch.Tensor:
            kind = type(parameter.data if type(parameter) is torch.nn.Parameter else parameter).__name__
            raise ValueError(f"tensor '{name}' is a {kind}, expected a plain tensor; sharded and quantised models, and "
                             "models with semi-structured tensors, cannot be pruned")


def experts_apart(name, tensor, model_type):
    """(name, tensor) of each matrix in a stack of experts, as views; or the pair as it is."""
    outer, gate, up, down = EXPERTS[model_type]
    name = name.replace(".mlp.", outer, 1)
    stack, _, part = name.rpartition(".")
    if not stack.endswith(".experts") or part not in ("gate_up_proj", "down_proj"):
        yield name, tensor
        return
    for expert, matrix in enumerate(tensor):
        if part == "down_proj":
            yield f"{stack}.{expert}.{down}.weight", matrix
            continue
        half = matrix.shape[0] // 2
        yield f"{stack}.{expert}.{gate}.weight", matrix[:half]
        yield f"{stack}.{expert}.{up}.weight", matrix[half:]


def named_tensors(model):
    """[(name in a folder, tensor)] in the order of save_pretrained. The tensors are the model's own."""
    named = [(name, value) for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)]
    if model.config.model_type in EXPERTS:
        named = [pair for name, value in named
                 for pair in experts_apart(name, value, model.config.model_type)]
    # of tied tensors the first name is kept, as by save_pretrained; files are sorted by name
    first = {}
    for name, tensor in named:
        first.setdefault((tensor.device, tensor.data_ptr() if tensor.device.type != "meta" else name, tensor.shape),
                         name)
    kept = set(first.values())
    return sorted(((n, t) for n, t in named if n in kept)) + [(n, t) for n, t in named if n not in kept]


def folder_name(model):
    """A name for the model's folder, which reports and GGUF files carry on."""
    name = os.path.basename(os.path.normpath(getattr(model.config, "_name_or_path", "") or ""))
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).strip(".") or "model"


def save_tokenizer(tokenizer, folder):
    if hasattr(tokenizer, "save_pretrained"):
        tokenizer.save_pretrained(folder)
    elif hasattr(tokenizer, "save"):  # of the package tokenizers
        tokenizer.save(os.path.join(folder, "tokenizer.json"))
    else:
        raise ValueError(f"tokenizer is {type(tokenizer).__name__}, expected a tokenizer of transformers or tokenizers")


def opened(model, tokenizer, work):
    """(folder with configuration and tokenizer, the tensors) of a model in memory. The folder is made in `work`."""
    model = unwrapped(model)
    check(model)
    folder = os.path.join(work, folder_name(model))
    os.makedirs(folder)
    config = copy.deepcopy(model.config)
    config.architectures = [type(model).__name__]
    config.dtype = str(model.dtype).split(".")[1]
    config.save_pretrained(folder)
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    if tokenizer is not None:
        save_tokenizer(tokenizer, folder)
    return folder, native.live_tensors(named_tensors(model))
