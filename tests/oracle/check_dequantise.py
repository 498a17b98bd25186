"""Every GGUF type dequantises bit for bit as the gguf package does, from files that package wrote."""
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np

probe = sys.argv[1]
random = np.random.default_rng(0)
T = gguf.GGMLQuantizationType
types = [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL]
rows, columns = 6, 1024
# where a block keeps its fp16 scales: random bytes elsewhere reach every code path, random scales would be NaN
scales = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2],
          T.Q6_K: [208], T.IQ4_NL: [0]}


def content(kind):
    if kind not in scales:
        return gguf.quants.quantize((random.standard_normal((rows, columns)) * 3).astype(np.float32), kind)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (rows * columns // elements, size), dtype=np.uint8)
    for at in scales[kind]:
        blocks[:, at:at + 2] = (random.standard_normal(len(blocks)) * 0.1).astype(np.float16).view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


with tempfile.TemporaryDirectory() as temporary:
    path = pathlib.Path(temporary) / "types.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    data = {kind: content(kind) for kind in types}
    for kind, bytes_ in data.items():
        writer.add_tensor(f"t.{kind.name}", bytes_, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for kind, bytes_ in data.items():
        theirs = gguf.quants.dequantize(bytes_, kind).astype(np.float32).reshape(rows, columns)
        out = subprocess.run([probe, "tensor", path, f"t.{kind.name}"], capture_output=True)
        assert out.returncode == 0, f"{kind.name}: {out.stderr.decode()}"
        ours = np.frombuffer(out.stdout, np.float32).reshape(rows, columns)
        assert np.isfinite(theirs).all() and np.unique(theirs).size > 16, kind.name
        assert (ours.view(np.uint32) == theirs.view(np.uint32)).all(), f"{kind.name}: {np.abs(ours - theirs).max()}"
print(f"{len(types)} types equal bit for bit")
