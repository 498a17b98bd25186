"""What the gguf package reads from files that the command wrote."""
import gguf
import numpy as np


def gguf_tensors(*paths):
    """name -> (type, fp32 array in the shape of the weight) of one file, or of all parts of a split one."""
    result = {}
    for path in paths:
        for t in gguf.GGUFReader(path).tensors:
            values = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
            result[t.name] = (t.tensor_type.name, values.reshape(t.shape[::-1].tolist()))
    return result


def metadata(path):
    """key -> value of the file's metadata."""
    fields = gguf.GGUFReader(path).fields.items()
    return {key: field.contents() for key, field in fields if not key.startswith("GGUF.")}


def expect_same_gguf(a, b):
    """The same names, types and values."""
    first, second = gguf_tensors(a), gguf_tensors(b)
    assert first.keys() == second.keys()
    for name, (kind, values) in first.items():
        assert second[name][0] == kind and (second[name][1] == values).all(), name
