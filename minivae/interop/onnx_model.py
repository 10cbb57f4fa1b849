"""Export the encoder and the decoder of a VAE to ONNX from the graph of a forward pass.

The model runs on a batch of ``BATCH`` zeros. Every operation of the recorded graph becomes one or
two ONNX nodes, and every parameter an initializer of its name. Batch norm is in evaluation mode.
The exported models take any number of images: axis 0 is the batch in every value.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import functional as F
from .. import models
from ..errors import MinivaeError
from ..nn.module import evaluation_mode
from ..noise import SAMPLING, Noise
from ..ops import activation, arithmetic, batch_norm, conv, linear, shapes
from ..tensor import Function, Tensor

if TYPE_CHECKING:
    import onnx

CLASSES = (models.ConvVAE, models.DeepVAE, models.FaceVAE, models.MLPVAE)
OPSET, IR_VERSION = 17, 8  # of 2022; nothing newer is needed
BATCH = 3
TOLERANCE = 1e-5  # largest difference from onnxruntime, relative to the largest value or 1


def export(model: models.VAE) -> dict[str, onnx.ModelProto]:
    """The models ``encoder``, images -> mu, logvar, and ``decoder``, z -> logits, pixels.

    Args:
        model: a VAE on the CPU, in float32.

    Raises:
        TypeError: a class, dtype or operation that is not translated.
        MinivaeError: the package onnx cannot be imported.
    """
    if not isinstance(model, CLASSES):
        names = ", ".join(cls.__name__ for cls in CLASSES)
        raise TypeError(f"model: expected one of {names}, got {type(model).__name__}")
    if any(p.dtype != np.float32 for p in model.parameters()):
        raise TypeError("model: expected parameters of float32")
    with evaluation_mode(model):
        x = _example(model.image_shapes[-1])
        z = _example((model.latent_dim,))
        mu, logvar = model.encode(x)
        logits = model.decode(z)
        return {
            "encoder": _Writer(model, x, "images").model({"mu": mu, "logvar": logvar}),
            "decoder": _Writer(model, z, "z").model(
                {"logits": logits, "pixels": F.sigmoid(logits)}
            ),
        }


def check(model: models.VAE, exported: dict[str, onnx.ModelProto], images: int = 4) -> float:
    """Compare exported models, run by onnxruntime, with the model on random images and codes.

    Args:
        model: the VAE.
        exported: the result of ``export``.
        images: number of images and codes.

    Returns:
        The largest difference, relative to the largest value of that output or to 1.

    Raises:
        MinivaeError: the difference is above ``TOLERANCE``, or onnxruntime cannot be imported.
    """
    runtime = _package("onnxruntime")
    noise = Noise(0, SAMPLING)
    x = noise.uniform((images, *model.image_shapes[-1]), np.float32)
    z = noise.normal((images, model.latent_dim), np.float32)
    with model.evaluating():
        logits = model.decode(z)
        expected = {
            "encoder": [t.numpy() for t in model.encode(Tensor(x))],
            "decoder": [logits.numpy(), F.sigmoid(logits).numpy()],
        }
    worst = 0.0
    for (name, proto), fed in zip(exported.items(), (x, z), strict=True):
        session = runtime.InferenceSession(
            proto.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        found = session.run(None, {proto.graph.input[0].name: fed})
        for output, got, want in zip(proto.graph.output, found, expected[name], strict=True):
            difference = float(abs(got - want).max() / max(1.0, abs(want).max()))
            if not difference <= TOLERANCE:  # NaN fails too
                raise MinivaeError(
                    f"{name}: onnxruntime's {output.name} differs by {difference:.1e}, expected at "
                    f"most {TOLERANCE:.0e}"
                )
            worst = max(worst, difference)
    return worst


def _example(shape: tuple[int, ...]) -> Tensor:
    """A batch of zeros that requires a gradient, so that all operations on it are recorded."""
    return Tensor(np.zeros((BATCH, *shape), np.float32), requires_grad=True)


def _package(name: str) -> Any:
    """Import an optional package; MinivaeError with the command to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MinivaeError(
            f'export: needs the package {name}: pip install "minivae[onnx]" ({error})'
        ) from error


