"""``mv.graph``: the DOT text, read back by a small parser, and the drawings."""

import re
import shutil
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

import minivae as mv
from minivae import functional as F
from minivae import models, nn
from minivae.viz import graph

STRING = r'"(?:[^"\\]|\\.)*"'
NODE = re.compile(rf"^\s*(\w+) \[label=<(.*)>, fillcolor={STRING}, tooltip={STRING}\];$")
EDGE = re.compile(rf"^\s*(\w+)(?::out(\d+):s)? -> (\w+) \[label=({STRING})\];$")
CLUSTER = re.compile(rf"^\s*subgraph ({STRING}) {{$")
TITLE = re.compile(r'<tr><td colspan="\d+"><b>(.*?)</b></td></tr>')


def parse(dot):
    """(title by node, label by node, cluster by node, edges as (tail, port, head, label))."""
    title, label, cluster, edges, path = {}, {}, {}, [], [""]
    lines = dot.splitlines()
    assert lines[0] == "digraph {" and lines[-1] == "}" and len(path) == 1
    for line in lines[1:-1]:
        if opened := CLUSTER.match(line):
            path.append(opened[1].strip('"').removeprefix("cluster_"))
        elif line.strip() == "}":
            path.pop()
        elif node := NODE.match(line):
            found = TITLE.search(node[2])
            title[node[1]] = found[1] if found else ""
            label[node[1]], cluster[node[1]] = node[2], path[-1]
        elif edge := EDGE.match(line):
            edges.append((edge[1], edge[2], edge[3], edge[4].strip('"')))
        else:
            assert re.match(r"^\s*(graph|node|edge) \[.*\];$|^\s*label=", line), line
    assert path == [""], "unbalanced braces"
    assert {end for tail, _, head, _ in edges for end in (tail, head)} <= title.keys()
    return title, label, cluster, edges


def named_edges(dot):
    title, _, _, edges = parse(dot)
    return sorted((title[tail], title[head], role) for tail, _, head, role in edges)


def example():
    w = mv.Tensor([3.0], requires_grad=True)
    x = mv.Tensor([2.0], requires_grad=True)
    return w, x, (w * x + x * x).sum()


def test_every_operation_and_edge_of_a_known_graph():
    w, x, y = example()
    dot = graph.to_dot(y, names={"w": w, "x": x, "y": y})
    title, label, _, _ = parse(dot)
    assert sorted(title.values()) == ["Add", "Mul", "Mul", "Sum", "w", "x"]
    assert named_edges(dot) == [
        ("Add", "Sum", ""),
        ("Mul", "Add", "a"),
        ("Mul", "Add", "b"),
        ("w", "Mul", "a"),
        ("x", "Mul", "a"),
        ("x", "Mul", "b"),
        ("x", "Mul", "b"),
    ]
    by_title = {title[node]: text for node, text in label.items()}
    assert "(1,) float64" in by_title["w"] and "[3.]" in by_title["w"]
    assert "<i>y</i>" in by_title["Sum"] and "10." in by_title["Sum"]
    assert "grad" not in dot
    y.backward()  # looking has changed nothing


@pytest.mark.parametrize("how", ["backward=True", "capture"])
def test_gradients_of_leaves_and_intermediates(how):
    w, x, y = example()
    if how == "capture":
        seen = graph.capture(y, names={"w": w, "x": x})
        y.backward()
        dot = graph.to_dot(seen)
    else:
        dot = graph.to_dot(y, names={"w": w, "x": x}, backward=True)
    title, label, _, _ = parse(dot)
    assert dot.count("grad ") == len(title) == 6
    by_title = {title[node]: text for node, text in label.items()}
    assert "grad [2.]" in by_title["w"] and "grad [7.]" in by_title["x"]
    assert "grad [1.]" in by_title["Add"] and "grad 1." in by_title["Sum"]


def test_a_freed_graph_is_an_error_that_says_what_to_do():
    _, _, y = example()
    y.backward()
    with pytest.raises(mv.GradientError, match="freed by an earlier backward; capture"):
        graph.to_dot(y)


