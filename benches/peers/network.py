"""Runs the network that `cargo xtask bench --peers PYTHON` hands over, with other engines.

Started by that command, not by hand. The folder named on the command line holds

    spec.json    strides and dilations of the stages, names and shapes of the tensors, threads
    weights.f32  the tensors, one behind the other, little-endian
    input.f32    the pictures of one batch
    symbols.i32  their symbols, picture by picture, channel by channel

First line of the answer: what was found, for which step, engines with the class scores of the first
pictures, and what is missing. Then each line of the input names one of them by its place and is answered
with the milliseconds it took for the batch, right after a run that is not timed. Batch norms are folded
already; what kind of block and shortcut the network has shows in its weights.
"""

import importlib.machinery
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

try:
    import numpy as np
except (ImportError, OSError) as error:
    print(json.dumps({"peers": [], "missing": [f"numpy, which both engines need: {error}"]}), flush=True)
    sys.exit()

# Engines print what they like; only our answers go to the pipe.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

folder = Path(sys.argv[1])
spec = json.loads((folder / "spec.json").read_text())
images = np.fromfile(folder / "input.f32", "<f4").reshape(spec["input"])


def answer(value):
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def read_tensors():
    flat = np.fromfile(folder / "weights.f32", "<f4")
    found, start = {}, 0
    for tensor in spec["tensors"]:
        size = int(np.prod(tensor["shape"]))
        found[tensor["path"]] = flat[start : start + size].reshape(tensor["shape"])
        start += size
    return found


