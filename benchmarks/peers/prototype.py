#!/usr/bin/env python3
"""Prunes and repairs a Llama-like model in plain PyTorch, by the stages of `freelunch compress`: a peer to measure.

prototype.py --model FOLDER --calibration FILE.jsonl --text FILE --repair solve,model

FOLDER is a Hugging Face folder whose blocks have Llama's parts (llama, mistral, qwen2). --repair is `none` or a list of
stages that run in this order, each on the weights the previous one produced:

  solve     with the masks: each matrix by conjugate gradients, with second moments of its inputs in the pruned stream
  sublayer  gradient descent on each attention and each MLP sublayer; the dense model's stream is the target
  block     the same on whole blocks
  model     all retained weights at once, on the dense model's next-token distribution (kl) or on the next token (ce)

Matrix products run under bf16 autocast; statistics, solves, losses and the optimiser are in fp32. Prints one line of
JSON: {"seconds": sum over the stages, "stages": {stage: seconds}, "perplexity": of the text, "held_out_perplexity": of
the last windows of the calibration file}. "seconds" does not count the opening of the model and the evaluation.
"""
import argparse
import dataclasses
import json
import math
import os
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from texts import calibration_windows, last_windows, perplexity, text_windows

WINDOWS_PER_PASS = 4  # of a pass without gradients
WINDOWS_PER_GRAPH = 2  # of a pass with gradients through the whole model
EVALUATION_LENGTH = 2048


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a Hugging Face folder")
    parser.add_argument("--calibration", required=True, help='JSONL with a "text" field')
    parser.add_argument("--text", required=True, help="the text that perplexity is measured on")
    parser.add_argument("--criterion", default="wanda", choices=["wanda", "magnitude"])
    parser.add_argument("--sparsity", type=float, default=0.5, help="fraction of zeros in each row")
    parser.add_argument("--pattern", help="N:M, for example 2:4, instead of --sparsity")
    parser.add_argument(
        "--repair", default="solve,model", help="none, or a list of solve, sublayer, block, model"
    )
    parser.add_argument("--samples", type=int, default=64, help="calibration windows")
    parser.add_argument("--length", type=int, default=512, help="tokens of a calibration window")
    parser.add_argument("--windows", type=int, default=10, help="windows of 2048 tokens for perplexity")
    parser.add_argument(
        "--lambda", dest="ridge", type=float, default=0.01, help="solve: in units of mean diag H"
    )
    parser.add_argument("--iterations", type=int, default=20, help="solve: steps of conjugate gradients")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="sublayer, block")
    parser.add_argument("--epochs", type=int, default=2, help="sublayer, block")
    parser.add_argument("--batch", type=int, default=4, help="windows in a step of any stage that trains")
    parser.add_argument("--model-learning-rate", type=float, default=2e-4)
    parser.add_argument("--model-epochs", type=int, default=2)
    parser.add_argument("--model-loss", default="kl", choices=["kl", "ce"])
    parser.add_argument("--seed", type=int, default=0, help="of the order of windows")
    parsed = parser.parse_args()
    parsed.stages = [] if parsed.repair == "none" else parsed.repair.split(",")
    unknown = [stage for stage in parsed.stages if stage not in ("solve", "sublayer", "block", "model")]
    if unknown or "solve" in parsed.stages[1:]:
        parser.error(f"--repair {parsed.repair}: expected a list of solve (first), sublayer, block, model")
    return parsed


@dataclasses.dataclass(frozen=True)
class Sublayer:
    """One residual step of a block: x + module(norm(x))."""

    module: str
    norm: str
    groups: tuple  # names of the matrices in order of use; those of one group read the same input

    def matrices(self, block):
        return [getattr(getattr(block, self.module), name) for group in self.groups for name in group]


ATTENTION = Sublayer("self_attn", "input_layernorm", (("q_proj", "k_proj", "v_proj"), ("o_proj",)))
MLP = Sublayer("mlp", "post_attention_layernorm", (("gate_proj", "up_proj"), ("down_proj",)))
REGIONS = {"sublayer": [(ATTENTION,), (MLP,)], "block": [(ATTENTION, MLP)]}  # of a block, in order


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