def test_parameters_by_name_and_modules_as_clusters():
    model = models.ConvVAE(seed=1)
    x = np.zeros((2, 1, 28, 28), np.float32)
    out = model.elbo(x, mv.Noise(0, 0))
    title, _, cluster, edges = parse(graph.to_dot(out.loss, model))
    drawn = {
        f"{cluster[node]}.{name}" for node, name in title.items() if name in ("weight", "bias")
    }
    assert drawn == {name for name, _ in model.named_parameters()}
    for tail, _, head, _ in edges:  # a layer's operation is drawn around its parameters
        if title[tail] in ("weight", "bias"):
            one_of_two = title[head] == "LinearHeads"  # drawn around both of its layers
            around = cluster[tail].rpartition(".")[0] if one_of_two else cluster[tail]
            assert cluster[head] == around
    where = {(title[node], cluster[node]) for node in title}
    assert ("Reshape", "encoder") in where and ("Reshape", "decoder") in where
    assert ("ReparameterizeKL", "") in where and ("BCEWithLogits", "") in where


def test_outputs_of_one_operation_are_told_apart():
    mu = mv.Tensor(np.zeros((3, 2)), requires_grad=True)
    z, kl = F.reparameterize_kl(mu, mv.Tensor(np.zeros((3, 2))), np.ones((3, 2)))
    title, label, _, edges = parse(graph.to_dot(z.sum() + kl.sum(), names={"z": z, "kl": kl}))
    ports = {port for tail, port, _, _ in edges if title[tail] == "ReparameterizeKL"}
    assert ports == {"0", "1"}
    (text,) = (label[n] for n in title if title[n] == "ReparameterizeKL")
    assert text.index("<i>z</i>") < text.index("(3, 2)") < text.index("<i>kl</i>")
    title, label, _, _ = parse(graph.to_dot(z.sum()))
    (text,) = (label[n] for n in title if title[n] == "ReparameterizeKL")
    assert "unused" in text and "(3,) float64" in text


def test_large_arrays_are_summed_up_and_bad_numbers_counted():
    x = mv.Tensor(np.arange(8.0), requires_grad=True)
    assert "mean 3.5, std 2.29" in graph.to_dot(x * 1.0)
    assert "[0., 1., 2., 3., 4., 5., 6., 7.]" in graph.to_dot(x * 1.0, max_values=8)
    x = mv.Tensor(np.array([1.0] * 7 + [np.nan]), requires_grad=True)
    assert "1 of 8 not finite" in graph.to_dot(x * 1.0)
    assert "no elements" in graph.to_dot(mv.Tensor(np.zeros((0, 3)), requires_grad=True) * 2.0)


def test_names_are_escaped_and_found_through_a_reshape():
    x = np.zeros((2, 1, 28, 28), np.float32)
    model = models.MLPVAE(hidden=3)
    dot = graph.to_dot(model.elbo(x, mv.Noise(0, 0)).loss, model, {'<x> & "y"': x})
    title, _, _, _ = parse(dot)
    assert list(title.values()).count("&lt;x&gt; &amp; &quot;y&quot;") == 2  # input and target


def test_a_leaf_alone_and_a_long_chain():
    title, _, _, edges = parse(graph.to_dot(mv.Tensor([1.0], requires_grad=True)))
    assert len(title) == 1 and not edges
    y = mv.Tensor([1.0], requires_grad=True)
    layer = nn.Linear(1, 1)
    for _ in range(3000):  # deeper than Python's recursion limit
        y = y + 1.0
    title, _, _, edges = parse(graph.to_dot(y, layer))
    assert list(title.values()).count("Add") == 3000 and len(edges) == 6000


def test_a_shared_parameter_is_drawn_once():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    title, _, cluster, _ = parse(
        graph.to_dot(model(mv.Tensor(np.ones((1, 2), np.float32))).sum(), model)
    )
    weights = [node for node in title if title[node] == "weight"]
    assert [cluster[node] for node in weights] == ["0"]


