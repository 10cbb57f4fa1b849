"""The models as a JAX user writes them: pure functions of a dict of arrays, one jitted step.

The dict has minivae's ``state_dict`` names and shapes, so that one step can be compared number for
number. Pictures are NHWC inside, the layout in which XLA's convolutions on a CPU are fastest.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

LAYOUT = ("NHWC", "OIHW", "NHWC")


def linear(p, name, x):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def conv(p, name, x, stride, padding):
    pads = [(padding, padding)] * 2
    y = lax.conv_general_dilated(
        x, p[f"{name}.weight"], (stride, stride), pads, dimension_numbers=LAYOUT
    )
    return y + p[f"{name}.bias"]


def conv_transpose(p, name, x, stride, padding, output_padding):
    """The adjoint of ``conv`` in its input: strides become holes, the kernel is turned around."""
    w = p[f"{name}.weight"]  # (C, O, K, K)
    k = w.shape[-1]
    pads = [(k - 1 - padding, k - 1 - padding + output_padding)] * 2
    y = lax.conv_general_dilated(
        x, jnp.flip(w, (2, 3)).swapaxes(0, 1), (1, 1), pads, lhs_dilation=(stride, stride),
        dimension_numbers=LAYOUT,
    )  # fmt: skip
    return y + p[f"{name}.bias"]


def batch_norm(p, name, x, running, momentum=0.1, eps=1e-5):
    """Training mode; the new running statistics go into the dict ``running``."""
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    n = x.size // x.shape[-1]
    for key, now in (("running_mean", mean), ("running_var", var * n / (n - 1))):
        running[f"{name}.{key}"] = (1 - momentum) * p[f"{name}.{key}"] + momentum * now
    return (x - mean) * lax.rsqrt(var + eps) * p[f"{name}.weight"] + p[f"{name}.bias"]


def channels_first(x):
    """(N, H, W, C) -> (N, C H W), the order in which the linear layers know the features."""
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def channels_last(x, c, side):
    return x.reshape(len(x), c, side, side).transpose(0, 2, 3, 1)


def bernoulli(logits, x):
    """-log p(x|z), summed over everything."""
    return jnp.sum(jax.nn.softplus(logits) - x * logits)


def kl(mu, logvar):
    """KL(N(mu, exp(logvar)) || N(0, 1)), summed over everything."""
    return 0.5 * jnp.sum(mu**2 + jnp.expm1(logvar) - logvar)


def mlp(p, x, eps, running):
    h = jax.nn.relu(linear(p, "fc1", x.reshape(len(x), -1)))
    mu, logvar = linear(p, "fc21", h), linear(p, "fc22", h)
    z = mu + jnp.exp(0.5 * logvar) * eps
    logits = linear(p, "fc4", jax.nn.relu(linear(p, "fc3", z)))
    return bernoulli(logits, x.reshape(logits.shape)) + kl(mu, logvar)


def deep_vae(p, x, eps, running):
    h = jnp.tanh(linear(p, "encoder.body.0", x.reshape(len(x), -1)))
    h = jnp.tanh(linear(p, "encoder.body.2", h))
    mu, logvar = linear(p, "encoder.mu", h), linear(p, "encoder.logvar", h)
    z = mu + jnp.exp(0.5 * logvar) * eps
    h = jnp.tanh(linear(p, "decoder.2", jnp.tanh(linear(p, "decoder.0", z))))
    logits = linear(p, "decoder.4", h)
    sampled_kl = 0.5 * jnp.sum(z * z - eps * eps - logvar)
    return bernoulli(logits, x.reshape(logits.shape)) + sampled_kl


def conv_vae(p, x, eps, running):
    h = jax.nn.relu(conv(p, "encoder.conv1", channels_last(x, 1, 28), 2, 1))
    h = jax.nn.relu(conv(p, "encoder.conv2", h, 2, 1))
    h = linear(p, "encoder.linear", channels_first(h))
    mu, logvar = linear(p, "encoder.mu", h), linear(p, "encoder.logvar", h)
    z = mu + jnp.exp(0.5 * logvar) * eps
    h = channels_last(jax.nn.relu(linear(p, "decoder.linear", z)), 64, 7)
    h = jax.nn.relu(conv_transpose(p, "decoder.conv1", h, 2, 1, 1))
    h = jax.nn.relu(conv_transpose(p, "decoder.conv2", h, 2, 1, 1))
    logits = channels_first(conv_transpose(p, "decoder.conv3", h, 1, 1, 0))
    return bernoulli(logits, x.reshape(logits.shape)) + kl(mu, logvar)


def face_vae(p, x, eps, running):
    relu = jax.nn.relu
    size, side = x.shape[-1], x.shape[-1] // 8 - 1
    h = relu(conv(p, "encoder.conv1", channels_last(x, 3, size), 2, 1))
    h = relu(batch_norm(p, "encoder.batch2", conv(p, "encoder.conv2", h, 2, 1), running))
    h = relu(conv(p, "encoder.conv3", h, 2, 0))
    h = relu(linear(p, "encoder.linear1", channels_first(h)))
    mu, logvar = linear(p, "encoder.linear2", h), 2 * linear(p, "encoder.linear3", h)
    z = mu + jnp.exp(0.5 * logvar) * eps
    h = relu(linear(p, "decoder.decoder_lin.0", z))
    h = channels_last(relu(linear(p, "decoder.decoder_lin.2", h)), 32, side)
    name = "decoder.decoder_conv"
    h = relu(batch_norm(p, f"{name}.1", conv_transpose(p, f"{name}.0", h, 2, 0, 1), running))
    h = relu(batch_norm(p, f"{name}.4", conv_transpose(p, f"{name}.3", h, 2, 1, 1), running))
    logits = channels_first(conv_transpose(p, f"{name}.6", h, 2, 1, 1))
    rec = jnp.sum((jax.nn.sigmoid(logits) - x.reshape(logits.shape)) ** 2)
    return rec + kl(mu, logvar)


MODELS = {"MLPVAE": mlp, "DeepVAE": deep_vae, "ConvVAE": conv_vae, "FaceVAE": face_vae}


def is_buffer(name):
    return "running" in name or "num_batches" in name


def make_step(model, images, *, lr, weight_decay=0.0, eps=1e-8):
    """``step(state, index, noise) -> (state, loss)``, jitted, its state's memory reused.

    state: (parameters, buffers, m, v, step count); noise: a key, or the array eps itself.
    """
    negative_elbos = MODELS[model]

    def loss_of(parameters, buffers, x, noise):
        running = {}
        return negative_elbos(parameters | buffers, x, noise, running) / len(x), running

    @partial(jax.jit, donate_argnums=0)
    def step(state, images, index, noise):
        parameters, buffers, m, v, t = state
        x = images[index].astype(jnp.float32) / 255
        if jnp.issubdtype(noise.dtype, jax.dtypes.prng_key):
            noise = jax.random.normal(noise, (len(index), latents(parameters)))
        grad_of = jax.value_and_grad(loss_of, has_aux=True)
        (loss, running), grads = grad_of(parameters, buffers, x, noise)
        t = t + 1
        step_size, scale = lr / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)

        def adam(p, g, m, v):
            g = g + weight_decay * p
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            return p - step_size * m / (jnp.sqrt(v) / scale + eps), m, v

        new = {k: adam(parameters[k], grads[k], m[k], v[k]) for k in parameters}
        parameters, m, v = ({k: triple[i] for k, triple in new.items()} for i in range(3))
        return (parameters, buffers | running, m, v, t), loss

    def latents(parameters):
        heads = ("fc21.weight", "encoder.mu.weight", "encoder.linear2.weight")
        return next(len(parameters[name]) for name in heads if name in parameters)

    return lambda state, index, noise: step(state, images, index, noise)


def initial_state(state_dict):
    """A state for ``make_step`` from a ``state_dict``."""
    arrays = {k: jnp.asarray(v) for k, v in state_dict.items()}
    parameters = {k: v for k, v in arrays.items() if not is_buffer(k)}
    buffers = {k: v for k, v in arrays.items() if is_buffer(k)}
    zeros = [{k: jnp.zeros_like(v) for k, v in parameters.items()} for _ in range(2)]
    return parameters, buffers, *zeros, jnp.zeros((), jnp.float32)
