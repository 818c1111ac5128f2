"""Checks stand-ins (or published models made batchable) with the ONNX checker and ONNX Runtime.

    RUNNER_KEEP_MODELS=DIR cargo nextest run --release --test models
    python tests/onnx_check.py DIR/scrfd/1/model.onnx DIR/arcface/1/model.onnx

Needs onnx, onnxruntime and numpy. One line a check; the exit code is not 0 if one fails.
"""

import sys

import numpy
import onnx
import onnxruntime

BATCH = 4
SCRFD = {
    f"{answer}_{stride}": ["batch", 2 * (640 // stride) ** 2, width]
    for answer, width in (("score", 1), ("bbox", 4), ("kps", 10))
    for stride in (8, 16, 32)
}
ARCFACE = {"683": ["batch", 512]}
failures = 0


def check(name, passed, detail=""):
    global failures
    failures += not passed
    print(f"{'ok  ' if passed else 'FAIL'} {name}{': ' if detail else ''}{detail}")


def answers_are_sane(title, outputs):
    """Finite, not constant, not saturated, no large share of denormals."""
    tiny = numpy.finfo(numpy.float32).tiny
    for name, value in outputs.items():
        magnitude = numpy.abs(value)
        denormal = float(((magnitude > 0) & (magnitude < tiny)).mean())
        spread = float(value.std())
        scale = float(magnitude.mean())
        sane = bool(numpy.isfinite(value).all()) and spread > 1e-3 * scale > 0 and denormal < 1e-3 and 1e-4 < scale < 1e4
        if name.startswith("score"):
            sane = sane and 0.01 < value.mean() < 0.99
        check(f"{title}: {name} is finite, not constant, not denormal", sane,
              f"{value.min():.4g} .. {value.max():.4g}, mean size {scale:.4g}, deviation {spread:.4g}")


def check_model(title, path, side, expected):
    model = onnx.load(path)
    try:
        onnx.checker.check_model(model, full_check=True)
        check(f"{title}: the ONNX checker accepts it", True)
    except Exception as error:  # every kind of refusal is the same result here
        check(f"{title}: the ONNX checker accepts it", False, str(error))
    labels = [entry.value for entry in model.metadata_props if entry.key == "weights"]
    check(f"{title}: one label", len(labels) == 1 and bool(labels[0]), "; ".join(labels))

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 2
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {value.name: value.shape for value in session.get_inputs()}
    # A published model may leave the sides of the image open.
    sides = inputs.get("input.1", [])[2:]
    fitting = inputs == {"input.1": ["batch", 3] + sides} and all(isinstance(s, str) or s == side for s in sides)
    check(f"{title}: input", fitting and len(sides) == 2, str(inputs))
    outputs = {value.name: value.shape for value in session.get_outputs()}
    check(f"{title}: outputs", outputs == expected, str(outputs))

    def run(images):
        names = list(expected)
        return dict(zip(names, session.run(names, {"input.1": images})))

    random = numpy.random.default_rng(5)
    images = random.uniform(-1, 1, (BATCH, 3, side, side)).astype(numpy.float32)
    together = run(images)
    single = [run(images[index:index + 1]) for index in range(BATCH)]
    for name, value in together.items():
        shape = [BATCH] + expected[name][1:]
        check(f"{title}: {name} has shape {shape}", list(value.shape) == shape, str(value.shape))
        alone = numpy.concatenate([answers[name] for answers in single])
        scale = float(numpy.abs(alone).max())
        close = numpy.allclose(value, alone, rtol=1e-3, atol=1e-4 * scale)
        check(f"{title}: {name} of batch {BATCH} is {BATCH} x batch 1", close,
              f"largest difference {numpy.abs(value - alone).max():.3g} of {scale:.3g}")
        apart = float(numpy.abs(alone[0] - alone[1]).mean()) / scale
        check(f"{title}: {name} tells images apart", apart > 1e-4, f"mean difference {apart:.3g} of the largest")
    answers_are_sane(f"{title}, random images", together)
    answers_are_sane(f"{title}, zeros", run(numpy.zeros((1, 3, side, side), numpy.float32)))


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: python tests/onnx_check.py PATH_SCRFD PATH_ARCFACE")
    check_model("scrfd", sys.argv[1], 640, SCRFD)
    check_model("arcface", sys.argv[2], 112, ARCFACE)
    print("all checks passed" if failures == 0 else f"{failures} checks failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
