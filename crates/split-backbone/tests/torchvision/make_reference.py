"""Writes what torchvision's residual networks are called inside and what they answer.

Weights and inputs come from an integer formula, so that only names and outputs need to be kept.
Run it with PyTorch and torchvision installed; it writes beside itself:

    python3 make_reference.py

names.txt      per network: SHA-256 over the lines "NAME SHAPE" of its sorted state dictionary without
               batch counters, and the number of these lines
NETWORK.txt    these lines themselves, for resnet18 and resnet50
outputs.json   answers of resnet18 and resnet50 on two inputs each
"""

import hashlib
import json
import pathlib

import numpy
import torch
import torchvision

NETWORKS = [
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2",
    "wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d",
]
LISTED = ["resnet18", "resnet50"]
INPUTS = [(224, 224), (97, 131)]
HERE = pathlib.Path(__file__).parent


def unit(count, seed):
    """`count` numbers in 0..1 by a hash of their index, exact in float32."""
    u = numpy.arange(count, dtype=numpy.uint32)
    with numpy.errstate(over="ignore"):
        u = u * numpy.uint32(2654435761) + numpy.uint32(seed)
        u ^= u >> numpy.uint32(16)
        u *= numpy.uint32(2246822519)
        u ^= u >> numpy.uint32(13)
        u *= numpy.uint32(3266489917)
        u ^= u >> numpy.uint32(16)
    return (u >> numpy.uint32(8)).astype(numpy.float32) / numpy.float32(1 << 24)


def seed_of(name):
    """FNV-1a of a tensor's name, 32 bits."""
    value = 2166136261
    for byte in name.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value


def values(name, shape):
    """The made-up values of one tensor."""
    count = int(numpy.prod(shape))
    draw = unit(count, seed_of(name))
    half = numpy.float32(0.5)
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
        made = draw + half
    elif len(shape) == 1:
        made = (draw - half) * numpy.float32(0.25)
    else:
        fan_in = int(numpy.prod(shape[1:]))
        bound = numpy.float32(numpy.sqrt(numpy.float64(12) / numpy.float64(fan_in)))
        made = (draw - half) * bound
    return torch.from_numpy(made.reshape(shape))


def tensors(network):
    state = network.state_dict()
    return {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}


def line(name, shape):
    return f"{name} {'x'.join(str(side) for side in shape)}\n"


def main():
    names = []
    outputs = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    for name in NETWORKS:
        network = getattr(torchvision.models, name)(weights=None).eval()
        lines = [line(k, s) for k, s in sorted(tensors(network).items())]
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        names.append(f"{name} {len(lines)} {digest}\n")
        if name not in LISTED:
            continue
        (HERE / f"{name}.txt").write_text("".join(lines))
        made = {k: values(k, s) for k, s in tensors(network).items()}
        network.load_state_dict(made, strict=False)
        answers = []
        for height, width in INPUTS:
            seed = height * 1000 + width
            picture = unit(3 * height * width, seed) * numpy.float32(4) - numpy.float32(2)
            picture = torch.from_numpy(picture.reshape(1, 3, height, width))
            with torch.no_grad():
                single = network(picture)
                double = network.double()(picture.double())
                network.float()
            print(name, height, width, "largest", double.abs().max().item(),
                  "float32 differs by", (single.double() - double).abs().max().item())
            logits = [float(f"{x:.8g}") for x in double[0].tolist()]
            answers.append({"height": height, "width": width, "logits": logits})
        outputs[name] = answers
    (HERE / "names.txt").write_text("".join(names))
    (HERE / "outputs.json").write_text(json.dumps(outputs, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
