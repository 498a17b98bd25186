#!/usr/bin/env python3
"""make_seeds.py FOLDER: well-formed files of every kind the fuzz targets read, small enough to be mutated quickly."""
import bz2
import gzip
import hashlib
import json
import lzma
import pathlib
import struct
import sys

out = pathlib.Path(sys.argv[1])


def seed(target, name, content):
    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def safetensors(entries, data, metadata=None):
    header = json.dumps(({"__metadata__": metadata} if metadata else {}) | entries).encode()
    return struct.pack("<Q", len(header)) + header + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


seed("safetensors", "two", safetensors({"a": tensor("F32", [2, 2], 0, 16), "b": tensor("BF16", [3], 16, 22)}, bytes(22), {"format": "pt"}))
seed("safetensors", "kinds", safetensors({t: tensor(t, [1], 8 * i, 8 * i + 8) for i, t in enumerate(["F64", "I64"])} | {"e": tensor("F16", [0, 4], 16, 16)}, bytes(16)))
seed("safetensors", "archive", safetensors({"w.shape": tensor("I64", [2], 0, 16), "w.bitmask": tensor("U8", [2, 1], 16, 18), "w.compressed": tensor("F16", [2], 18, 22)}, bytes(22)))
seed("safetensors", "empty", safetensors({}, b""))
seed("safetensors_index", "two", json.dumps({"metadata": {"total_size": 8}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}))

kept = {"w.shape": tensor("I64", [2], 0, 16), "w.compressed": tensor("F16", [3], 16, 22), "w.bitmask": tensor("U8", [2, 1], 22, 24), "w.row_offsets": tensor("I64", [2], 24, 40)}
seed("archive", "two-rows", safetensors(kept, struct.pack("<QQ", 2, 4) + bytes(range(6)) + bytes([0b0101, 0b0010]) + struct.pack("<QQ", 0, 2)))
seed("archive", "dense-too", safetensors(kept | {"norm": tensor("BF16", [2], 40, 44)}, struct.pack("<QQ", 2, 4) + bytes(range(6)) + bytes([0b0101, 0b0010]) + struct.pack("<QQ", 0, 2) + bytes(4)))


def varint(value):
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number, content):
    """A field of a protocol buffer: an integer, a float or bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    if isinstance(content, float):
        return varint(number << 3 | 5) + struct.pack("<f", content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def pieces(*entries):
    return b"".join(field(1, field(1, text.encode()) + field(2, score) + field(3, kind)) for text, score, kind in entries)


small = pieces(("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3), ("ab", -1.0, 1), ("\u2581ab", -2.0, 1), ("\u2581", -3.0, 1), ("a", -4.0, 1), ("b", -5.0, 1), ("<tool>", 0.0, 4))
for name, kind in (("unigram", 1), ("bpe", 2)):
    seed("sentencepiece", name, small + field(2, field(3, kind)) + field(3, field(3, 1) + field(4, 0)))
seed("sentencepiece", "bytes", small + pieces(*[(f"<0x{b:02X}>", 0.0, 6) for b in range(256)]) + field(2, field(3, 2) + field(35, 1)) + field(3, field(4, 1)))


def gguf_string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf_value(value):
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<Ii", 5, value) if value < 0 else struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + gguf_string(value)
    kind = {str: 8, float: 6, int: 5, bool: 7}[type(value[0])]
    body = b"".join(gguf_string(v) if kind == 8 else struct.pack({6: "<f", 5: "<i", 7: "<B"}[kind], v) for v in value)
    return struct.pack("<IIQ", 9, kind, len(value)) + body


def gguf(metadata, tensors, version=3):
    """tensors: (name, ggml shape, ggml type, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    head += b"".join(gguf_string(k) + gguf_value(v) for k, v in metadata.items())
    data = b""
    for name, shape, kind, size in tensors:
        head += gguf_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += bytes(size + -size % 32)
    return head + bytes(-len(head) % 32) + data


ALPHABET = [chr(b) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or 0xAE <= b else None for b in range(256)]
spare = iter(range(0x100, 0x200))
ALPHABET = [c or chr(next(spare)) for c in ALPHABET]


def model(architecture, pre, merges=("l o", "lo w"), letters=tuple("lowerĠ12")):
    tokens = [*letters, "lo", "low", "<s>", "</s>"]
    bos = len(tokens) - 2
    return {
        "general.architecture": architecture, "general.alignment": 32, f"{architecture}.embedding_length": 8, f"{architecture}.feed_forward_length": 16,
        f"{architecture}.block_count": 1, f"{architecture}.attention.head_count": 2, f"{architecture}.attention.head_count_kv": 1,
        f"{architecture}.context_length": 64, f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5, f"{architecture}.rope.freq_base": 10000.0,
        f"{architecture}.rope.scaling.type": "linear", f"{architecture}.rope.scaling.factor": 2.0,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": list(merges),
        "tokenizer.ggml.token_type": [1] * bos + [3, 3], "tokenizer.ggml.bos_token_id": bos, "tokenizer.ggml.eos_token_id": bos + 1,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": False,
    }


letters = tuple(dict.fromkeys("lowerĠ12"))
weights = [("token_embd.weight", (8, 12), 0, 8 * 12 * 4), ("output_norm.weight", (8,), 0, 32)]
for target in ("gguf", "gguf_model"):
    for architecture, pre in (("llama", "llama-bpe"), ("llama", "smollm"), ("qwen2", "qwen2"), ("llama", "gpt-2")):
        seed(target, f"{architecture}-{pre}", gguf(model(architecture, pre, letters=letters), weights))
    frequencies = [("rope_freqs.weight", (2,), 0, 8)]
    seed(target, "rope-frequencies", gguf(model("llama", "llama-bpe", letters=letters), weights + frequencies, 2))
sizes = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 30: (1, 2)}
seed("gguf", "types", gguf({"n": -1, "f": [0.5, 1.5], "b": [True, False]}, [(f"t{k}", (n,), k, b) for k, (n, b) in sizes.items()]))


