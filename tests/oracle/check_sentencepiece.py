"""Ids equal the SentencePiece library's on 10,000 lines of mixed text, from .model files and from the scores in GGUF metadata; the
tokenizer.json written for the latter gives the same in the tokenizers library; Llama 2's token count of WikiText-2; speed."""
import io
import json
import pathlib
import subprocess
import sys
import tempfile

import sentencepiece
from mixed_lines import Probe, mixed_lines, wikitext
from tokenizers import Tokenizer

probe, data = sys.argv[1], pathlib.Path(sys.argv[2])
if not (data / "tokenizers").exists():
    print("skipped: no tokenizers at hand")
    sys.exit(77)
ours = Probe(probe)
lines = mixed_lines(10500)[:10000]
text = wikitext(data)


def train(kind, **options):
    model = io.BytesIO()
    sample = [line for line in text[:400000].split("\n") if line.strip()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sample), model_writer=model, model_type=kind, minloglevel=2, num_threads=1, **options)
    return model.getvalue()


def folder_of(root, name, model, **config):
    folder = root / name
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(model)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def gguf_of(root, name, processor, **more):
    """As llama.cpp's converter writes it."""
    kinds = (("is_unknown", 2), ("is_control", 3), ("is_unused", 5), ("is_byte", 6))
    n = processor.get_piece_size()
    types = [next((t for check, t in kinds if getattr(processor, check)(i)), 1) for i in range(n)]
    path = root / f"{name}.gguf.json"
    user_defined = more.pop("user_defined", [])
    tokens = [processor.id_to_piece(i) for i in range(n)]
    types = [4 if t in user_defined else k for t, k in zip(tokens, types)]
    path.write_text(json.dumps(dict(
        tokens=tokens, scores=[processor.get_score(i) for i in range(n)], token_types=types, bos=1, eos=2, **more)))
    return path


def check_gguf(root, name, processor, **more):
    path = gguf_of(root, name, processor, **more)
    with_bos = more.get("add_bos", more["model"] == "llama")
    end = [] if more["model"] == "llama" else [2]
    ours.compare(f"{name} from GGUF", path, lambda t: ([1] if with_bos else []) + processor.encode(t) + end, lines)
    written = subprocess.run([probe, "write", path], capture_output=True, check=True).stdout.decode()
    ours.compare(f"{name} from GGUF, in tokenizers", path, Tokenizer.from_str(written), lines)


IDENTITY = dict(normalization_rule_name="identity", remove_extra_whitespaces=False)
with tempfile.TemporaryDirectory() as temporary:
    root = pathlib.Path(temporary)
    llama2 = (data / "tokenizers/llama2-tokenizer.model").read_bytes()
    processor = sentencepiece.SentencePieceProcessor(model_proto=llama2)
    folder = folder_of(root, "llama2", llama2)
    ours.compare("Llama 2", folder, lambda t: [1] + processor.encode(t), lines)
    check_gguf(root, "Llama 2", processor, model="llama")
    for path in (folder, root / "Llama 2.gguf.json"):
        got, _ = ours(path, [text.encode()])
        assert len(got[0]) == 341469, (path, len(got[0]))
    print("WikiText-2: 341,469 tokens with Llama 2's tokenizer")

    user_defined = ["▁▁", "▁▁▁▁", "\n\n", "<tool>", "TODO"]
    models = {
        "unigram, nmt_nfkc": train("unigram", vocab_size=1500),
        "unigram, identity": train("unigram", vocab_size=1500, byte_fallback=True, **IDENTITY),
        "bpe, nfkc_cf": train("bpe", vocab_size=1500, normalization_rule_name="nfkc_cf", byte_fallback=True),
        "bpe as Gemma's": train("bpe", vocab_size=1500, byte_fallback=True, add_dummy_prefix=False, user_defined_symbols=user_defined, **IDENTITY),
        "bpe, no bytes": train("bpe", vocab_size=1200, character_coverage=0.99, **IDENTITY),
        "characters": train("char", vocab_size=300, hard_vocab_limit=False),
        "suffix": train("unigram", vocab_size=1500, treat_whitespace_as_suffix=True),
    }
    for name, model in models.items():
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        folder = folder_of(root, name, model, add_bos_token=False, add_eos_token=True)
        ours.compare(name, folder, lambda t: processor.encode(t) + [2], lines)
    for name, more in {
        "bpe as Gemma's": dict(model="llama", add_space_prefix=False, user_defined=user_defined),
        "bpe, no bytes": dict(model="llama", add_bos=False),
        "unigram, identity": dict(model="t5"),
    }.items():
        check_gguf(root, name, sentencepiece.SentencePieceProcessor(model_proto=models[name]), **more)

    for name in ("llama2", "Llama 2.gguf.json", "unigram, identity", "unigram, identity.gguf.json"):
        path = root / name
        for filler in ("a", " ", "1", "\n", "é", "日"):  # neither failure nor quadratic time
            got, seconds = ours(path, [(filler * 300000).encode()])
            assert got[0] and seconds < 60, (name, filler, seconds)
        print(f"speed, {name}: {ours.speed(path, text.encode()):.1f} MB/s")
