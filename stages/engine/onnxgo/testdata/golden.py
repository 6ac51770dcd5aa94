"""Writes modulated.onnx and operators.onnx, and beside each what ONNX Runtime makes of three images.

    python golden.py        # wants numpy, onnx and onnxruntime
"""
import json

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

rng = np.random.default_rng(2018)
N = helper.make_node


def f(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def write(name, nodes, weights, outputs, h, w):
    graph = helper.make_graph(
        nodes, name, [helper.make_tensor_value_info("images", 1, ["n", 3, h, w])],
        [helper.make_tensor_value_info(o, 1, ["n", None]) for o in outputs],
        [numpy_helper.from_array(v, k) for k, v in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="golden.py")
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, name + ".onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = f(3, 3, h, w)
    want = session.run(list(outputs), {"images": images})
    rounded = lambda a: [float(f"{v:.6g}") for v in a.ravel()]
    with open(name + ".json", "w") as file:
        json.dump({"height": h, "width": w, "images": rounded(images), "outputs": list(outputs),
                   "dims": [int(o.shape[1]) for o in want], "want": [rounded(o) for o in want]}, file)
        file.write("\n")


def modulated():
    """A trunk, then scales, a shared convolution, head and unit length for each of two tasks."""
    three = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    nodes = [N("Conv", ["images", "w0", "b0"], ["c0"], **three), N("Relu", ["c0"], ["r0"]),
             N("MaxPool", ["r0"], ["p0"], kernel_shape=[2, 2], strides=[2, 2]),
             N("Conv", ["p0", "w1", "b1"], ["c1"], **three), N("Relu", ["c1"], ["r1"]), N("Add", ["p0", "r1"], ["trunk"])]
    weights = dict(w0=f(4, 3, 3, 3), b0=f(4), w1=f(4, 4, 3, 3), b1=f(4), w2=f(4, 4, 3, 3), b2=f(4), fc=f(6, 4), minus=-np.ones((6, 1), np.float32))
    for t in "ab":
        weights |= {t + "s": np.abs(f(4, 1, 1)), t + "bias": f(6), t + "e": np.abs(f(6))}
        nodes += [N("Mul", ["trunk", t + "s"], [t + "m"]), N("Conv", [t + "m", "w2", "b2"], [t + "c"], **three),
                  N("Relu", [t + "c"], [t + "r"]), N("GlobalAveragePool", [t + "r"], [t + "g"]), N("Flatten", [t + "g"], [t + "f"]),
                  N("Gemm", [t + "f", "fc", t + "bias"], [t + "h"], transB=1), N("Mul", [t + "h", t + "e"], [t + "x"]),
                  # onnx-go reads Mul(x, x) as having one input: the square is -(x · -x), summed by a product with -1s
                  N("Neg", [t + "x"], [t + "n"]), N("Mul", [t + "x", t + "n"], [t + "q"]), N("MatMul", [t + "q", "minus"], [t + "sum"]),
                  N("Sqrt", [t + "sum"], [t + "norm"]), N("Div", [t + "x", t + "norm"], ["embedding_" + t])]
    write("modulated", nodes, weights, ["embedding_a", "embedding_b"], 6, 8)


def operators():
    """Every rule of rules.go and every form of it, all on the same tensors, so that wrong merging shows."""
    nodes = [N("Conv", ["images", "cube", "cube_b"], ["conv_cube"], kernel_shape=[1, 1]), N("Neg", ["conv_cube"], ["to_row"]),
             N("Flatten", ["to_row"], ["row"]), N("MatMul", ["row", "ones"], ["sum"]), N("Sigmoid", ["conv_cube"], ["between"]),
             N("Relu", ["images"], ["positive"]), N("Relu", ["row"], ["positive_row"])]
    weights, outputs = dict(cube=f(3, 3, 1, 1), cube_b=f(3), ones=f(60, 1)), []

    def add(name, op, inputs, constants=(), flat=False, **attributes):
        names = [f"{name}_{i}" for i in range(len(constants))]
        weights.update(zip(names, constants))
        nodes.append(N(op, inputs + names, [name if flat else name + "_4"], **attributes))
        if not flat:
            nodes.append(N("Flatten", [name + "_4"], [name], **(dict(axis=1) if len(outputs) % 2 else {})))
        outputs.append(name)

    x = ["images"]
    w3, w3b = f(2, 3, 3, 3), f(2, 3, 3, 3)
    add("conv", "Conv", x, [w3, f(2)], kernel_shape=[3, 3])
    add("conv_same_window", "Conv", x, [w3b, f(2)], kernel_shape=[3, 3])
    add("conv_padded", "Conv", x, [w3], kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=1, auto_pad="NOTSET")
    add("conv_strided", "Conv", x, [w3], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 1])
    add("conv_dilated", "Conv", x, [w3], kernel_shape=[3, 3], pads=[2, 2, 2, 2], dilations=[2, 2])
    add("conv_dilated_hw", "Conv", x, [w3], kernel_shape=[3, 3], pads=[2, 2, 2, 2], dilations=[1, 2])
    add("conv_1x1", "Conv", x, [f(2, 3, 1, 1), f(2)], kernel_shape=[1, 1], strides=[2, 2])
    add("conv_flat_kernel", "Conv", x, [f(2, 3, 1, 5)], kernel_shape=[1, 5])
    add("conv_whole", "Conv", x, [f(2, 3, 4, 5), f(2)], kernel_shape=[4, 5])
    add("pool", "MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    add("pool_other", "MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=0, storage_order=0)
    add("pool_hw", "MaxPool", x, kernel_shape=[2, 3], strides=[1, 2])
    add("pool_default", "MaxPool", ["positive"], kernel_shape=[2, 2])
    add("mean", "GlobalAveragePool", x)
    add("matmul", "MatMul", ["row"], [f(60, 3)], flat=True)
    add("matmul_one", "MatMul", ["row"], [f(60, 1)], flat=True)
    add("gemm", "Gemm", ["row"], [f(60, 3), f(3)], flat=True)
    add("gemm_transposed", "Gemm", ["row"], [f(3, 60), f(1, 3)], flat=True, transB=1, transA=0)
    add("gemm_scaled", "Gemm", ["positive_row"], [f(3, 60), f(3)], flat=True, transB=1, alpha=0.5, beta=2.0)
    for op in ["Add", "Sub", "Mul", "Div"]:
        add(op.lower(), op, ["conv_cube", "between"])
        add(op.lower() + "_channels", op, x, [f(3, 1, 1)])
        add(op.lower() + "_row", op, ["row"], [f(60)], flat=True)
        add(op.lower() + "_matrix", op, ["row"], [f(1, 60)], flat=True)
        add(op.lower() + "_norm", op, ["row", "sum"], flat=True)
    for op in ["Relu", "Sigmoid", "Tanh", "Abs", "Neg"]:
        add("un_" + op.lower(), op, ["conv_cube" if op == "Relu" else "between"])
    add("root", "Sqrt", ["between"])
    write("operators", nodes, weights, outputs, 4, 5)


modulated()
operators()
