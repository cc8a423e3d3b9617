"""Generators from .onnx agree with onnx's reference evaluator, or are refused by name."""

import numpy as np
import pytest

import jaxinv

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

rng = np.random.default_rng(0)


def random(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def saved(path, nodes, constants, shape=("B", 4), **options):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    onnx.save(helper.make_model(graph), path, **options)
    return path


def node(kind, *inputs, out, **attributes):
    return helper.make_node(kind, inputs, [out], **attributes)


def dense(path):
    statistics = {f"n{i}": np.abs(random(10)) + 0.5 if i == 3 else random(10) for i in range(4)}
    return saved(
        path,
        [
            node("Gemm", "z", "W", "b", out="a", transB=1, alpha=0.5, beta=2.0),
            node("BatchNormalization", "a", "n0", "n1", "n2", "n3", out="c", epsilon=1e-3),
            node("LeakyRelu", "c", out="d", alpha=0.2),
            node("MatMul", "d", "V", out="e"),
            node("Add", "v", "e", out="f"),
            node("Dropout", "f", out="g"),
            node("Mul", "g", "m", out="h"),
            node("Sigmoid", "h", out="x"),
        ],
        {
            "W": random(10, 4),
            "b": random(10),
            "V": random(10, 30),
            "v": random(30),
            "m": random(1, 30),
            **statistics,
        },
    )


def convolutional(path):
    return saved(
        path,
        [
            node("Gemm", "z", "W", out="a"),
            node("Relu", "a", out="b"),
            node("Constant", out="s", value=numpy_helper.from_array(np.array([-1, 2, 3, 3]))),
            node("Reshape", "b", "s", out="c"),
            node("ConvTranspose", "c", "K", "k", out="d", strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Tanh", "d", out="e"),
            node("Flatten", "e", out="x"),
        ],
        {"W": random(4, 18), "K": random(2, 3, 4, 4), "k": random(3)},
    )


def images():
    """Nodes that make images of 4 channels and 3 x 3 pixels, named "c", and their constants."""
    nodes = [
        node("Gemm", "z", "W", out="a"),
        node("Relu", "a", out="b"),
        node("Reshape", "b", "shape", out="c"),
    ]
    return nodes, {"W": random(4, 36), "shape": np.array([0, 4, 3, 3])}


def chained(path, *steps):
    """Images, then operators: each a kind, its constants by name, and its attributes."""
    nodes, constants = images()
    flowing = "c"
    for number, (kind, given, attributes) in enumerate(steps):
        constants |= {f"{name}{number}": values for name, values in given.items()}
        names = [f"{name}{number}" for name in given]
        out = "x" if number == len(steps) - 1 else f"s{number}"
        nodes.append(node(kind, flowing, *names, out=out, **attributes))
        flowing = out
    return saved(path, nodes, constants)


def numbers(*values):
    return np.array(values, np.float32)


NONE = np.array([], np.float32)
CHAINS = {
    "uneven pads": [
        ("Conv", {"K": random(2, 4, 3, 2)}, {"pads": [2, 0, 1, 1], "strides": [2, 1]}),
        ("Elu", {}, {}),
    ],
    "groups": [("Conv", {"K": random(4, 2, 2, 2)}, {"group": 2, "dilations": [2, 1]})],
    "cropped": [
        (
            "ConvTranspose",
            {"K": random(4, 3, 4, 4), "k": random(3)},
            {"strides": [2, 2], "pads": [1, 0, 2, 1], "output_padding": [0, 1]},
        ),
        ("Softplus", {}, {}),
    ],
    "crd": [("DepthToSpace", {}, {"blocksize": 2, "mode": "CRD"})],
    "dcr": [("DepthToSpace", {}, {"blocksize": 2})],
    "nearest": [
        (
            "Resize",
            {"roi": NONE, "scales": numbers(1, 1, 2, 3)},
            {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        ),
        ("Transpose", {}, {"perm": [0, 2, 3, 1]}),
    ],
    "linear": [
        ("Resize", {"roi": NONE, "no": NONE, "to": np.array([1, 4, 5, 7])}, {"mode": "linear"}),
        ("Pad", {"pads": np.array([0, 0, 1, 0, 0, 0, 1, 2])}, {}),
    ],
    "corners": [
        (
            "Resize",
            {"roi": NONE, "scales": numbers(1, 1, 2, 2)},
            {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        )
    ],
    "reflected": [
        ("Pad", {"pads": np.array([0, 0, 1, 2, 0, 0, 2, 0])}, {"mode": "reflect"}),
        ("AveragePool", {}, {"kernel_shape": [2, 3], "strides": [2, 1]}),
    ],
}


@pytest.mark.parametrize("name", CHAINS)
def test_operators_on_images_are_read_as_chains(name, tmp_path):
    path = chained(tmp_path / "net.onnx", *CHAINS[name])
    generator = jaxinv.Generator.from_onnx(path)
    z = random(1, 4)
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"z": z})
    np.testing.assert_allclose(generator(z), expected.reshape(1, -1), rtol=2e-5, atol=1e-5)
    assert not any(layer.is_dense for layer in generator.layers[1:])


def test_a_value_times_its_sigmoid_is_silu(tmp_path):
    nodes = [
        node("Gemm", "z", "W", out="a"),
        node("Sigmoid", "a", out="s"),
        node("Mul", "s", "a", out="x"),
    ]
    path = saved(tmp_path / "net.onnx", nodes, {"W": random(4, 6)})
    assert repr(jaxinv.load_generator(path)) == "Generator(4 -> 6 silu)"
    # Of another value, or used twice, it is a gate that no layer can be.
    for last in ([node("Mul", "s", "s", out="x")], [node("Add", "s", "a", out="x")]):
        with pytest.raises(ValueError, match="FunctionGenerator"):
            jaxinv.load_generator(saved(path, [*nodes[:2], *last], {"W": random(4, 6)}))


@pytest.mark.parametrize("make", [dense, convolutional])
def test_a_file_and_its_generator_agree(make, tmp_path):
    path = make(tmp_path / "net.onnx")
    generator = jaxinv.Generator.from_onnx(path)
    z = random(1, 4)
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"z": z})
    np.testing.assert_allclose(generator(z), expected.reshape(1, -1), rtol=2e-5, atol=1e-5)
    assert repr(jaxinv.load_generator(path)) == repr(generator)
    assert "leaky_relu:0.2" in repr(generator) or make is convolutional


