"""Which linear layers become semi-structured sparse tensors, and why the others do not. Only the last test needs a GPU.
"""
import pytest
import torch


def two_of_four(rows=64, columns=128, dtype=torch.float16):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).to(dtype)
    return weight.view(-1, 4).clone().mul_(torch.tensor([1, 0, 0, 1], dtype=dtype)).view(rows, columns)


def test_a_2_of_4_matrix_qualifies(freelunch):
    from freelunch._accelerate import reason_to_leave

    for capability in ((8, 0), (8, 9), (9, 0)):
        assert reason_to_leave(two_of_four(), capability, "cuda") is None
    assert reason_to_leave(two_of_four(dtype=torch.bfloat16), (8, 0), "cuda") is None


@pytest.mark.parametrize("weight, capability, reason", [
    (two_of_four(), (7, 5), "its GPU has compute capability 7.5, 8.0 is needed"),
    (two_of_four(), None, "not on a CUDA device"),
    (two_of_four(dtype=torch.float32), (8, 0), "its dtype is float32, float16 or bfloat16 is needed"),
    (two_of_four(rows=48), (8, 0), "its shape is no multiple of (32, 64)"),
    (two_of_four(columns=96), (8, 0), "its shape is no multiple of (32, 64)"),
    (torch.ones(64, 128, dtype=torch.float16), (8, 0), "not 2:4 sparse"),
])
def test_what_does_not_qualify_has_a_reason(freelunch, weight, capability, reason):
    from freelunch._accelerate import reason_to_leave

    assert reason_to_leave(weight, capability, "cuda") == reason


def test_one_group_with_three_weights_is_not_2_of_4(freelunch):
    from freelunch._accelerate import is_two_of_four

    weight = two_of_four()
    assert is_two_of_four(weight) and not is_two_of_four(weight[:, :126])
    weight[63, 125] = 1
    assert not is_two_of_four(weight)


def test_every_linear_layer_is_named_once(freelunch):
    model = torch.nn.Sequential(torch.nn.Linear(128, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
    done = freelunch.accelerate(model)
    assert done.layers == [] and done.left == {"0": "not on a CUDA device", "2": "not on a CUDA device"}
    assert str(done) == "0 linear layers accelerated, 2 left\n  not on a CUDA device: 0, 2 (2)"


def test_what_is_no_module_is_refused(freelunch):
    with pytest.raises(ValueError, match="expected a torch module"):
        freelunch.accelerate("MODEL")


@pytest.mark.skipif(not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0),
                    reason="needs a GPU of compute capability 8.0")
def test_the_outputs_stay_those_of_the_dense_layer(freelunch):
    layer = torch.nn.Linear(128, 64, bias=True, dtype=torch.float16, device="cuda")
    layer.weight.data = two_of_four().cuda()
    x = torch.randn(2, 17, 128, dtype=torch.float16, device="cuda")
    with torch.no_grad():
        dense = layer(x)
        assert freelunch.accelerate(torch.nn.Sequential(layer)).layers == ["0"]
        torch.testing.assert_close(layer(x), dense, rtol=1e-2, atol=1e-2)
