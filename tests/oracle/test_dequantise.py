"""Every GGUF type dequantises bit for bit as in the gguf package, from a file that the package wrote."""
import subprocess

import gguf
import numpy as np
import pytest

T = gguf.GGMLQuantizationType
TYPES = [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL]
ROWS, COLUMNS = 6, 1024
# Where a block keeps its fp16 scales. Random bytes elsewhere reach every code path; random scales would be NaN.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0]}


def content(kind, random):
    if kind not in SCALES:
        return gguf.quants.quantize((random.standard_normal((ROWS, COLUMNS)) * 3).astype(np.float32), kind)
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (ROWS * COLUMNS // elements, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = (random.standard_normal(len(blocks)) * 0.1).astype(np.float16)
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(ROWS, -1)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """(path, type -> bytes) of a file with one tensor of each type."""
    path = tmp_path_factory.mktemp("dequantise") / "types.gguf"
    random = np.random.default_rng(0)
    data = {kind: content(kind, random) for kind in TYPES}
    writer = gguf.GGUFWriter(path, "llama")
    for kind, stored in data.items():
        writer.add_tensor(f"t.{kind.name}", stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, data


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_a_type_dequantises_bit_for_bit_as_in_the_gguf_package(kind, file, oracle_probe):
    path, data = file
    theirs = gguf.quants.dequantize(data[kind], kind).astype(np.float32).reshape(ROWS, COLUMNS)
    out = subprocess.run([oracle_probe, "tensor", path, f"t.{kind.name}"], capture_output=True)
    assert out.returncode == 0, out.stderr.decode()
    ours = np.frombuffer(out.stdout, np.float32).reshape(ROWS, COLUMNS)
    assert np.isfinite(theirs).all() and np.unique(theirs).size > 16
    assert (ours.view(np.uint32) == theirs.view(np.uint32)).all(), np.abs(ours - theirs).max()