def test_what_cannot_be_represented_is_refused_by_name(tmp_path):
    weight = {"W": random(4, 6)}
    gemm = node("Gemm", "z", "W", out="a")
    for nodes, constants, sentence in [
        ([gemm, node("Elu", "a", out="x", alpha=0.5)], weight, "alpha 0.5.*FunctionGenerator"),
        ([gemm, node("HardSigmoid", "a", out="x")], weight, "HardSigmoid.*FunctionGenerator"),
        ([gemm, node("Add", "a", "a", out="x")], weight, "layer before it and constants"),
        ([node("Gemm", "W", "z", out="x")], weight, "wrong side"),
        ([gemm, node("Reshape", "a", "s", out="x")], weight | {"s": np.array([6, -1])}, "rows'"),
        ([gemm, node("Relu", "a", out="y")], weight, "last layer"),
        ([gemm, node("Div", "c", "a", out="x")], weight | {"c": random(6)}, "on the left"),
        (
            [
                node("Gemm", "z", "wide", out="a"),
                node("Reshape", "a", "s", out="b"),
                node("ConvTranspose", "b", "K", out="x", strides=[9000, 9000]),
            ],
            {
                "wide": random(4, 1024),
                "s": np.array([-1, 4, 16, 16]),
                "K": random(4, 4, 6, 6),
            },
            "above the limits",
        ),
    ]:
        with pytest.raises(ValueError, match=sentence):
            jaxinv.load_generator(saved(tmp_path / "net.onnx", nodes, constants))
    start, constants = images()
    sizes = {"roi": np.array([], np.float32), "twice": np.array([1, 1, 2, 2], np.float32)}
    sizes |= {
        "wide": np.array([0, 1, 0, 0, 0, 1, 0, 0]),
        "far": np.array([1, 1, 9e3, 1], np.float32),
    }
    sizes |= {"K": random(4, 2, 3, 3), "K5": random(5, 2, 3, 3)}
    for last, sentence in [
        (node("Resize", "c", "roi", "twice", out="x", mode="cubic"), "cubic.*FunctionGenerator"),
        (node("Resize", "c", "roi", "twice", out="x"), "by half_pixel and round_prefer_floor"),
        (node("Upsample", "c", "far", out="x"), "an axis has 1 to"),
        (node("Pad", "c", "wide", out="x"), "rows or channels"),
        (node("ConvTranspose", "c", "K", out="x", auto_pad="SAME_UPPER"), "auto_pad"),
        (node("ConvTranspose", "c", "K", out="x", output_shape=[9, 9]), "output_shape"),
        (node("ConvTranspose", "c", "K", out="x", pads=[1, 1]), "pads"),
        (node("ConvTranspose", "c", "K5", out="x"), "needs 5 channels"),
        (node("AveragePool", "c", out="x", kernel_shape=[2, 2], ceil_mode=1), "rounds up"),
        (node("DepthToSpace", "c", out="x", blocksize=3), "multiple of 9"),
        (node("Transpose", "c", out="x", perm=[1, 0, 2, 3]), "rows must stay first"),
        (node("MaxPool", "c", out="x", kernel_shape=[2, 2]), "MaxPool.*FunctionGenerator"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            jaxinv.load_generator(saved(tmp_path / "net.onnx", [*start, last], constants | sizes))
    dense(tmp_path / "net.onnx")
    with pytest.raises(ValueError, match="leave layers= out"):
        jaxinv.load_generator(tmp_path / "net.onnx", layers=["relu"])


def test_hostile_files_are_refused(tmp_path):
    nodes = [node("Gemm", "z", "W", out="x")]
    big = saved(
        tmp_path / "outside.onnx",
        nodes,
        {"W": random(4, 600)},
        save_as_external_data=True,
        size_threshold=0,
    )
    promise = onnx.load(saved(tmp_path / "promise.onnx", nodes, {"W": random(4, 6)}))
    promise.graph.initializer[0].dims[:] = [4, 1 << 40]
    onnx.save(promise, tmp_path / "promise.onnx")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(dense(tmp_path / "net.onnx").read_bytes()[:-300])
    for path, sentence in [(big, "another file"), (tmp_path / "promise.onnx", "damaged")]:
        with pytest.raises(ValueError, match=sentence):
            jaxinv.load_generator(path)
    with pytest.raises(ValueError, match=r"cut\.onnx"):
        jaxinv.load_generator(cut)