@pytest.mark.parametrize(
    "suffix, magic", [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")]
)
def test_draw(tmp_path, suffix, magic):
    pytest.importorskip("graphviz", reason="the Python package graphviz is not installed")
    if shutil.which("dot") is None:
        pytest.skip("Graphviz's program dot is not installed")
    _, _, y = example()
    path = graph.draw(y, tmp_path / f"graph.{suffix}", backward=True)
    content = path.read_bytes()
    assert content.startswith(magic)
    if suffix == "svg":
        svg = ElementTree.fromstring(content)
        kinds = [group.get("class") for group in svg.iter("{http://www.w3.org/2000/svg}g")]
        assert (kinds.count("node"), kinds.count("edge")) == (6, 7)
        tips = [a.get("{http://www.w3.org/1999/xlink}title") for a in svg.iter()]
        assert "y = a b; da = dy b; db = dy a." in [" ".join((t or "").split()) for t in tips]


SVG = "{http://www.w3.org/2000/svg}"


def boxes(svg):
    """{title and lines of a node: (left, top, right, bottom)}, and the edges' ((x, y), (x, y))."""
    root = ElementTree.fromstring(svg)
    found, ends = {}, []
    for node in root.iter(f"{SVG}g"):
        rect = node.find(f"{SVG}rect")
        x, y, width, height = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        text = "\n".join(line.text for line in node.iter(f"{SVG}text"))
        found[node.get("id"), text] = (x, y, x + width, y + height)
    for path in root.iter(f"{SVG}path"):
        if path.get("class") == "edge":
            numbers = [float(n) for n in re.findall(r"-?\d+\.\d+", path.get("d"))]
            ends.append((tuple(numbers[:2]), tuple(numbers[-2:])))
    return found, ends


@pytest.mark.parametrize("make", [lambda: models.ConvVAE(seed=1), lambda: models.MLPVAE(hidden=3)])
def test_the_own_drawing_is_whole_and_boxes_do_not_overlap(make):
    """Each operation and leaf is one box, each edge runs down from a box's side to another's."""
    model = make()
    x = np.zeros((2, 1, 28, 28), np.float32)
    loss = model.elbo(x, mv.Noise(0, 0)).loss
    seen = graph.capture(loss, model, {"x": x})
    found, ends = boxes(graph.to_svg(seen))
    assert len(found) == len(seen.ops) + len(seen.leaves)
    assert len(ends) == len(seen.edges())
    for i, a in enumerate(found.values()):
        for b in list(found.values())[i + 1 :]:
            assert a[2] < b[0] or b[2] < a[0] or a[3] < b[1] or b[3] < a[1], "two boxes overlap"
    for (x0, y0), (x1, y1) in ends:
        assert y0 < y1, "an edge runs up"
        assert any(l < x0 < r and b == pytest.approx(y0, abs=0.2) for l, _, r, b in found.values())
        assert any(l < x1 < r and t == pytest.approx(y1, abs=0.2) for l, t, r, _ in found.values())


def test_the_own_drawing_says_what_dot_says():
    w, x, y = example()
    found, _ = boxes(graph.to_svg(y, names={"w": w, "x": x, "<y>": y}, backward=True))
    said = sorted(text for _, text in found)
    assert "x\n(1,) float64\n[2.]\ngrad [7.]" in said and "Mul" in said[1]
    assert any(text.startswith("Sum\n<y>\n() float64\n10") for text in said)


def test_the_own_drawing_of_a_long_chain():
    y = mv.Tensor([1.0], requires_grad=True)
    for _ in range(1100):  # deeper than Python's recursion limit
        y = y + 1.0
    assert len(boxes(graph.to_svg(y))[0]) == 1100 + 1100 + 1


def test_draw_says_what_is_missing(tmp_path, monkeypatch):
    _, _, y = example()
    with pytest.raises(ValueError, match="svg"):
        graph.draw(y, tmp_path / "graph.jpeg2000")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "graphviz", None)  # what import does when it is not there
        with pytest.raises(mv.MinivaeError, match="pip install graphviz"):
            graph.draw(y, tmp_path / "graph.svg")
    pytest.importorskip("graphviz", reason="the Python package graphviz is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(mv.MinivaeError, match="apt install graphviz"):
        graph.draw(y, tmp_path / "graph.svg")
    assert list(tmp_path.iterdir()) == []