class _Writer:
    """Translates a recorded graph.

    Args:
        model: the model, whose parameters keep their names.
        source: the graph's input.
        name: its name in ONNX.
    """

    def __init__(self, model: models.VAE, source: Tensor, name: str):
        self.onnx = _package("onnx")
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.source, self.source_name = source, name
        self.numbers = itertools.count()
        self.model_class = type(model).__name__
        self.parameters = {id(p): name for name, p in model.named_parameters()}
        self.results: dict[tuple[Function, int], str] = {}

    def model(self, outputs: dict[str, Tensor]) -> onnx.ModelProto:
        """The ONNX model that computes ``outputs`` from the source."""
        for op in _operations(outputs.values()):
            translate = NODES.get(type(op))
            if translate is None:
                raise TypeError(f"onnx: {type(op).__name__} is not translated")
            inputs = [self.value(t) for t in op.inputs if t is not None]
            results = translate(self, op, inputs)
            for index, name in enumerate(results if isinstance(results, tuple) else (results,)):
                self.results[op, index] = name
        for name, tensor in outputs.items():
            self.node("Identity", [self.value(tensor)], name)
        helper, proto = self.onnx.helper, self.onnx.TensorProto.FLOAT

        def described(name: str, tensor: Any) -> Any:
            return helper.make_tensor_value_info(name, proto, ["N", *tensor.shape[1:]])

        graph = helper.make_graph(
            self.nodes, self.model_class, [described(self.source_name, self.source)],
            [described(name, tensor) for name, tensor in outputs.items()],
            [self.onnx.numpy_helper.from_array(a, name) for name, a in self.constants.items()],
        )  # fmt: skip
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
            producer_name="minivae",
        )  # fmt: skip
        self.onnx.checker.check_model(made, full_check=True)
        return made

    def value(self, tensor: Tensor) -> str:
        """The name of a tensor: a node's output, the graph's input, or an initializer."""
        if tensor is self.source:
            return self.source_name
        if tensor.creator is not None:
            return self.results[tensor.creator, tensor.index]
        name = self.parameters.get(id(tensor))
        if name is None:
            if tensor.shape[:1] == (BATCH,):
                raise TypeError("onnx: a constant for each image of the batch is not translated")
            return self.constant(tensor.data)
        self.constants[name] = tensor.data
        return name

    def constant(self, array: Any) -> str:
        """The name of a new initializer."""
        name = f"constant_{next(self.numbers)}"
        self.constants[name] = np.ascontiguousarray(array).reshape(np.shape(array))
        return name

    def node(
        self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node with one output; returns the output's name."""
        output = output or f"{kind.lower()}_{next(self.numbers)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output


def _operations(outputs: Iterable[Any]) -> list[Function]:
    """The functions that ``outputs`` depend on, each after its inputs."""
    found, stack = set(), list(outputs)
    while stack:
        op = stack.pop().creator
        if op is not None and op not in found:
            found.add(op)
            stack.extend(t for t in op.inputs if t is not None)
    return sorted(found, key=lambda op: op.serial)


def _same(kind: str) -> Any:
    """The translation of an operation that ONNX has with the same inputs."""
    return lambda writer, op, inputs: writer.node(kind, inputs)


def _linear(writer: Any, op: Any, inputs: list[str]) -> str:
    return writer.node("Gemm", inputs, transB=1)


def _linear_heads(writer: Any, op: Any, inputs: list[str]) -> tuple[str, ...]:
    x, *maps = op.inputs
    return tuple(
        _linear(writer, op, [writer.value(t) for t in (x, *maps[k : k + 2]) if t is not None])
        for k in (0, 2)
    )


def _rectified(translate: Any) -> Any:
    """The translation of an operation fused with a ReLU; ``translate`` does the operation."""
    return lambda writer, op, inputs: writer.node("Relu", [translate(writer, op, inputs)])


def _conv(writer: Any, op: Any, inputs: list[str]) -> str:
    return writer.node("Conv", inputs, **_geometry(op))


def _conv_transpose(writer: Any, op: Any, inputs: list[str]) -> str:
    x, w, *_ = op.inputs
    extra = [
        conv.output_padding_for(n, size, kernel, *axis)
        for n, size, kernel, *axis in zip(
            x.shape[2:], op.output_like[0][0][2:], w.shape[2:],
            *(op.geometry[name] for name in ("stride", "padding", "dilation")),
            strict=True,
        )
    ]  # fmt: skip
    return writer.node("ConvTranspose", inputs, output_padding=extra, **_geometry(op))


def _geometry(op: Any) -> dict[str, Any]:
    stride, padding, dilation = (op.geometry[n] for n in ("stride", "padding", "dilation"))
    return {"strides": stride, "pads": [*padding, *padding], "dilations": dilation}


def _batch_norm(writer: Any, op: Any, inputs: list[str]) -> str:
    if op.training:
        raise TypeError("onnx: batch norm in training mode is not translated")
    _, _, mean, var = op.saved
    statistics = [writer.constant(mean), writer.constant(var)]
    return writer.node("BatchNormalization", [*inputs, *statistics], epsilon=op.eps)


def _reshape(writer: Any, op: Any, inputs: list[str]) -> str:
    (shape, _), source = op.output_like[0], op.inputs[0].shape
    if shape[:1] != source[:1] or shape[:1] != (BATCH,):
        raise TypeError(f"onnx: a change of shape across the batch, {source} to {shape}")
    sizes = writer.constant(np.array([0, *shape[1:]], np.int64))  # 0 keeps a size
    return writer.node("Reshape", [inputs[0], sizes])


def _index(writer: Any, op: Any, inputs: list[str]) -> str:
    keys, source = op.parts, op.inputs[0].shape
    if not all(isinstance(key, slice) for key in keys) or keys[0] != slice(None):
        raise TypeError(f"onnx: expected slices behind the batch, got {keys}")
    spans = [key.indices(n) for key, n in zip(keys, source, strict=False)]
    if any(step < 1 for _, _, step in spans):
        raise TypeError("onnx: a slice that runs backwards is not translated")
    cut = [i for i, n in enumerate(source[: len(spans)]) if i > 0 and spans[i] != (0, n, 1)]
    if not cut:
        return writer.node("Identity", inputs)
    starts, ends, steps = (np.array([spans[i][k] for i in cut], np.int64) for k in range(3))
    arrays = (starts, ends, np.array(cut, np.int64), steps)
    return writer.node("Slice", [*inputs, *map(writer.constant, arrays)])


def _transpose(writer: Any, op: Any, inputs: list[str]) -> str:
    order = np.argsort(op.inverse).tolist()
    if order[0] != 0 and id(op.inputs[0]) not in writer.parameters:
        raise TypeError(f"onnx: a transposition {order} that moves the batch")
    return writer.node("Transpose", inputs, perm=order)


NODES = {
    activation.ReLU: _same("Relu"),
    activation.Sigmoid: _same("Sigmoid"),
    activation.Tanh: _same("Tanh"),
    arithmetic.Add: _same("Add"),
    shapes.Index: _index,
    linear.MatMul: _same("MatMul"),
    arithmetic.Mul: _same("Mul"),
    shapes.Reshape: _reshape,
    shapes.Transpose: _transpose,
    batch_norm.BatchNorm: _batch_norm,
    conv.Conv2d: _conv,
    conv.Conv2dReLU: _rectified(_conv),
    conv.ConvTranspose2d: _conv_transpose,
    conv.ConvTranspose2dReLU: _rectified(_conv_transpose),
    linear.Linear: _linear,
    linear.LinearHeads: _linear_heads,
    linear.LinearReLU: _rectified(_linear),
}
