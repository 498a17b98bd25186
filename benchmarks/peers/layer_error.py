"""The output error of each pruned matrix on the dense model's inputs.

layer_error.py DENSE NAME=PRUNED NAME=PRUNED ... --calibration FILE.jsonl

DENSE and PRUNED are Hugging Face folders. The error of a matrix is ||X (W - W_dense)^T||^2 / ||X W_dense^T||^2, where X
is its input in the dense model over the calibration windows. Prints a table: the mean over blocks for each matrix, the
mean of all, and on how many matrices the first name has the lowest error.
"""
import argparse
import os

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from texts import calibration_windows

parser = argparse.ArgumentParser()
parser.add_argument("dense")
parser.add_argument("pruned", nargs="+", metavar="NAME=FOLDER")
parser.add_argument("--calibration", required=True)
parser.add_argument("--samples", type=int, default=64)
parser.add_argument("--length", type=int, default=512)
arguments = parser.parse_args()


def matrices(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, {
        name: m
        for name, m in model.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in name
    }


dense, layers = matrices(arguments.dense)
grams = {}


def observe(name):
    def hook(module, inputs, output):
        x = inputs[0].float().flatten(0, 1)
        grams[name] = grams.get(name, 0) + x.t() @ x

    return hook


# q, k and v read the same input, and so do gate and up: one Gram matrix serves the group
source = {
    name: name.replace("k_proj", "q_proj").replace("v_proj", "q_proj").replace("up_proj", "gate_proj")
    for name in layers
}
for name in set(source.values()):
    layers[name].register_forward_hook(observe(name))
windows = calibration_windows(AutoTokenizer.from_pretrained(arguments.dense), arguments.calibration, arguments.samples,
                              arguments.length)
with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
    for batch in windows.split(4):
        dense.model(batch, use_cache=False)

errors, names = {}, []
with torch.no_grad():
    for item in arguments.pruned:
        name, folder = item.split("=", 1)
        names.append(name)
        _, found = matrices(folder)
        for layer, module in layers.items():
            H, W = grams[source[layer]].double(), module.weight.double()
            E = found[layer].weight.double() - W
            errors[name, layer] = (((E @ H) * E).sum() / ((W @ H) * W).sum()).item()
kinds = list(dict.fromkeys(layer.rsplit(".", 1)[1] for layer in layers))
print("| matrix | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
for kind in [*kinds, ""]:
    chosen = [layer for layer in layers if layer.endswith(kind)]
    print(f"| {kind or 'all'} | " + " | ".join(f"{sum(errors[name, layer] for layer in chosen) / len(chosen):.5f}"
                                               for name in names) + " |")
lowest = sum(min(names, key=lambda name: errors[name, layer]) == names[0] for layer in layers)
print(f"\n{names[0]} is lowest on {lowest} of {len(layers)} matrices.")
