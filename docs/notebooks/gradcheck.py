# %% [markdown]
# # Checking gradients: predict, then run
#
# The text comes from `docs/gradient-checking.md`, the code from `examples/gradcheck_tour.py`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minivae as mv
from minivae import functional as F
from minivae.tensor import Function

# %% [page] gradient-checking.md How finite differences err

# %% [markdown]
# **Predict.** With a step of 1e-12 in double precision, how many digits of the slope of exp at 1 are right? With
# 1e-5? With 0.1?

# %%
for h in (1e-12, 1e-8, 1e-5, 1e-3, 0.1):
    slope = (np.exp(1 + h) - np.exp(1 - h)) / (2 * h)
    print(f"h = {h:.0e}: relative error {abs(slope / np.e - 1):.0e}")

# %% [example] gradcheck_tour.py SCHEMES errors

# %% [markdown]
# **Predict** the slopes of the two straight parts of each curve on logarithmic axes.

# %%
x = np.random.default_rng(0).uniform(0.5, 1.5, 500)
steps = np.geomspace(1e-15, 1, 61)
figure, axes = plt.subplots(figsize=(6, 3.5))
for name, (scheme, _) in SCHEMES.items():
    for dtype in (np.float64, np.float32):
        label = f"{name}, {np.dtype(dtype).name}"
        axes.loglog(steps, errors(scheme, dtype, np.exp, np.exp, x, steps), label=label)
axes.set(xlabel="step", ylabel="relative error")
axes.legend()
figure

# %% [page] gradient-checking.md One number for a whole Jacobian

# %% [markdown]
# An operation whose backward can be made wrong.
#
# **Predict** for each mistake whether the check finds it, and what would happen if the cotangent were all ones.

# %% [example] gradcheck_tour.py Product MISTAKES

# %%
x, w = np.random.default_rng(1).normal(size=(2, 2, 3))
for name, mistake in MISTAKES.items():
    try:
        mv.gradcheck(lambda x, w, m=mistake: Product.apply(x, w, mistake=m), [x, w])
        print(f"{name}: nothing found")
    except mv.GradientError as error:
        print(f"{name}: {str(error)[:110]}")

# %% [page] gradient-checking.md Kinks

# %% [markdown]
# **Predict.** What does the check say of relu at 0? And of relu at 1?

# %%
for point in (1.0, 0.0):
    try:
        print(point, mv.gradcheck(F.relu, [np.array([point])]))
    except mv.GradientError as error:
        print(point, error)

# %% [markdown]
# **Your turn.** Write an operation of your own, y = x³ say, with a backward that is wrong by 0.1 %, and see the check
# find it. Then exercises 3 (`swish`) and 9 (`batch_norm`).
