"""A small trained model, and changes of its weights that leave its function as it is.

A change takes a model in fp64 whose head is a matrix of its own, changes it and returns it.
"""
import json
import struct

import numpy as np
import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM

FIRST_CHARACTER = 0x4E00  # token i is the character of this number plus i: a text is an exact sequence of tokens


def read_llama2c(path):
    """The LlamaForCausalLM in fp32 of a checkpoint in the first format of llama2.c."""
    data = path.read_bytes()
    width, hidden, blocks, heads, key_heads, vocabulary, length = struct.unpack("7i", data[:28])
    numbers = torch.from_numpy(np.frombuffer(data, dtype=np.float32, offset=28).copy())
    keys = width // heads * key_heads
    shapes = {"model.embed_tokens": (vocabulary, width), "input_layernorm": (blocks, width),
              "self_attn.q_proj": (blocks, width, width), "self_attn.k_proj": (blocks, keys, width),
              "self_attn.v_proj": (blocks, keys, width), "self_attn.o_proj": (blocks, width, width),
              "post_attention_layernorm": (blocks, width), "mlp.gate_proj": (blocks, hidden, width),
              "mlp.down_proj": (blocks, width, hidden), "mlp.up_proj": (blocks, hidden, width),
              "model.norm": (width,)}
    weights, at = {}, 0
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        tensor, at = numbers[at:at + count].view(shape), at + count
        if name.startswith("model."):
            weights[f"{name}.weight"] = tensor
        for b in range(0 if name.startswith("model.") else blocks):
            weights[f"model.layers.{b}.{name}.weight"] = tensor[b]
    for name, w in weights.items():  # here RoPE rotates the two halves of a head, there neighbouring rows
        if "q_proj" in name or "k_proj" in name:
            of = heads if "q_proj" in name else key_heads
            weights[name] = w.view(of, -1, 2, width).transpose(1, 2).reshape(w.shape)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=hidden, num_hidden_layers=blocks,
        num_attention_heads=heads, num_key_value_heads=key_heads, max_position_embeddings=length, rms_norm_eps=1e-5,
        tie_word_embeddings=False, bos_token_id=1, eos_token_id=2)).eval()
    model.load_state_dict(weights)
    return model


def copy(model, dtype=torch.float64):
    result = LlamaForCausalLM(LlamaConfig(**model.config.to_dict())).to(dtype).eval()
    result.load_state_dict(model.state_dict())
    return result


def save(model, folder):
    """Writes the model in fp32 with a tokenizer of single characters."""
    copy(model, torch.float32).save_pretrained(folder)
    vocabulary = {chr(FIRST_CHARACTER + i): i for i in range(model.config.vocab_size)}
    tokenizer = dict(version="1.0", added_tokens=[], normalizer=None, pre_tokenizer=None, post_processor=None,
                     decoder=None, model=dict(type="BPE", vocab=vocabulary, merges=[]))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="PreTrainedTokenizerFast")))


def text_of(tokens):
    return "".join(chr(FIRST_CHARACTER + t) for t in tokens.flatten().tolist())


def sample(model, windows, length, seed=0):
    """(windows, length) of tokens that the model continues the start of a text with."""
    generator = torch.Generator().manual_seed(seed)
    tokens, cache = torch.full((windows, 1), model.config.bos_token_id), None
    with torch.no_grad():
        for _ in range(length):
            out = model(tokens[:, -1:], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            drawn = torch.multinomial(out.logits[:, -1].softmax(-1), 1, generator=generator)
            tokens = torch.cat([tokens, drawn], 1)
    return tokens[:, 1:]


def log_probabilities(model, tokens):
    """(windows, length, vocabulary) in fp64."""
    with torch.no_grad():
        return copy(model)(tokens).logits.log_softmax(-1)


def divergence(p, q):
    """Mean over tokens of KL(p, q) of log-probabilities."""
    return F.kl_div(q, p, reduction="none", log_target=True).sum(-1).mean()


def norms_and_readers(model):
    """Each norm of the stream, in order, with the matrices that read it."""
    for layer in model.model.layers:
        a, m = layer.self_attn, layer.mlp
        yield layer.input_layernorm, [a.q_proj, a.k_proj, a.v_proj]
        yield layer.post_attention_layernorm, [m.gate_proj, m.up_proj]
    yield model.model.norm, [model.lm_head]


def writers(model):
    return [matrix for layer in model.model.layers for matrix in (layer.self_attn.o_proj, layer.mlp.down_proj)]


def energies(model, tokens):
    """(norms, width): mean square of each dimension of the stream before each norm."""
    seen = []
    hooks = [norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].square().mean((0, 1))))
             for norm, _ in norms_and_readers(model)]
    with torch.no_grad():
        model(tokens)
    for hook in hooks:
        hook.remove()
    return torch.stack(seen)