def tokenizer_json(pre_tokenizer, **changes):
    vocabulary = {t: i for i, t in enumerate([*ALPHABET, "lo", "low"])}
    whole = {
        "version": "1.0", "added_tokens": [{"id": 258, "content": "<|end|>", "special": True, "lstrip": True, "rstrip": True, "single_word": True, "normalized": False}],
        "normalizer": None, "pre_tokenizer": pre_tokenizer, "post_processor": None,
        "model": {"type": "BPE", "ignore_merges": True, "vocab": vocabulary, "merges": ["l o", ["lo", "w"]]},
    }
    return json.dumps(whole | changes, ensure_ascii=False)


BYTES = {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}
SPLIT = {"type": "Split", "pattern": {"Regex": "(?i:'s|'t)|[^\\r\\n\\p{L}]?\\p{L}+|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated", "invert": False}
TEMPLATE = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [258], "tokens": ["<|end|>"]}}}
seed("tokenizer_json", "bytes", tokenizer_json(BYTES))
seed("tokenizer_json", "sequence", tokenizer_json({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, SPLIT, BYTES]},
                                                  normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]}, post_processor={"type": "Sequence", "processors": [BYTES, TEMPLATE]}))
for behavior in ("Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
    seed("tokenizer_json", behavior, tokenizer_json({"type": "Sequence", "pretokenizers": [SPLIT | {"behavior": behavior, "invert": True}, {"type": "Split", "pattern": {"String": " "}, "behavior": behavior}]}))
# short ones, which are mutated far more often
tiny = {"type": "BPE", "vocab": {"a": 0, "aa": 1, "Ġ": 2}, "merges": ["a a"]}
seed("tokenizer_json", "tiny", json.dumps({"model": tiny, "pre_tokenizer": SPLIT}))
seed("tokenizer_json", "tiny-added", json.dumps({"model": tiny, "added_tokens": [{"id": 3, "content": " world", "normalized": True}, {"id": 4, "content": "1", "single_word": True}], "post_processor": TEMPLATE | {"special_tokens": {"<|end|>": {"ids": [1]}}}}))

CONFIG = {"model_type": "llama", "vocab_size": 400, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
          "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": [2, 3], "hidden_act": "silu"}
seed("config", "llama", json.dumps(CONFIG))
seed("config", "llama3", json.dumps(CONFIG | {"head_dim": 32, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}))
seed("config", "linear", json.dumps(CONFIG | {"rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2}, "attention_bias": True, "mlp_bias": True}))
seed("config", "mistral", json.dumps(CONFIG | {"model_type": "mistral", "sliding_window": 32}))
seed("config", "qwen2", json.dumps(CONFIG | {"model_type": "qwen2", "use_sliding_window": False, "sliding_window": 32}))
# more architectures share this target; its dictionary holds their keys



def dictionary(target, words):
    lines = ['"' + "".join(f"\\x{b:02x}" if b < 0x20 or b > 0x7E or b in b'"\\' else chr(b) for b in w.encode()) + '"' for w in words]
    (out / f"{target}.dict").write_text("\n".join(lines) + "\n")


JSON = ['{"', '":', "null", "true", "-1", "1e400", "18446744073709551615", "9223372036854775808", '""', "[[[[", "{}", "[]", "\\u0000", "\\ud800"]
dictionary("safetensors", JSON + ["data_offsets", "dtype", "shape", "__metadata__", "F32", "BF16", "I64", "BOOL", "F8_E4M3"])
dictionary("safetensors_index", JSON + ["weight_map", "metadata", ".safetensors", "../"])
dictionary("config", JSON + list(CONFIG) + ["llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "rope_scaling", "rope_parameters", "rope_type", "llama3", "yarn", "longrope",
           "linear", "factor", "low_freq_factor", "high_freq_factor", "sliding_window", "use_sliding_window", "head_dim", "attention_bias", "layer_types", "full_attention", "sliding_attention",
           "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping", "partial_rotary_factor", "long_factor", "short_factor", "rope_local_base_freq"])
dictionary("tokenizer_json", JSON + ["model", "vocab", "merges", "BPE", "Unigram", "type", "added_tokens", "content", "special", "normalized", "lstrip", "rstrip", "single_word", "pre_tokenizer", "Sequence",
           "pretokenizers", "Split", "pattern", "Regex", "String", "behavior", "Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous", "invert", "ByteLevel", "add_prefix_space", "use_regex",
           "Digits", "Metaspace", "normalizer", "normalizers", "NFC", "Prepend", "Replace", "post_processor", "processors", "TemplateProcessing", "single", "SpecialToken", "special_tokens", "ids", "byte_fallback",
           "ignore_merges", "unk_token", "(?i:", "(?!", "(?<=", "(a+)+", "\\\\p{L}", "\\\\K", "\\\\C", "(?R)", "{1000}"])
gguf_words = ["GGUF", *model("llama", "smollm"), "rope_freqs.weight", "token_embd.weight", "output.weight", "tokenizer.ggml.scores", "llama", "spm", "gemma", "qwen3.", "gemma3."]
for target in ("gguf", "gguf_model"):
    dictionary(target, gguf_words)

for name, content in {"lines": b'{"text": "one"}\n\n{"text": "tw\\u00f6", "url": null}\n', "plain": b"one\ntwo\n\nthree"}.items():
    seed("text", name, content)
    seed("text", name + "-packed", gzip.compress(content, mtime=0))
    seed("text", name + "-members", gzip.compress(content, mtime=0) * 2 + bytes(3))
    seed("text", name + "-bzip2", bz2.compress(content) * 2)
    seed("text", name + "-xz", lzma.compress(content) * 2)
    # a frame that holds its content as it is: magic, a byte of flags, the window, the size of the last block
    seed("text", name + "-zstd", bytes.fromhex("28b52ffd0058") + struct.pack("<I", len(content) << 3 | 1)[:3] + content)
    seed("text", name + "-utf16", content.decode().encode("utf-16"))
    seed("text", name + "-crlf", b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
seed("text", "array", json.dumps([{"text": "a"}, "b", {"text": None, "n": float("nan")}]))
seed("text", "python", '{"text": "a", "x": [NaN, -Infinity, 1e999], "y": "\\ud800"}\n')
dictionary("text", JSON + ["NaN", "Infinity", "-Infinity", "\\udc00", '"text"'])
for name, example in {
    "boolq": {"passage": "a", "question": "b", "answer": True}, "rte": {"sentence1": "a", "sentence2": "b", "label": 0}, "winogrande": {"sentence": "a _ b", "option1": "c", "option2": "d", "answer": "1"},
    "hellaswag": {"ctx_a": "a [title]", "ctx_b": "b", "activity_label": "c", "endings": ["d [x]", "e"], "label": "1"}, "piqa": {"goal": "a", "sol1": "b", "sol2": "c", "label": 1},
    "arc": {"question": "a", "choices": {"text": ["b", "c"], "label": ["A", "B"]}, "answerKey": "B"}, "choices": {"contexts": ["a", "b"], "continuation": "c", "gold": 1},
}.items():
    seed("task", name, json.dumps(example) + "\n")
dictionary("task", JSON + ["passage", "question", "question_stem", "answer", "prompt", "choices", "text", "label", "answerKey", "gold", "sentence1", "sentence2", "premise", "hypothesis", "ctx", "ctx_a", "ctx_b",
           "activity_label", "endings", "sentence", "option1", "option2", "goal", "sol1", "sol2", "contexts", "continuation", "[title]"])
seed("study", "toml", 'models = ["m"]\n[calibration]\ntext = "t.txt"\n[[evaluate]]\nname = "e"\ntext = "e.txt"\n[[grid]]\nrepair = ["none", "solve,sublayer"]\nlearning_rate = [1e-3, inf]\n')
seed("study", "json", json.dumps({"models": ["m"], "calibration": {"text": "t.txt"}, "evaluate": [{"name": "e", "text": "e.txt"}], "grid": [{"repair": "sublayer", "blend": [[0, 0.5]]}]}))
dictionary("study", JSON + ["[[grid]]", "1979-05-27T07:32:00Z", "inf", "nan", "\'\'\'", "0x", "[a.b]"])
digest, lines = "", ""
for record in ('{"fingerprint":{"option":{"--seed":0}}}', '{"stage":"sublayer","region":"blocks.0.mlp","tensors":{"W":{"offset":0,"dtype":6,"shape":[2,2],"sha256":""}}}', "[[]]"):
    digest = hashlib.sha256((digest + record).encode()).hexdigest()
    lines += f'{{"sha256":"{digest}","record":{record}}}\n'
seed("journal", "whole", lines)
seed("journal", "torn", lines[:-9])
dictionary("journal", JSON + ['{"sha256":"', '","record":', "}\n"])
print(f"seeds: {sum(1 for _ in out.rglob('*') if _.is_file())} files in {out}")