class Network:
    """The network over any engine: `conv`, `relu`, `add`, `max_pool`, `zero_pad` and `classify`."""

    def __init__(self, tensors, engine):
        self.engine, self.tensors = engine, tensors
        self.convs = {}
        for path in tensors:
            name, _, part = path.rpartition(".")
            if part == "weight" and name != "fc":
                self.convs[name] = engine.prepare(name, tensors[path], tensors[name + ".bias"])

    def conv(self, name, x, inputs, stride=1, dilation=1):
        weight = self.tensors[name + ".weight"]
        groups = inputs // weight.shape[1]
        padding = dilation * (weight.shape[2] // 2)
        y = self.engine.conv(self.convs[name], x, stride, padding, dilation, groups)
        return y, weight.shape[0]

    def block(self, name, x, inputs, stride, dilation):
        bottleneck = name + ".conv3.weight" in self.tensors
        y, width = self.conv(name + ".conv1", x, inputs, *((1, 1) if bottleneck else (stride, dilation)))
        y = self.engine.relu(y)
        y, outputs = self.conv(name + ".conv2", y, width, *((stride, dilation) if bottleneck else (1, dilation)))
        if bottleneck:
            y, outputs = self.conv(name + ".conv3", self.engine.relu(y), outputs)
        if name + ".downsample.weight" in self.tensors:
            x, _ = self.conv(name + ".downsample", x, inputs, stride)
        elif stride != 1 or inputs != outputs:
            x = self.engine.zero_pad(x, stride, outputs - inputs)
        return self.engine.relu(self.engine.add(y, x)), outputs

    def forward(self, x):
        x, channels = self.conv("stem.conv1", x, 3, spec["stem_stride"])
        x = self.engine.relu(x)
        if spec["max_pool"]:
            x = self.engine.max_pool(x)
        for number, stage in enumerate(spec["stages"]):
            for place in range(stage["blocks"]):
                stride, dilation = (stage["stride"], stage["dilation_first"]) if place == 0 else (1, stage["dilation"])
                x, channels = self.block(f"layers.{number}.{place}", x, channels, stride, dilation)
        return self.engine.classify(x, self.tensors["fc.weight"], self.tensors["fc.bias"])


class Torch:
    """PyTorch, eager. Each batch runs in the memory format that is faster for it."""

    def __init__(self, tensors):
        import torch

        self.torch = torch
        torch.set_num_threads(spec["threads"])
        self.name = f"pytorch-{torch.__version__.split('+')[0]}-eager"
        formats = (torch.contiguous_format, torch.channels_last)
        runs = [self.run_in(tensors, memory) for memory in formats]
        self.run = min(runs, key=lambda run: min(timed(run) for _ in range(5)))

    def run_in(self, tensors, memory):
        self.memory = memory
        network = Network(tensors, self)
        head = [self.torch.from_numpy(tensors["fc." + part].copy()) for part in ("weight", "bias")]
        self.weight, self.bias = head[0].t().contiguous(), head[1]
        batch = self.torch.from_numpy(images.copy()).contiguous(memory_format=memory)

        def run():
            with self.torch.inference_mode():
                return network.forward(batch).numpy()

        return run

    def prepare(self, _name, weight, bias):
        weight = self.torch.from_numpy(weight.copy()).contiguous(memory_format=self.memory)
        return weight, self.torch.from_numpy(bias.copy())

    def conv(self, tensors, x, stride, padding, dilation, groups):
        return self.torch.nn.functional.conv2d(x, *tensors, stride, padding, dilation, groups)

    def relu(self, x):
        return self.torch.relu_(x)

    def add(self, a, b):
        return a.add_(b)

    def max_pool(self, x):
        return self.torch.nn.functional.max_pool2d(x, 3, 2, 1)

    def zero_pad(self, x, stride, extra):
        x = x[:, :, ::stride, ::stride]
        return self.torch.nn.functional.pad(x, (0, 0, 0, 0, extra // 2, extra - extra // 2))

    def classify(self, x, _weight, _bias):
        return self.torch.nn.functional.linear(x.mean((2, 3)), self.weight, self.bias)


class Onnx:
    """ONNX Runtime on the processor, all its graph optimizations, on a graph made here."""

    def __init__(self, tensors):
        import onnx
        import onnxruntime

        self.onnx = onnx
        self.nodes, self.constants = [], []
        self.name = f"onnxruntime-{onnxruntime.__version__}"
        output = Network(tensors, self).forward("input")
        info = lambda name, shape: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        classes = len(tensors["fc.bias"])
        graph = onnx.helper.make_graph(
            self.nodes, "network", [info("input", images.shape)], [info(output, (len(images), classes))], self.constants
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = spec["threads"]
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.run = lambda: session.run(None, {"input": images})[0]

    def constant(self, name, values):
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind, inputs, **attributes):
        name = f"value{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], **attributes))
        return name

    def prepare(self, name, weight, bias):
        shape = weight.shape[2:]
        return self.constant(name + ".weight", weight), self.constant(name + ".bias", bias), shape

    def conv(self, tensors, x, stride, padding, dilation, groups):
        weight, bias, shape = tensors
        return self.node(
            "Conv", [x, weight, bias], kernel_shape=shape, strides=[stride] * 2, pads=[padding] * 4,
            dilations=[dilation] * 2, group=groups,
        )  # fmt: skip

    def relu(self, x):
        return self.node("Relu", [x])

    def add(self, a, b):
        return self.node("Add", [a, b])

    def max_pool(self, x):
        return self.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)

    def zero_pad(self, x, stride, extra):
        place = len(self.nodes)
        parts = {"starts": [0, 0], "ends": [2**31 - 1] * 2, "axes": [2, 3], "steps": [stride] * 2}
        names = [self.constant(f"{part}{place}", np.array(value, np.int64)) for part, value in parts.items()]
        x = self.node("Slice", [x, *names])
        pads = np.array([0, extra // 2, 0, 0, 0, extra - extra // 2, 0, 0], np.int64)
        return self.node("Pad", [x, self.constant(f"pads{place}", pads)])

    def classify(self, x, weight, bias):
        x = self.node("Flatten", [self.node("GlobalAveragePool", [x])])
        return self.node("Gemm", [x, self.constant("fc.weight", weight), self.constant("fc.bias", bias)])


def sixteen_bits(counts):
    """A cumulative table with a sum of 2^16 and no empty slot, with one more for what has none."""
    shares = counts * (65535.0 / counts.sum())
    frequencies = [max(1, round(share)) for share in shares.tolist()] + [1]
    frequencies[frequencies.index(max(frequencies))] += 65536 - sum(frequencies)
    return [0, *np.cumsum(frequencies).tolist()]


class CompressAi:
    """CompressAI's rANS, the extension alone, through the lists that CompressAI hands it.

    A table for each channel, counted on the very symbols that are coded: in its favour.
    """

    def __init__(self):
        package = importlib.util.find_spec("compressai")
        if package is None:
            raise ImportError("No module named 'compressai'")
        # The package itself would import much more than the coder.
        finder = importlib.machinery.PathFinder.find_spec("ans", package.submodule_search_locations)
        ans = importlib.util.module_from_spec(finder)
        finder.loader.exec_module(ans)
        from importlib.metadata import version

        self.name = f"compressai-{version('compressai')}-rans"
        symbols = np.fromfile(folder / "symbols.i32", "<i4").reshape(spec["symbols"])
        _, channels, places = symbols.shape
        offsets = symbols.min(axis=(0, 2)).tolist()
        tables = [sixteen_bits(np.bincount((symbols[:, c] - offsets[c]).ravel())) for c in range(channels)]
        lengths = [len(table) for table in tables]
        indexes = np.repeat(np.arange(channels), places).tolist()
        rest = (indexes, tables, lengths, offsets)
        pictures = symbols.reshape(len(symbols), -1)
        encoder, decoder = ans.RansEncoder(), ans.RansDecoder()
        self.encode = lambda: [encoder.encode_with_indexes(one.tolist(), *rest) for one in pictures]
        payloads = self.encode()
        self.decode = lambda: [np.array(decoder.decode_with_indexes(one, *rest), np.float32) for one in payloads]
        if not np.array_equal(np.stack(self.decode()), pictures):
            raise ImportError("compressai decodes other symbols than it encoded")


def timed(run):
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def main():
    tensors = read_tensors()
    runs, found, missing = [], [], []

    def offer(make, title):
        try:
            return make()
        except (ImportError, OSError) as error:
            missing.append(f"{title}: {error}")
            return None

    for engine, title in ((Torch, "PyTorch"), (Onnx, "ONNX Runtime")):
        if one := offer(lambda: engine(tensors), title):
            scores = one.run()[: spec["checked"]].ravel().tolist()
            found.append({"name": one.name, "step": "forward", "scores": scores})
            runs.append(one.run)
    if coder := offer(CompressAi, "CompressAI"):
        for step, run in (("code", coder.encode), ("decode", coder.decode)):
            found.append({"name": coder.name, "step": step, "scores": []})
            runs.append(run)
    answer({"peers": found, "missing": missing})
    for line in sys.stdin:
        run = runs[int(line)]
        run()  # Threads have slept while others had their turn.
        answer({"ms": timed(run)})


main()