def fold_norms(model):
    for norm, readers in norms_and_readers(model):
        for reader in readers:
            reader.weight.data *= norm.weight.data
        norm.weight.data.fill_(1)
    return model


def rotate(model, seed=0):
    """Folds the norms, then rotates the stream."""
    width = model.config.hidden_size
    generator = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]
    model.model.embed_tokens.weight.data @= Q.T
    for writer in writers(model):
        writer.weight.data = Q @ writer.weight.data
    for _, readers in norms_and_readers(fold_norms(model)):
        for reader in readers:
            reader.weight.data @= Q.T
    return model


def scale_stream(model, factor=4.0):
    model.model.embed_tokens.weight.data *= factor
    for writer in writers(model):
        writer.weight.data *= factor
    model.config.rms_norm_eps *= factor**2
    return copy(model)


def scale_channels(model, seed=0):
    """Log-normal factors that cancel: per channel of the values and of the MLP, per rotary pair of queries and keys."""
    c = model.config
    heads, size = c.num_key_value_heads, c.hidden_size // c.num_attention_heads
    generator = torch.Generator().manual_seed(seed)

    def factors(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).exp()

    def for_queries(s):
        return s.repeat_interleave(c.num_attention_heads // heads, 0).flatten()

    for layer in model.model.layers:
        a, m = layer.self_attn, layer.mlp
        s = factors(heads, size)
        a.v_proj.weight.data *= s.view(-1, 1)
        a.o_proj.weight.data /= for_queries(s)
        s = factors(heads, size // 2).repeat(1, 2)
        a.k_proj.weight.data *= s.view(-1, 1)
        a.q_proj.weight.data /= for_queries(s).view(-1, 1)
        s = factors(c.intermediate_size)
        m.up_proj.weight.data *= s.view(-1, 1)
        m.down_proj.weight.data /= s
    return model


class NormWithLevel(torch.nn.Module):
    """An RMS norm of a stream that has `level` as further mean square, with the size of its output kept."""

    def __init__(self, norm, mean_square, dropped):
        super().__init__()
        self.keep = torch.ones_like(norm.weight).index_fill(0, torch.tensor([dropped]), 0)
        self.weight, self.epsilon = norm.weight, norm.variance_epsilon
        self.mean_square, self.level = mean_square, 0.0

    def factor(self):
        return ((self.mean_square + self.level) / self.mean_square) ** 0.5

    def forward(self, x):
        square = x.square().mean(-1, keepdim=True) + self.level + self.epsilon
        return self.weight * self.keep * x * torch.rsqrt(square) * self.factor()


def with_constant_dimension(model, tokens, level=8000.0, steps=40, batch=4):
    """Returns the changed model and the index of one dimension of its stream.

    That dimension has nearly the same large value for every token, as massive activations do, and holds nearly all of
    the stream's energy. The norms divide by that energy but give the dimension no weight. So inflating other dimensions
    hardly changes what the norms divide by. The model learns to do without the dimension by distillation from itself."""
    energy = energies(model, tokens[:16])
    dropped = int((energy / energy.sum(1, keepdim=True)).mean(0).argmin())
    teacher, model = copy(model, torch.float32), copy(model, torch.float32)
    norms = [NormWithLevel(norm, mean_square.item(), dropped)
             for (norm, _), mean_square in zip(norms_and_readers(model), energy.mean(1))]
    for b, layer in enumerate(model.model.layers):
        layer.input_layernorm, layer.post_attention_layernorm = norms[2 * b:2 * b + 2]
    model.model.norm = norms[-1]
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0)
    for i in range(steps):
        for norm in norms:
            norm.level = level * min(1, 1e-4 ** (1 - (i + 1) / (0.6 * steps)))
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (i + 1) / 5) * (1 - i / steps)
        x = tokens[torch.randint(len(tokens), (batch,), generator=generator)]
        with torch.no_grad():
            target = teacher(x).logits.log_softmax(-1)
        loss = divergence(target, model(x).logits.log_softmax(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    for norm in norms:
        norm.weight.data *= norm.keep * norm.factor()
    model.model.embed_tokens.weight.data[:, dropped] += (level * model.config.hidden_size) ** 0.5
    return copy(model), dropped


def inflate(model, dimensions, factor=50.0):
    """Makes dimensions of the stream larger, and the weights of all norms for them smaller."""
    model.model.embed_tokens.weight.data[:, dimensions] *= factor
    for writer in writers(model):
        writer.weight.data[dimensions] *= factor
    for norm, _ in norms_and_readers(model):
        norm.weight.data[dimensions] /= factor
    return model
