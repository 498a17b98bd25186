"""A small random model with a tokenizer, as a Hugging Face folder and as a GGUF file."""
import io
import json
import pathlib
import random

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM


def text(words, seed=0):
    """About so many words of two to six letters, twelve a line."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 6))) for _ in range(120)]
    lines = [" ".join(rng.choices(vocabulary, k=12)) for _ in range(words // 12)]
    return "\n".join(lines) + "\n"


def make_tokenizer(folder):
    """tokenizer.json and tokenizer_config.json; returns the number of tokens, at most 400."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator([text(6000)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = dict(tokenizer_class="PreTrainedTokenizerFast", eos_token="<|endoftext|>")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer.get_vocab_size()


def sentencepiece_model():
    """The bytes of a tokenizer.model: BPE of at most 400 tokens with byte fallback, like that of Llama 2."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text(6000).split("\n")), model_writer=model, model_type="bpe", vocab_size=400,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, minloglevel=2,
        num_threads=1)
    return model.getvalue()


def make_with_sentencepiece(folder, **overrides):
    """Like make, with tokenizer.model instead of tokenizer.json."""
    model = make(folder, vocab_size=400, **overrides)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    return model


def make(folder, **overrides):
    """A random Llama in fp32, or what the overrides say: returns the model; writes its folder with a tokenizer.

    overrides: fields of the config, and dtype, max_shard_size, classes=(config class, model class).
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    size = make_tokenizer(folder)
    torch.manual_seed(0)
    shard = overrides.pop("max_shard_size", "5GB")
    dtype = overrides.pop("dtype", torch.float32)
    config_class, model_class = overrides.pop("classes", (LlamaConfig, LlamaForCausalLM))
    sizes = dict(vocab_size=size, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, max_position_embeddings=128)
    model = model_class(config_class(**{**sizes, **overrides})).to(dtype).eval()
    model.save_pretrained(folder, max_shard_size=shard)
    return model


GGUF_PARTS = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
              "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
              "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
GGUF_TENSORS = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
                "lm_head.weight": "output.weight"}


def add_byte_level_tokenizer(writer, folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if t == "<|endoftext|>" else 1 for t in tokens])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(vocabulary["<|endoftext|>"])


def permute(w, heads):
    """Rows of q or k in the order of GGUF files of llama: RoPE rotates neighbouring rows instead of the two halves."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def write_gguf(path, folder, model, add_tokenizer=add_byte_level_tokenizer):
    """The model as llama.cpp's converter writes it: rows of q and k permuted per head."""
    import gguf

    c = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    add_tokenizer(writer, folder)
    for name, tensor in model.state_dict().items():
        w = tensor.float().numpy()
        if "q_proj" in name:
            w = permute(w, c.num_attention_heads)
        elif "k_proj" in name:
            w = permute(w, c.num_key_value_heads)
        if name.startswith("model.layers."):
            block, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
            name = f"blk.{block}.{GGUF_PARTS[part]}.weight"
        else:
            name = GGUF_TENSORS[name]
        writer.add_tensor(name, np.ascontiguousarray(w))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
