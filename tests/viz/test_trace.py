"""``mv.graph.trace``: a page that shows a computation step by step, as a self-contained file."""

import json
import re

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae import models
from minivae.tensor import Function
from minivae.viz import svg, trace


def tracks(page):
    """The steps that a page holds, read as its script does."""
    return json.loads(re.search(r"^const tracks = (.*);$", page, re.MULTILINE)[1])


def example():
    w = mv.Tensor(np.array([3.0]), requires_grad=True)
    x = mv.Tensor(np.array([2.0]), requires_grad=True)
    return w, x, (w * x + x * x).sum()


def test_every_operation_forward_then_backward_with_the_engines_values(tmp_path):
    w, x, y = example()
    path = mv.graph.trace(y, tmp_path / "trace.html", names={"w": w, "x": x, "y": y})
    assert path == tmp_path / "trace.html"
    (steps,) = tracks(path.read_text("utf-8")).values()
    assert [(s["phase"], s["title"]) for s in steps] == [
        ("forward", "Mul"), ("forward", "Mul"), ("forward", "Add"), ("forward", "Sum"),
        ("backward", "Sum"), ("backward", "Add"), ("backward", "Mul"), ("backward", "Mul"),
    ]  # fmt: skip
    first, last = steps[0], steps[-1]
    assert [(r["name"], r["value"]) for r in first["rows"]] == [
        ("a = w", "[3.]"), ("b = x", "[2.]"), ("y", "[6.]"),
    ]  # fmt: skip
    assert [(r["kind"], r["name"], r["value"]) for r in last["rows"]] == [
        ("dy", "dy", "[1.]"), ("dx", "da, added to dL/d(w)", "[2.]"),
        ("dx", "db, added to dL/d(x)", "[3.]"),
    ]  # fmt: skip
    assert "y = a b" in first["about"] and "def backward(self, dy:" in last["code"]
    assert re.fullmatch(r"minivae/ops/arithmetic\.py:\d+", last["where"])
    assert x.grad == 7 and w.grad == 2  # the page's pass is the engine's


def test_modules_several_outputs_and_unused_gradients(tmp_path):
    model = models.MLPVAE(2, 3)
    x = np.zeros((2, 784), np.float32)
    loss = model.elbo(x, np.zeros((2, 2), np.float32)).loss
    page = mv.graph.trace(loss, tmp_path / "t.html", model, {"x": x}).read_text("utf-8")
    (steps,) = tracks(page).values()
    (sample,) = (s for s in steps if s["title"] == "ReparameterizeKL" and s["phase"] == "backward")
    assert [row["name"] for row in sample["rows"]] == ["dy0", "dy1", "dmu", "dlogvar"]
    first = steps[0]
    assert first["module"] == "fc1" and first["rows"][1]["name"] == "w = fc1.weight"
    assert not any("dL/d(x)" in row["name"] for s in steps for row in s["rows"])  # x needs none
    boxes = re.findall(r'id="node(\d+)"', page)
    assert {s["node"] for s in steps} <= {int(n) for n in boxes}


def test_the_page_needs_nothing_else_and_nothing_in_it_is_taken_for_markup(tmp_path):
    w, _, y = example()
    name = "</script><b>&"
    page = mv.graph.trace(y, tmp_path / "t.html", names={name: w}).read_text("utf-8")
    assert page.count("</script>") == 1 and page.count("<b>") == 0
    assert not re.search(r"(src|href)\s*=|https?://(?!www\.w3\.org)", page)
    assert f"a = {name}" in tracks(page)["the engine"][0]["rows"][0]["name"]


def test_an_operation_whose_source_is_gone_is_shown_without(tmp_path):
    space = {"Function": Function}
    exec("class Twice(Function):\n def forward(self, x): return 2 * x\n"
         " def backward(self, dy): return 2 * dy", space)  # fmt: skip
    y = space["Twice"].apply(mv.Tensor(np.ones(()), requires_grad=True))
    (steps,) = tracks(mv.graph.trace(y, tmp_path / "t.html").read_text("utf-8")).values()
    assert [s["code"] for s in steps] == ["", ""]


def test_operations_are_as_they_were_afterwards(tmp_path):
    """Tracing leaves the operations unchanged, also if backward raises an error."""

    class Broken(Function):
        def forward(self, x):
            return x

        def backward(self, dy):
            raise RuntimeError("no")

    y = F.exp(Broken.apply(mv.Tensor(np.ones(()), requires_grad=True)))
    graph = mv.graph.capture(y)
    with pytest.raises(RuntimeError, match="no"):
        mv.graph.trace(graph, tmp_path / "t.html")
    assert not any("backward" in vars(op) for op in graph.ops)
    assert not (tmp_path / "t.html").exists()


def test_edges_between_the_same_boxes_are_apart():
    a = mv.Tensor(np.ones(()), requires_grad=True)
    text = svg.to_svg(mv.graph.capture(a + a), 4)
    starts = re.findall(r'class="edge" d="M([\d.]+),', text)
    assert len(set(starts)) == 2


def test_a_track_is_shown_by_name():
    step = {"node": 0, "phase": "forward", "title": "T", "rows": [], "module": "", "about": "",
            "code": "", "where": ""}  # fmt: skip
    page = trace.page("<One>", "<svg></svg>", {"first": [step], "second": [step]}, "a & b")
    assert "<title>&lt;One&gt;</title>" in page and "a &amp; b" in page
    assert list(tracks(page)) == ["first", "second"]
