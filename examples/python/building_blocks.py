"""Prunes and repairs one linear layer with the building blocks: Wanda's mask, then the closed form.

building_blocks.py
"""
import torch

import freelunch

torch.manual_seed(0)
layer = torch.nn.Linear(256, 128, bias=False)
inputs = torch.randn(2048, 256) @ torch.randn(256, 256) / 16  # correlated, as activations are
W, H = layer.weight.detach(), inputs.T @ inputs
dense = layer(inputs).detach()


def error(weight):
    return ((inputs @ weight.T - dense).norm() / dense.norm()).item()


mask = freelunch.wanda(W, inputs.norm(dim=0), "2:4")
print(f"pruned by Wanda, 2:4: error {error(W * mask):.4f}")
fitted = freelunch.closed_form(W, mask, H)
print(f"repaired in closed form: error {error(fitted):.4f}")
moved, _ = freelunch.sparsegpt(W, H, "2:4")
print(f"pruned by SparseGPT, 2:4: error {error(moved):.4f}")
with torch.no_grad():
    layer.weight.copy_(fitted)
