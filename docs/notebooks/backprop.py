# %% [markdown]
# # Backpropagation: predict, then run
#
# Before each cell there is a question. Write your answer down, run the cell, compare. Then change something
# and do it again. The text comes from `docs/backprop.md`, the code from `examples/`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minivae as mv
from minivae import functional as F

# %% [page] backprop.md One operation

# %% [markdown]
# **Predict.** y = w x + x² with w = 3 and x = 2. What are y, dy/dw and dy/dx?

# %%
w = mv.Tensor([3.0], requires_grad=True)
x = mv.Tensor([2.0], requires_grad=True)
y = (w * x + x * x).sum()
drawing = mv.graph.to_svg(y, names={"w": w, "x": x, "y": y}, backward=True)
print(y.item(), w.grad, x.grad)
drawing

# %% [page] backprop.md Many paths, and their order

# %% [markdown]
# **Predict.** b = a + a and c = b + b. What is dc/da? What would backward give if it passed on the first gradient that
# reaches b without waiting for the second?

# %%
a = mv.Tensor(3.0, requires_grad=True)
b = a + a
c = b + b
c.backward()
print(c.item(), a.grad)

# %% [page] backprop.md Broadcasting's adjoint

# %% [markdown]
# **Predict.** What are the shapes of the three gradients, and what is the gradient of the bias, when the loss is the
# sum of y?

# %%
inputs = mv.Tensor(np.ones((5, 3)), requires_grad=True)
weight = mv.Tensor(np.ones((2, 3)), requires_grad=True)
bias = mv.Tensor(np.zeros(2), requires_grad=True)
F.linear(inputs, weight, bias).sum().backward()
print(inputs.grad.shape, weight.grad.shape, bias.grad)

# %% [markdown]
# A network of nine weights, and its gradient by hand.
#
# **Predict.** t is the target. If y is larger than t, what is the sign of the derivative of the loss with respect to
# b2? Which of the two hidden units has the larger dh?

# %% [example] backprop_by_hand.py X WEIGHTS by_hand network

# %%
values, middle, by_rule = by_hand(**WEIGHTS)
tensors = {name: mv.Tensor(array, requires_grad=True) for name, array in WEIGHTS.items()}
parts = network(**tensors)
parts["L"].backward()
print("y", values["y"], "t", T, "dh", middle["dh"])
for name, gradient in by_rule.items():
    print(name, gradient.ravel(), "differs by", abs(gradient - tensors[name].grad).max())

# %% [markdown]
# A gradient is a slope. **Predict** the picture: the loss as W1[0, 0] moves, and the line with the slope that
# `by_hand` gives.

# %%
moves = np.linspace(-2, 2, 81)
losses = []
for move in moves:
    moved = {name: array.copy() for name, array in WEIGHTS.items()}
    moved["W1"][0, 0] += move
    losses.append(by_hand(**moved)[0]["L"])
figure, axes = plt.subplots(figsize=(5, 3))
axes.plot(moves, losses, label="loss")
axes.plot(moves, values["L"] + by_rule["W1"][0, 0] * moves, "--", label="tangent")
axes.set(xlabel="change of W1[0, 0]", ylim=(0, 0.2))
axes.legend()
figure

# %% [markdown]
# **Your turn.** Exercise 1 (`unbroadcast`), 2 (`order`) and 3 (`swish`): `python examples/exercises/check.py`.