class Decoder:
    """A model whose blocks can be run one by one on a stream (windows, length, width) in fp32."""

    def __init__(self, folder, length, dtype=torch.float32):
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa"
        ).eval()
        self.model.requires_grad_(False)
        self.blocks = self.model.model.layers
        self.rotary = self.model.model.rotary_emb(torch.zeros(1, 1), torch.arange(length)[None])

    def embed(self, windows):
        return self.model.model.embed_tokens(windows).float()

    def hidden(self, windows):
        """What the head reads: (windows, length, width)."""
        return self.model.model(windows, use_cache=False)[0]

    def norms(self):
        return [p for name, p in self.model.named_parameters() if "norm" in name]

    def region(self, block, region, x):
        """The stream after the sublayers of a region."""
        for sublayer in region:
            module, normed = getattr(block, sublayer.module), getattr(block, sublayer.norm)(x)
            if sublayer is ATTENTION:
                positions = [table.expand(len(x), -1, -1) for table in self.rotary]
                x = x + module(normed, position_embeddings=positions, attention_mask=None)[0]
            else:
                x = x + module(normed)
        return x

    def advance(self, block, region, x):
        """region() of all windows, without gradients."""
        with torch.no_grad(), autocast():
            return torch.cat([self.region(block, region, part) for part in x.split(WINDOWS_PER_PASS)])


def choose_mask(W, squared_norms, o):
    """True where a weight is retained. W (out, in); squared_norms (in): sums of squares of the inputs.

    Wanda: Sun et al. 2023, arXiv 2306.11695.
    """
    scores = W.abs() * squared_norms.sqrt() if o.criterion == "wanda" else W.abs()
    if o.pattern:
        keep, group = map(int, o.pattern.split(":"))
        grouped = scores.view(len(scores), -1, group)
        mask = torch.zeros_like(grouped, dtype=torch.bool)
        return mask.scatter_(2, grouped.topk(keep, 2).indices, True).view_as(W)
    return scores > scores.kthvalue(int(W.shape[1] * o.sparsity), 1, keepdim=True).values


def solve(dense, mask, H, o):
    """Minimises tr((W - dense) (H + lambda I) (W - dense)^T) over W that is zero outside the mask, from dense * mask.

    dense, mask (out, in), H (in, in): second moments of the inputs. Conjugate gradients, all rows at once,
    preconditioned with the diagonal.
    """
    H = H + o.ridge * H.diagonal().mean() * torch.eye(len(H))
    diagonal = H.diagonal()
    W = dense * mask
    residual = ((dense - W) @ H) * mask
    scaled = residual / diagonal
    direction = scaled.clone()
    error = (residual * scaled).sum(1, keepdim=True)
    for _ in range(o.iterations):
        image = (direction @ H) * mask
        step = error / (direction * image).sum(1, keepdim=True).clamp_min(1e-20)
        W += step * direction
        residual -= step * image
        scaled = residual / diagonal
        former, error = error, (residual * scaled).sum(1, keepdim=True)
        direction = scaled + error / former.clamp_min(1e-20) * direction
    return W


def prune(student, windows, o):
    """Masks of all matrices, chosen and applied (and solved) in order on the stream of the pruned prefix."""
    masks = {}
    x = student.embed(windows)
    for block in student.blocks:
        for sublayer in (ATTENTION, MLP):
            module = getattr(block, sublayer.module)
            for names in sublayer.groups:
                matrices = [getattr(module, name) for name in names]
                H = second_moments(student, block, sublayer, matrices[0], x, full="solve" in o.stages)
                for matrix in matrices:
                    mask = masks[matrix] = choose_mask(matrix.weight.data, H.diagonal(), o)
                    pruned = matrix.weight.data * mask
                    matrix.weight.data = (
                        solve(matrix.weight.data, mask, H, o) if "solve" in o.stages else pruned
                    )
            x = student.advance(block, (sublayer,), x)
    return masks


def second_moments(student, block, sublayer, matrix, x, full):
    """X^T X (in, in) of the matrix's inputs in a pass of x through the sublayer; the diagonal alone unless full."""
    H = torch.zeros(matrix.in_features, matrix.in_features)

    def observe(_, inputs, __):
        rows = inputs[0].float().reshape(-1, matrix.in_features)
        if full:
            H.addmm_(rows.t(), rows)
        else:
            H.diagonal().add_(rows.pow(2).sum(0))

    hook = matrix.register_forward_hook(observe)
    student.advance(block, (sublayer,), x)
    hook.remove()
    return H


