"""A network from another library: scikit-learn trains it, ONNX carries it, Partwise reads it."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.neural_network import MLPClassifier

from partwise import explain, find_modules, task_from_arrays, unit_graph
from partwise.runs import open_network

INPUTS = ("rain", "wind", "cloud", "price", "demand", "stock")
QUESTIONS = ("umbrella", "order")


def rows(count: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """The weather and a shop: each question depends on three of the six columns."""
    x = np.random.default_rng(0).uniform(-1, 1, (count, len(INPUTS))).astype(np.float32)
    rain, wind, cloud, price, demand, stock = x.T
    return x, np.stack([rain + cloud > wind, demand - price > 1.5 * stock], 1).astype(int)


def write_onnx(net: MLPClassifier, path: Path) -> None:
    """Writes a scikit-learn network up to its logits: matrix products and ReLUs."""
    nodes, weights, value = [], [], "x"
    for k, (weight, bias) in enumerate(zip(net.coefs_, net.intercepts_, strict=True)):
        for name, array in (("W", weight), ("b", bias)):
            weights.append(numpy_helper.from_array(array.astype(np.float32), f"{name}{k}"))
        nodes.append(helper.make_node("Gemm", [value, f"W{k}", f"b{k}"], [value := f"y{k}"]))
        if k < len(net.coefs_) - 1:
            nodes.append(helper.make_node("Relu", [value], [value := f"h{k}"]))
    ends = (("x", len(INPUTS)), (value, len(QUESTIONS)))
    x, y = (helper.make_tensor_value_info(k, TensorProto.FLOAT, ["rows", n]) for k, n in ends)
    graph = helper.make_graph(nodes, "net", [x], [y], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)


def main(steps: int = 150) -> None:
    """Trains with scikit-learn, writes ONNX, reads it, and describes the modules."""
    x, y = rows()
    warnings.simplefilter("ignore")  # scikit-learn would rather train on
    settings = {"alpha": 1.0, "learning_rate_init": 3e-3, "random_state": 0}
    net = MLPClassifier((24, 24), max_iter=steps, **settings).fit(x, y)
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(net, Path(folder) / "net.onnx")
        network = open_network(Path(folder) / "net.onnx")
    modules = find_modules(unit_graph(network.model, torch.from_numpy(x[:2])))
    print(f"{modules.modules} modules; the training knew of none")
    task = task_from_arrays("weather and shop", x, y, "binary", inputs=INPUTS, heads=QUESTIONS)
    for part in explain(network.model, modules.labels, task):
        print(part.subject, "|", part.description.sentence)


if __name__ == "__main__":
    main()
