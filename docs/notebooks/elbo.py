# %% [markdown]
# # The ELBO: predict, then run
#
# The text comes from `docs/elbo.md`, the code from `examples/elbo_identity.py`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minivae as mv
from minivae import functional as F

# %% [page] elbo.md 2. Bayes: the gap is a KL

# %% [markdown]
# A model whose evidence and posterior have closed forms: two latents, three pixels, all Gaussian. q starts far from the
# posterior, and Adam maximises the ELBO.
#
# **Predict.** What happens to ELBO + KL(q || posterior) on the way? Does the gap end at 0?

# %% [example] elbo_identity.py LOG_2PI W X kl_normal elbo linear_gaussian

# %%
climb, evidence, best = linear_gaussian(200)
for step in (0, 10, 50, 199):
    bound, gap = climb[step]
    print(f"step {step}: ELBO {bound:.6f} + KL {gap:.6f} = {bound + gap:.10f}")
print(f"ln p(x) = {evidence:.10f}; the best diagonal q has a gap of {best:.4f}")

# %% [markdown]
# **Predict** the picture: which line is flat, which climbs, and what fills the space between them?

# %%
figure, axes = plt.subplots(figsize=(6, 3.5))
axes.axhline(evidence, color="k", label="ln p(x)")
axes.plot(climb[:, 0], label="ELBO")
axes.fill_between(range(len(climb)), climb[:, 0], evidence, alpha=0.25, label="KL(q || p(z|x))")
axes.set(xlabel="step", ylabel="nats", ylim=(evidence - 7, evidence + 0.5))
axes.legend()
figure

# %% [page] elbo.md 3. Importance weighting: tighter bounds

# %% [markdown]
# z ~ N(0, 1), x | z ~ N(2 z, 1), x = 1.5, and q is the prior, a poor choice.
#
# **Predict.** How fast does the bound climb with K? Is it ever above ln p(x)?


# %%
def bound(k, repeats=4000):
    """Mean and standard error of ln (1/K) sum w."""
    z = mv.Noise(2, k).normal((repeats, k), np.float64)
    log_w = mv.Tensor(-0.5 * (np.log(2 * np.pi) + (1.5 - 2 * z) ** 2))
    values = F.log_mean_exp(log_w, axis=1).data
    return values.mean(), values.std() / repeats**0.5


for k in (1, 10, 100, 1000):
    print(k, "{:.3f} ± {:.3f}".format(*bound(k)))
print("ln p(x)", -0.5 * (np.log(2 * np.pi * 5) + 1.5**2 / 5))

# %% [markdown]
# **Your turn.** Exercises 7 (`bound`) and 11 (`dreg`).
