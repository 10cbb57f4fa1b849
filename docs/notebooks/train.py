# %% [markdown]
# # Train a VAE: predict, then run
#
# MNIST is read from `$MINIVAE_DATA` or the user's cache, or downloaded; if all fail, synthetic digits are drawn.

# %%
import matplotlib.pyplot as plt
import numpy as np

import minivae as mv
from minivae import data, models, optim
from minivae.noise import EVALUATION, NoiseStream
from minivae.viz import plots

digits = data.mnist.load(None)
images, test_images = digits.train.images[:10_000], digits.test.images[:1000]
print(digits.name, images.shape)

# %% [markdown]
# The loss is `rec + beta kl`, in nats per image. **Predict** its value before any training, when the decoder gives every
# pixel a probability of about one half.


# %%
def train(beta, epochs=3, seed=0):
    """A trained MLPVAE and the losses of each epoch on test images."""
    model = models.MLPVAE(20, seed=seed)
    adam, noise = optim.Adam(model.parameters()), NoiseStream(seed)
    batches = data.PixelBatches(images, 100, seed=seed)
    x = test_images.reshape(-1, 784) / np.float32(255)
    rows = []
    for epoch in range(epochs):
        for batch in batches.epoch(epoch):
            loss = model.elbo(batch, noise, beta).loss
            adam.zero_grad()
            loss.backward()
            adam.step()
        with model.evaluating():
            terms = model.elbo(x, NoiseStream(seed, EVALUATION), beta)
        rows.append([term.item() for term in terms])
        print(
            f"beta {beta}, epoch {epoch + 1}: loss {rows[-1][0]:.1f} = rec {rows[-1][1]:.1f} "
            f"+ {beta} x kl {rows[-1][2]:.1f}"
        )
    return model, np.array(rows)


with mv.no_grad():
    untrained = models.MLPVAE(20).elbo(
        test_images.reshape(-1, 784) / np.float32(255), NoiseStream(0)
    )
print(f"untrained: {untrained.loss.item():.1f}; 784 ln 2 = {784 * np.log(2):.1f}")

# %% [markdown]
# **Predict.** After three passes over 10,000 images: which of rec and kl has risen from its first value, and why?

# %%
model, rows = train(beta=1)

# %% [markdown]
# **Predict.** With beta = 4: is kl larger or smaller? rec? Which model draws better digits, and which reconstructs
# better?

# %%
cautious, cautious_rows = train(beta=4)

# %%
x = test_images[:10].reshape(-1, 784) / np.float32(255)
rows = [x, model.reconstruct(x).data, cautious.reconstruct(x).data]
rows += [m.sample(10, mv.Noise(0, 1)).data for m in (model, cautious)]
plots.samples(
    np.concatenate(rows), "images; reconstructions, beta 1 and 4; new digits, beta 1 and 4"
)

# %% [markdown]
# **Predict.** What does the decoder give half way between two codes: a mixture of the two pictures, or a digit?

# %%
walk = model.interpolate(x[0], x[1], 10).data
pixels = np.stack([(1 - t) * x[0] + t * x[1] for t in np.linspace(0, 1, 10)])
plots.samples(np.concatenate([walk, pixels]), "between two codes, and between the pixels")

# %% [markdown]
# **Your turn.** `python examples/mnist_vae.py --help`, and exercises 8 (`loss_curve`) and 10 (`free_bits`).
