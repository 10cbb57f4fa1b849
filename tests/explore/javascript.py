"""Run the page's model.js under Node, without a browser."""

import atexit
import functools
import json
import shutil
import subprocess

import numpy as np

from minivae.explore.export import layers, source

NODE = shutil.which("node")
# A line in holds a program and its arguments, a line out what it returns or the error it ends with.
SERVER = """
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { program, given } = JSON.parse(line);
  let answer;
  try {
    answer = { value: new Function(...Object.keys(given), program)(...Object.values(given)) };
  } catch (error) {
    answer = { error: error.stack };
  }
  console.log(JSON.stringify(answer));
});"""


@functools.cache
def _node():
    """The one Node that runs all programs: a start takes longer than most of them."""
    node = subprocess.Popen(
        [NODE, "-e", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(node.communicate)  # closes its input, which ends it
    return node


def evaluated(expression, **given):
    """The value of a JavaScript expression over model.js, with ``given`` as JSON in its scope.

    Each evaluation has a model.js of its own.
    """
    program = f"""{source("model.js")}
    const plain = (v) => v instanceof Module ? undefined
      : ArrayBuffer.isView(v) ? Array.from(v) : typeof v === "bigint" ? String(v) : v;
    return JSON.parse(JSON.stringify({expression}, (_, v) => plain(v)));"""
    node = _node()
    asked = json.dumps(
        {"program": program, "given": given}, default=lambda a: np.asarray(a).tolist()
    )
    print(asked, file=node.stdin, flush=True)
    answer = json.loads(node.stdout.readline())
    assert "error" not in answer, answer["error"]
    return answer["value"]


def array(values):
    """An activation for model.js: one image, without its batch axis."""
    values = np.asarray(values)
    return {"data": values.reshape(-1).tolist(), "shape": list(values.shape)}


def rounded(module):
    """The module in float64 with arrays rounded to float16, as the page uses them."""
    state = module.state_dict()
    module.load_state_dict(
        {
            name: a if a.dtype.kind != "f" else a.astype(np.float16).astype(a.dtype)
            for name, a in state.items()
        }
    )
    return module.to(dtype=np.float64).eval()


def forwarded(modules, inputs):
    """What each module gives for its input in JavaScript: a list of arrays or pairs of them."""
    found = evaluated(
        """modules.map((module, i) => {
          const array = { data: Float64Array.from(inputs[i].data), shape: inputs[i].shape };
          return build(module).forward(array);
        })""",
        modules=[layers(module) for module in modules],
        inputs=[array(x) for x in inputs],
    )

    def numpy(value):
        if isinstance(value, list):
            return [numpy(part) for part in value]
        return np.array(value["data"]).reshape(value["shape"])

    return [numpy(value) for value in found]
