# %% [markdown]
# # The Gaussian KL: predict, then run
#
# The text comes from `docs/gaussian-kl.md`, the code from `examples/gaussian_kl.py`.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minivae as mv
from minivae import functional as F

# %% [page] gaussian-kl.md From the integral

# %% [markdown]
# **Predict.** Where is the KL least, and what is it there? Is it larger for sigma = 0.5 or for sigma = 2? For mu = 1 or
# mu = 2, and by which factor?

# %% [example] gaussian_kl.py engine quadrature monte_carlo

# %%
for mu, sigma in [(0.0, 1.0), (0.0, 0.5), (0.0, 2.0), (1.0, 1.0), (2.0, 1.0), (0.7, 0.4)]:
    mean, error = monte_carlo(mu, sigma, mv.Noise(0, 0), 100_000)
    print(
        f"mu {mu}, sigma {sigma}: formula {engine(mu, sigma):.4f}, integral "
        f"{quadrature(mu, sigma):.4f}, sampled {mean:.4f} ± {error:.4f}"
    )

# %% [page] gaussian-kl.md Why expm1

# %% [markdown]
# **Predict.** In single precision, with log variances near 0.001, how many digits does exp(l) - 1 - l keep? Can it be
# negative?

# %%
logvar = 1e-3 * mv.Noise(0, 1).normal((100_000,), np.float32)
exact = np.expm1(logvar.astype(np.float64)) - logvar
for name, found in (
    ("exp(l) - 1 - l", np.exp(logvar) - np.float32(1) - logvar),
    ("expm1(l) - l", np.expm1(logvar) - logvar),
):
    print(
        f"{name}: median error {np.median(abs(found / exact - 1)):.3%}, "
        f"negative {(found < 0).mean():.1%}"
    )

# %% [markdown]
# Wrong formulas with which a VAE still trains. **Predict** for each the sigma at which it is least, and whether the
# posteriors become too narrow or too wide.

# %% [example] gaussian_kl.py FORMULAS least

# %%
figure, axes = plt.subplots(figsize=(7, 3.5))
s = np.geomspace(0.05, 6, 300)
for name, formula in FORMULAS.items():
    sigma, value = least(lambda s, formula=formula: formula(0.0, s))
    print(f"{name:<40} least at sigma {sigma:8.3f}: {value:8.3f}")
    axes.semilogx(s, formula(0.0, s), label=name)
axes.set(xlabel="sigma", ylabel="nats", ylim=(-2, 4))
axes.legend(fontsize="x-small", bbox_to_anchor=(1, 1))
figure

# %% [markdown]
# **Predict.** Does a gradient check find the wrong formulas?


# %%
def half_forgotten(mu, logvar):
    """A wrong KL: the factor 1/2 is missing."""
    return F.sum(mu**2 + F.expm1(logvar) - logvar)


print(mv.gradcheck(half_forgotten, [np.array([0.3]), np.array([-0.5])]))

# %% [markdown]
# **Your turn.** Exercises 4 (`kl`) and 5 (`reparameterise`).
