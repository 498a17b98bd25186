"""What the tests of structured pruning share: models, cuts, and what transformers computes."""
import architectures
import torch
from freelunch_command import run
from transformers import AutoModelForCausalLM

ARCHITECTURES = [name for name in architectures.cases if "," not in name]
IDS = torch.randint(0, architectures.VOCABULARY, (1, 48), generator=torch.Generator().manual_seed(2))
WINDOWS = ("--samples", "6", "--length", "64", "--held-out", "2", "--compute", "fp32")


def build(name, folder):
    architectures.build(name).save_pretrained(folder)
    return folder


def cut(folder, output, *options):
    """The folder of the smaller model, cut without looking at any text."""
    run("compress", folder, "-o", output, *options, "--repair", "none", "--criterion", "magnitude")
    return output


def transformers_logits(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(IDS).logits[0].numpy()


def expect_equal(ours, theirs, tolerance=1e-5):
    assert architectures.difference(ours, theirs) < tolerance
