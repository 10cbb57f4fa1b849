# %% [markdown]
# # Edit pictures by arithmetic on codes: predict, then run
#
# Drawn faces whose attributes are known, so that an edit has a right answer.

# %%
import matplotlib.pyplot as plt
import numpy as np

from minivae import models, optim
from minivae.data import PixelBatches
from minivae.data.faces import draw_faces
from minivae.noise import NoiseStream
from minivae.viz import latent, plots

faces = draw_faces(1000, 32)
x = faces.images / np.float32(255)
plots.samples(x[:20], "drawn faces", columns=10)

# %% [markdown]
# **Predict.** A FaceVAE with 32 latents is trained for a minute on these 1,000 faces. Which will its reconstructions
# lose: the colour of the background, the smile, or the frames of the glasses?

# %%
model = models.FaceVAE(32, 32, upsampling="resize", seed=0)
adam, noise = optim.Adam(model.parameters(), lr=1e-3), NoiseStream(0)
for epoch in range(24):
    for batch in PixelBatches(faces.images, 20, seed=0).epoch(epoch):
        terms = model.elbo(batch, noise)
        adam.zero_grad()
        terms.loss.backward()
        adam.step()
    if epoch % 8 == 7:
        print(f"epoch {epoch + 1}: rec {terms.rec.item():.1f}, kl {terms.kl.item():.1f}")
plots.reconstructions(x[:10], model.reconstruct(x[:10]).data, "after training")

# %% [markdown]
# The attribute vector is the mean code of faces with glasses less that of faces without.
#
# **Predict.** The vector is added to the code of a face without glasses. What will change besides the glasses? (In
# these faces the attributes are independent. In photographs they are not.)

# %%
with model.evaluating():
    codes = model.encode(x)[0].data
vector = latent.attribute_vector(codes, faces.attributes["glasses"]).astype(np.float32)
bare = np.flatnonzero(~faces.attributes["glasses"])[:4]
strengths = np.linspace(-1, 2, 7, dtype=np.float32)
walks = np.stack([model.pixels(codes[bare] + s * vector).data for s in strengths], axis=1)
plots.attribute_walks(walks, strengths, "glasses", "the glasses vector on faces without")

# %% [markdown]
# **Predict.** Does the same arithmetic on pixels, the mean face with glasses less the mean face without, do as well?

# %%
has = faces.attributes["glasses"]
difference = x[has].mean(axis=0) - x[~has].mean(axis=0)
pixels = np.stack([np.clip(x[bare] + s * difference, 0, 1) for s in strengths], axis=1)
plots.attribute_walks(pixels, strengths, "glasses", "the same with pixels")

# %% [markdown]
# **Predict.** How large is the vector relative to the spread of the codes? Which latents does it use?

# %%
figure, axes = plt.subplots(figsize=(6, 3))
axes.bar(np.arange(len(vector)), vector / codes.std(axis=0))
axes.set(xlabel="latent", ylabel="glasses vector / spread of the codes")
figure

# %% [markdown]
# **Your turn.** Do the same for `smile`. Then run `python examples/faces_vae.py --help`.
