"""Random damage to files ends in a result or in a sentence."""

from contextlib import suppress
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxinv
from jaxinv.job.sources import open_rows
from jaxinv.model.linear.composed import composed, scaling
from jaxinv.model.linear.resampling import pixel_shuffle

FORMATS = ("net.npz", "net.safetensors", "rows.npy", "rows.npz", "packed.npz", "net.onnx")
FORMATS += ("rows.parquet", "rows.feather")
FORMATS += ("net-conv.npz", "net-conv.safetensors", "net-old.pt")


@cache
def valid(name, folder):
    path = folder / name
    values = np.random.default_rng(0).standard_normal((20, 16))
    if name == "net.onnx":
        onnx = pytest.importorskip("onnx")
        helper = onnx.helper
        ends = [
            helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
            for n, s in (("z", ("B", 4)), ("x", None))
        ]
        nodes = [
            helper.make_node("Gemm", ["z", "W"], ["a"]),
            helper.make_node("Relu", ["a"], ["x"]),
        ]
        weight = onnx.numpy_helper.from_array(np.ones((4, 6), np.float32), "W")
        graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [weight])
        onnx.save(helper.make_model(graph), path)
    elif name == "net-old.pt":
        torch = pytest.importorskip("torch")
        weights = {"up.weight": torch.ones(2, 3, 3), "up.bias": torch.ones(3)}
        torch.save(weights, path, _use_new_zipfile_serialization=False)
    elif name.startswith("net-conv"):
        up = jaxinv.TransposedConvolution(np.ones((2, 4, 3, 3)), (2, 3, 3), stride=2)
        shuffled = composed(
            up, pixel_shuffle(2, up.output_shape), scaling(np.arange(196.0), (196,))
        )
        layers = [(np.ones((18, 3)), None, "relu"), (shuffled, np.ones(196), "tanh")]
        jaxinv.save_generator(jaxinv.Generator.from_layers(layers), path)
    elif name.startswith("net"):
        jaxinv.save_generator(jaxinv.Generator.random((3, 8, 16)), path)
    elif name in ("rows.parquet", "rows.feather"):
        arrow = pytest.importorskip("pyarrow")
        table = arrow.table({"x": arrow.array(values.tolist())})
        if name == "rows.parquet":
            pytest.importorskip("pyarrow.parquet").write_table(table, path, row_group_size=7)
        else:
            pytest.importorskip("pyarrow.feather").write_feather(table, path, chunksize=7)
    else:
        {"rows.npy": np.save, "rows.npz": np.savez}.get(name, np.savez_compressed)(path, values)
    return path.read_bytes()


changes = st.lists(
    st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8), st.booleans()), max_size=4
)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=changes, cut=st.one_of(st.none(), st.integers(0, 4000)))
def test_damage_is_told_and_nothing_worse(tmp_path_factory, name, changes, cut):
    folder = tmp_path_factory.getbasetemp()
    data = bytearray(valid(name, folder))
    for position, replacement, from_end in changes:
        start = position % len(data)
        start = len(data) - 1 - start if from_end else start
        data[start : start + len(replacement)] = replacement
    path = folder / f"damaged-{name}"
    path.write_bytes(data if cut is None else data[: cut % len(data)])
    with suppress(ValueError):  # what arrived, in a sentence; anything else fails the test
        if name.startswith("net"):
            old = ["reshape:2x4", "up:transposed,stride=2", "relu"] if name[-3:] == ".pt" else None
            jaxinv.load_generator(path, layers=old)
        else:
            rows = open_rows(path)
            rows.read(0, rows.count)
