"""2:4 matrices as torch's semi-structured sparse tensors."""
from dataclasses import dataclass, field

import torch

CAPABILITY = (8, 0)  # Ampere: the first GPUs that multiply 2:4 matrices
DTYPES = (torch.float16, torch.bfloat16)
ROWS, COLUMNS = 32, 64  # the tiles of the kernels: a matrix must be a whole number of them


@dataclass
class Accelerated:
    """What accelerate did: the names of the layers that changed, and for every other linear layer why it did not."""

    layers: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self):
        lines = [f"{len(self.layers)} linear layers accelerated, {len(self.left)} left"]
        reasons = {}
        for name, reason in self.left.items():
            reasons.setdefault(reason, []).append(name)
        lines += [f"  {reason}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''} ({len(names)})"
                  for reason, names in reasons.items()]
        return "\n".join(lines)


def is_two_of_four(weight):
    """Whether at most two of every four consecutive weights of a row are not zero. weight: (out, in)."""
    if weight.shape[1] % 4:
        return False
    return bool((weight.detach().reshape(-1, 4).ne(0).sum(dim=1) <= 2).all())


def reason_to_leave(weight, capability, device_type=None):
    """Why a matrix (out, in) stays as it is, or None if it can be accelerated.

    capability: (major, minor) of its GPU, None if it is not on one. device_type: of the matrix; default: its own.
    """
    if (device_type or weight.device.type) != "cuda" or capability is None:
        return "not on a CUDA device"
    if capability < CAPABILITY:
        has, needed = (".".join(map(str, version)) for version in (capability, CAPABILITY))
        return f"its GPU has compute capability {has}, {needed} is needed"
    if weight.dtype not in DTYPES:
        return f"its dtype is {str(weight.dtype).removeprefix('torch.')}, float16 or bfloat16 is needed"
    if weight.shape[0] % ROWS or weight.shape[1] % COLUMNS:
        return f"its shape is no multiple of ({ROWS}, {COLUMNS})"
    if not is_two_of_four(weight):
        return "not 2:4 sparse"
    return None


def accelerate(model):
    """Replaces the weights of 2:4 linear layers by torch's semi-structured sparse tensors, in place.

    model: a torch module on a GPU of compute capability 8.0 or more, in float16 or bfloat16. Layers that do not qualify
    stay as they are. The new weights cannot be trained or saved as a model's folder: save the model first.
    Returns Accelerated: `layers`, and `left` with a reason for each; print() shows a summary.
    """
    if not isinstance(model, torch.nn.Module):
        raise ValueError(f"the model is {type(model).__name__}, expected a torch module")
    done = Accelerated()
    for name, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear):
            continue
        weight = layer.weight
        if type(weight.data) is not torch.Tensor:
            done.left[name] = f"its weight is a {type(weight.data).__name__} already"
            continue
        capability = torch.cuda.get_device_capability(weight.device) if weight.is_cuda else None
        reason = reason_to_leave(weight, capability)
        if reason is None:
            sparse = torch.sparse.to_sparse_semi_structured(weight.detach().contiguous())
            layer.weight = torch.nn.Parameter(sparse, requires_grad=False)
            done.layers.append(name)
        else:
            done.left[name] = reason
    return done