class Trainer:
    """AdamW over some parameters, with linear warm-up over a tenth of the steps and linear decay to zero."""

    def __init__(self, matrices, norms, masks, learning_rate, steps):
        self.matrices, self.masks = matrices, masks
        self.parameters = [matrix.weight for matrix in matrices] + norms
        self.learning_rate, self.steps, self.done = learning_rate, steps, 0
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.adam = torch.optim.AdamW(self.parameters, lr=learning_rate, weight_decay=0, betas=(0.9, 0.95))

    def step(self):
        """Takes a step along the gradients of the retained weights and forgets them."""
        for matrix in self.matrices:
            matrix.weight.grad.mul_(self.masks[matrix])
        share = min((self.done + 1) / (0.1 * self.steps), (self.steps - self.done) / (0.9 * self.steps), 1)
        for group in self.adam.param_groups:
            group["lr"] = self.learning_rate * share
        self.adam.step()
        self.adam.zero_grad()
        self.done += 1

    def finish(self):
        for parameter in self.parameters:
            parameter.requires_grad_(False)


def batches(o, epochs, random):
    for _ in range(epochs):
        yield from torch.randperm(o.samples, generator=random).split(o.batch)


def relative_error(y, target):
    """Squared error of each token over the target's mean square, averaged over tokens."""
    return ((y - target).pow(2).mean(-1) / target.pow(2).mean(-1)).mean()


def repair_regions(student, masks, windows, regions, o, random):
    """Gradient descent on one region after the other: pruned stream in, dense stream as target."""
    dense = Decoder(o.model, o.length)
    x = dense_x = student.embed(windows)
    for block, dense_block in zip(student.blocks, dense.blocks):
        for region in regions:
            target = dense.advance(dense_block, region, dense_x)
            matrices = [matrix for sublayer in region for matrix in sublayer.matrices(block)]
            norms = [getattr(block, sublayer.norm).weight for sublayer in region]
            trainer = Trainer(
                matrices, norms, masks, o.learning_rate, o.epochs * math.ceil(o.samples / o.batch)
            )
            for batch in batches(o, o.epochs, random):
                with autocast():
                    y = student.region(block, region, x[batch])
                relative_error(y, target[batch]).backward()
                trainer.step()
            trainer.finish()
            x, dense_x = student.advance(block, region, x), target


def token_loss(student, hidden, dense_logits, tokens, loss):
    """Sum over the tokens of a window of KL(dense || student), or of the next token's negative log-likelihood."""
    with autocast():
        logits = student.model.lm_head(hidden).float()
    if loss == "ce":
        return F.cross_entropy(logits, tokens, reduction="sum")
    return F.kl_div(
        logits.log_softmax(-1), dense_logits.float().log_softmax(-1), reduction="sum", log_target=True
    )


def repair_model(student, masks, windows, o, random):
    """Trains all retained weights and norms at once. Logits exist for one window at a time."""
    dense = Decoder(o.model, o.length, dtype=torch.bfloat16) if o.model_loss == "kl" else None
    steps = o.model_epochs * math.ceil(o.samples / o.batch)
    trainer = Trainer(list(masks), student.norms(), masks, o.model_learning_rate, steps)
    for batch in batches(o, o.model_epochs, random):
        for part in windows[batch].split(WINDOWS_PER_GRAPH):
            with autocast():
                hidden = student.hidden(part)
            with torch.no_grad():
                dense_hidden = dense.hidden(part) if dense else None
            leaf = hidden.detach().requires_grad_(True)
            for i, window in enumerate(part):
                with torch.no_grad():
                    dense_logits = dense.model.lm_head(dense_hidden[i, :-1]) if dense else None
                loss = token_loss(student, leaf[i, :-1], dense_logits, window[1:], o.model_loss)
                (loss / (len(batch) * (o.length - 1))).backward()
            hidden.backward(leaf.grad)
        trainer.step()
    trainer.finish()


def main():
    o = options()
    random = torch.Generator().manual_seed(o.seed)
    tokenizer = AutoTokenizer.from_pretrained(o.model)
    student = Decoder(o.model, o.length)
    windows = calibration_windows(tokenizer, o.calibration, o.samples, o.length)

    seconds = {}
    start = time.time()
    masks = prune(student, windows, o)
    seconds["solve" if "solve" in o.stages else "prune"] = time.time() - start
    for stage in o.stages:
        if stage == "solve":
            continue
        start = time.time()
        if stage == "model":
            repair_model(student, masks, windows, o, random)
        else:
            repair_regions(student, masks, windows, REGIONS[stage], o, random)
        for matrix, mask in masks.items():
            matrix.weight.data *= mask
        seconds[stage] = time.time() - start

    text = text_windows(tokenizer, o.text, o.windows, EVALUATION_LENGTH)
    held_out = last_windows(tokenizer, o.calibration, o.windows, EVALUATION_LENGTH)
    result = {
        "seconds": sum(seconds.values()),
        "stages": seconds,
        "perplexity": perplexity(student.model, text),
        "held_out_perplexity": perplexity(student.model, held_out),
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
