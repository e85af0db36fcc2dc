"""Runs the network that `cargo xtask bench --peers PYTHON` hands over, with other engines.

Started by that command, not by hand. The folder named on the command line holds

    spec.json    what the weights do not tell of the network, names and shapes of the tensors, threads
    weights.f32  the tensors, one behind the other, little-endian
    input.f32    the pictures of one batch
    symbols.i32  their symbols, picture by picture, channel by channel, where a coder is asked for

First line of the answer: what was found, for which step, engines with the scores of the first pictures,
and what is missing. Then each line of the input names one of them by its place and is answered
with the milliseconds it took for the batch, right after a run that is not timed. Batch norms are folded
already; what kind of block, shortcut and convolution the network has shows in its weights.
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
    """Convolutions of a network over any engine."""

    def __init__(self, tensors, engine):
        self.engine, self.tensors = engine, tensors
        self.convs = {}
        for path in tensors:
            name, _, part = path.rpartition(".")
            if part == "weight" and name != "fc":
                self.convs[name] = engine.prepare(name, tensors[path], tensors[name + ".bias"])

    def __contains__(self, name):
        return name + ".weight" in self.tensors

    def conv(self, name, x, inputs, stride=1, dilation=1):
        weight = self.tensors[name + ".weight"]
        groups = inputs // weight.shape[1]
        padding = dilation * (weight.shape[2] // 2)
        y = self.engine.conv(self.convs[name], x, stride, padding, dilation, groups)
        return y, weight.shape[0]


class Classifier(Network):
    """ResNets."""

    def block(self, name, x, inputs, stride, dilation):
        bottleneck = name + ".conv3" in self
        y, width = self.conv(name + ".conv1", x, inputs, *((1, 1) if bottleneck else (stride, dilation)))
        y = self.engine.relu(y)
        y, outputs = self.conv(name + ".conv2", y, width, *((stride, dilation) if bottleneck else (1, dilation)))
        if bottleneck:
            y, outputs = self.conv(name + ".conv3", self.engine.relu(y), outputs)
        if name + ".downsample" in self:
            x, _ = self.conv(name + ".downsample", x, inputs, stride)
        elif stride != 1 or inputs != outputs:
            x = self.engine.zero_pad(x, stride, outputs - inputs)
        return self.engine.relu(self.engine.add(y, x)), outputs

    def stem(self, x):
        layout = spec["network"]
        x, channels = self.conv("stem.conv1", x, 3, layout["stem_stride"])
        x = self.engine.relu(x)
        if layout["max_pool"]:
            x = self.engine.max_pool(x, 3, 2, 1)
        return x, channels

    def blocks(self, x, channels, begin=0, end=None):
        """Those from `begin` to in front of `end`, counted through all stages."""
        places = []
        for number, stage in enumerate(spec["network"]["stages"]):
            for place in range(stage["blocks"]):
                stride, dilation = (stage["stride"], stage["dilation_first"]) if place == 0 else (1, stage["dilation"])
                places.append((f"layers.{number}.{place}", stride, dilation))
        for name, stride, dilation in places[begin:end]:
            x, channels = self.block(name, x, channels, stride, dilation)
        return x, channels

    def scores(self, x):
        return self.engine.classify(x, self.tensors["fc.weight"], self.tensors["fc.bias"])

    def forward(self, x):
        x, channels = self.stem(x)
        x, _ = self.blocks(x, channels)
        return self.scores(x)


class Detector(Network):
    """YOLOX: its backbone with space to depth in front, its pyramid, its decoupled heads."""

    def layer(self, name, x, stride=1):
        """A convolution with SiLU, or a depthwise and a pointwise one where the weights say so."""
        for part in ("conv", "dconv.conv", "pconv.conv"):
            path = f"{name}.{part}"
            if path in self:
                outputs, inputs = self.tensors[path + ".weight"].shape[:2]
                inputs = outputs if part == "dconv.conv" else inputs
                x, _ = self.conv(path, x, inputs, 1 if part == "pconv.conv" else stride)
                x = self.engine.silu(x)
        return x

    def csp(self, name, x, shortcut=False):
        around = self.layer(name + ".conv2", x)
        x = self.layer(name + ".conv1", x)
        place = 0
        while f"{name}.m.{place}.conv1.conv" in self:
            y = self.layer(f"{name}.m.{place}.conv2", self.layer(f"{name}.m.{place}.conv1", x))
            x = self.engine.add(y, x) if shortcut else y
            place += 1
        return self.layer(name + ".conv3", self.engine.cat([x, around]))

    def dark(self, name, x):
        x = self.layer(name + ".down", x, 2)
        last = name + ".spp.conv1.conv" in self
        if last:
            pools = [self.layer(name + ".spp.conv1", x)]
            for _ in range(3):  # Pools of 5, 9 and 13 pixels, each out of the one before.
                pools.append(self.engine.max_pool(pools[-1], 5, 1, 2))
            x = self.layer(name + ".spp.conv2", self.engine.cat(pools))
        return self.csp(name + ".csp", x, not last)

    def neck(self, fine, middle, coarse):
        engine = self.engine
        lateral = self.layer("neck.lateral_conv0", coarse)
        middle = self.csp("neck.c3_p4", engine.cat([engine.double(lateral), middle]))
        reduced = self.layer("neck.reduce_conv1", middle)
        fine = self.csp("neck.c3_p3", engine.cat([engine.double(reduced), fine]))
        middle = self.csp("neck.c3_n3", engine.cat([self.layer("neck.bu_conv2", fine, 2), reduced]))
        coarse = self.csp("neck.c3_n4", engine.cat([self.layer("neck.bu_conv1", middle, 2), lateral]))
        return fine, middle, coarse

    def predict(self, kind, scale, x):
        path = f"head.{kind}_preds.{scale}"
        return self.conv(path, x, self.tensors[path + ".weight"].shape[1])[0]

    def head(self, scale, x):
        engine = self.engine
        x = self.layer(f"head.stems.{scale}", x)
        branches = {}
        for kind in ("cls", "reg"):
            branches[kind] = x
            for place in range(2):
                branches[kind] = self.layer(f"head.{kind}_convs.{scale}.{place}", branches[kind])
        classes = engine.sigmoid(self.predict("cls", scale, branches["cls"]))
        found = engine.sigmoid(self.predict("obj", scale, branches["reg"]))
        return engine.rows(engine.cat([self.predict("reg", scale, branches["reg"]), found, classes]))

    def forward(self, x):
        corners = [self.engine.every_second(x, row, column) for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
        x = self.layer("stem", self.engine.cat(corners))
        pyramid = [self.dark("dark3", self.dark("dark2", x))]
        for name in ("dark4", "dark5"):
            pyramid.append(self.dark(name, pyramid[-1]))
        return self.engine.cat([self.head(scale, x) for scale, x in enumerate(self.neck(*pyramid))])


def network(tensors, engine):
    return {"classifier": Classifier, "detector": Detector}[spec["network"]["kind"]](tensors, engine)


class Torch:
    """PyTorch, eager. Each batch runs in the memory format that is faster for it."""

    def __init__(self, tensors):
        import torch

        self.torch = torch
        torch.set_num_threads(spec["threads"])
        self.name = f"pytorch-{torch.__version__.split('+')[0]}-eager"
        self.formats = (torch.contiguous_format, torch.channels_last)
        self.run = fastest([self.run_in(tensors, memory) for memory in self.formats])

    def run_in(self, tensors, memory):
        self.memory, self.classifier = memory, None
        net = network(tensors, self)
        batch = self.torch.from_numpy(images.copy()).contiguous(memory_format=memory)

        def run():
            with self.torch.inference_mode():
                return net.forward(batch).numpy()

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

    def silu(self, x):
        return self.torch.nn.functional.silu(x, inplace=True)

    def sigmoid(self, x):
        return x.sigmoid_()

    def cat(self, parts):
        return self.torch.cat(parts, 1)

    def double(self, x):
        return self.torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")

    def every_second(self, x, row, column):
        return x[:, :, row::2, column::2]

    def rows(self, x):
        return x.flatten(2).transpose(1, 2)

    def max_pool(self, x, kernel, stride, padding):
        return self.torch.nn.functional.max_pool2d(x, kernel, stride, padding)

    def zero_pad(self, x, stride, extra):
        x = x[:, :, ::stride, ::stride]
        return self.torch.nn.functional.pad(x, (0, 0, 0, 0, extra // 2, extra - extra // 2))

    def classify(self, x, weight, bias):
        if not self.classifier:
            self.classifier = self.torch.from_numpy(weight.T.copy()), self.torch.from_numpy(bias.copy())
        return self.torch.nn.functional.linear(x.mean((2, 3)), *self.classifier)


class TrainingStep:
    """One optimizer step of a unit of two convolutions and a residual decoder, in PyTorch, eager.

    As ours: noise for the rate of a mixture of logistics, rounding with the gradient of the identity, the
    divergence to the unsplit scores through the frozen tail and a share of the activation's error, or the
    latter alone; clipping, Adam. The weights are drawn: they change what is learned, not what it takes.
    """

    def __init__(self, tensors, engine, memory, through_tail):
        torch, layout = engine.torch, spec["training"]
        engine.memory, engine.classifier = memory, None
        self.torch, self.step = torch, layout["step"]
        self.net, self.place = network(tensors, engine), layout["head_blocks"]
        with torch.no_grad():
            x, channels = self.net.stem(torch.from_numpy(images.copy()))
            x, self.channels = self.net.blocks(x, channels, end=self.place)
            self.activation = x.contiguous(memory_format=memory)
            self.reference = torch.log_softmax(self.tail(self.activation) / 2, 1)
        self.through_tail = through_tail
        latent = layout["latent"]
        self.unit = torch.nn.ModuleList([self.encoder(layout), self.decoder(layout)]).to(memory_format=memory)
        self.rate = torch.nn.ParameterList([torch.randn(3, latent), torch.randn(3, latent), torch.zeros(3, latent)])
        self.optimizer = torch.optim.Adam([*self.unit.parameters(), *self.rate.parameters()], 1e-3)

    def tail(self, x):
        x, _ = self.net.blocks(x, self.channels, self.place)
        return self.net.scores(x)

    def conv(self, inputs, outputs, kernel=3, stride=1, relu=True):
        nn = self.torch.nn
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        return [conv, nn.BatchNorm2d(outputs), *([nn.ReLU(True)] if relu else [])]

    def encoder(self, layout):
        hidden, latent = layout["encoder_hidden"], layout["latent"]
        first = self.conv(self.channels, hidden, stride=layout["stride"])
        return self.torch.nn.Sequential(*first, *self.conv(hidden, latent, relu=False))

    def decoder(self, layout):
        torch, hidden, patch = self.torch, layout["decoder_hidden"], self.channels * layout["stride"] ** 2

        class Block(torch.nn.Module):
            def __init__(self, conv):
                super().__init__()
                self.body = torch.nn.Sequential(*conv(hidden, hidden), *conv(hidden, hidden, relu=False))

            def forward(self, x):
                return torch.relu_(self.body(x).add_(x))

        blocks = [Block(self.conv) for _ in range(layout["blocks"])]
        shuffle = torch.nn.PixelShuffle(layout["stride"])
        first, last = self.conv(layout["latent"], hidden), self.conv(hidden, patch, kernel=1)
        return torch.nn.Sequential(*first, *blocks, *last, shuffle)

    def bits(self, symbols):
        """Bits of each picture under the mixture."""
        torch = self.torch
        weights, locations, scales = self.rate
        shape = (3, 1, symbols.shape[1], 1)
        x = symbols.flatten(2) - locations.view(shape)
        inverse = torch.exp(-scales).view(shape)
        mass = torch.sigmoid((x + 0.5) * inverse) - torch.sigmoid((x - 0.5) * inverse)
        share = (mass * torch.softmax(weights, 0).view(shape)).sum(0).clamp_min(0)
        return -torch.log2(share + 1e-9).sum((1, 2))

    def run(self):
        torch = self.torch
        encoder, decoder = self.unit
        latent = encoder(self.activation) / self.step
        noisy = latent + torch.rand_like(latent) - 0.5
        symbols = latent + (latent.round() - latent).detach()
        with torch.no_grad():
            self.seen = self.bits(symbols).mean()
        restored = decoder(symbols * self.step)
        target = self.activation
        loss = (restored - target).square().mean() / target.square().mean()
        if self.through_tail:
            found = torch.log_softmax(self.tail(restored) / 2, 1)
            loss = 0.3 * loss + 4 * (self.reference.exp() * (self.reference - found)).sum() / len(found)
        loss = loss + 0.1 * self.bits(noisy).mean() / 1000
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.unit.parameters(), 5)
        self.optimizer.step()
        return loss.item()


class Onnx:
    """ONNX Runtime on the processor, all its graph optimizations, on a graph made here."""

    def __init__(self, tensors):
        import onnx
        import onnxruntime

        self.onnx = onnx
        self.nodes, self.constants = [], []
        self.name = f"onnxruntime-{onnxruntime.__version__}"
        output = network(tensors, self).forward("input")
        rank = {"classifier": 2, "detector": 3}[spec["network"]["kind"]]
        info = lambda name, shape: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        graph = onnx.helper.make_graph(
            self.nodes, "network", [info("input", images.shape)], [info(output, [None] * rank)], self.constants
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

    def silu(self, x):
        return self.node("Mul", [x, self.sigmoid(x)])

    def sigmoid(self, x):
        return self.node("Sigmoid", [x])

    def cat(self, parts):
        return self.node("Concat", parts, axis=1)

    def double(self, x):
        scales = self.constant(f"scales{len(self.nodes)}", np.array([1, 1, 2, 2], np.float32))
        return self.node(
            "Resize", [x, "", scales], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )

    def slice(self, x, starts, stride):
        place = len(self.nodes)
        parts = {"starts": starts, "ends": [2**31 - 1] * 2, "axes": [2, 3], "steps": [stride] * 2}
        names = [self.constant(f"{part}{place}", np.array(value, np.int64)) for part, value in parts.items()]
        return self.node("Slice", [x, *names])

    def every_second(self, x, row, column):
        return self.slice(x, [row, column], 2)

    def rows(self, x):
        shape = self.constant(f"shape{len(self.nodes)}", np.array([0, 0, -1], np.int64))
        return self.node("Transpose", [self.node("Reshape", [x, shape])], perm=[0, 2, 1])

    def max_pool(self, x, kernel, stride, padding):
        return self.node("MaxPool", [x], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4)

    def zero_pad(self, x, stride, extra):
        x = self.slice(x, [0, 0], stride)
        pads = np.array([0, extra // 2, 0, 0, 0, extra - extra // 2, 0, 0], np.int64)
        return self.node("Pad", [x, self.constant(f"pads{len(self.nodes)}", pads)])

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


def fastest(runs):
    return min(runs, key=lambda run: min(timed(run) for _ in range(5)))


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
        if spec["training"] and title == "PyTorch" and one:
            for step, through_tail in (("train-step", True), ("feature-step", False)):
                found.append({"name": one.name, "step": step, "scores": []})
                steps = [TrainingStep(tensors, one, memory, through_tail) for memory in one.formats]
                runs.append(fastest([step.run for step in steps]))
    if spec["symbols"] and (coder := offer(CompressAi, "CompressAI")):
        for step, run in (("code", coder.encode), ("decode", coder.decode)):
            found.append({"name": coder.name, "step": step, "scores": []})
            runs.append(run)
    answer({"peers": found, "missing": missing})
    for line in sys.stdin:
        run = runs[int(line)]
        run()  # Threads have slept while others had their turn.
        answer({"ms": timed(run)})


main()
