"""MLPVAE and ConvVAE as a Keras user writes them: layers, a gradient tape, one ``tf.function``.

Pictures are NHWC. Weights come from minivae's ``state_dict``, so that first losses can be compared.
"""

import keras
import tensorflow as tf
from keras import layers


def dense(p, name, activation=None):
    """A layer with minivae's weights."""
    return _with(
        layers.Dense(len(p[f"{name}.bias"]), activation),
        p,
        name,
        (1, 0),
        p[f"{name}.weight"].shape[1],
    )


def conv(p, name, stride):
    """3 x 3, padding 1; the weights (O, C, 3, 3) become (3, 3, C, O)."""
    layer = layers.Conv2D(len(p[f"{name}.bias"]), 3, stride, "valid", activation="relu")
    return keras.Sequential(
        [layers.ZeroPadding2D(1), _with(layer, p, name, (2, 3, 1, 0), p[f"{name}.weight"].shape[1])]
    )


def conv_transpose(p, name, stride, activation="relu"):
    """3 x 3, padding 1, the output ``stride`` times as large; (C, O, 3, 3) becomes (3, 3, O, C)."""
    layer = layers.Conv2DTranspose(
        len(p[f"{name}.bias"]), 3, stride, "valid", activation=activation
    )
    crop = layers.Cropping2D(((1, 2 - stride), (1, 2 - stride)))
    return keras.Sequential(
        [_with(layer, p, name, (2, 3, 1, 0), p[f"{name}.weight"].shape[0]), crop]
    )


def _with(layer, p, name, axes, inputs):
    layer.build((None, None, None, inputs) if len(axes) == 4 else (None, inputs))
    layer.set_weights([p[f"{name}.weight"].transpose(axes), p[f"{name}.bias"]])
    return layer


class VAE(keras.Model):
    """An encoder, two heads and a decoder of logits."""

    def __init__(self, encoder, mu, logvar, decoder):
        super().__init__()
        self.encoder, self.mu, self.logvar, self.decoder = encoder, mu, logvar, decoder

    def call(self, x, eps):
        """The loss: -log p(x|z) and the KL divergence, summed, over the batch."""
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        logits = self.decoder(mu + tf.exp(0.5 * logvar) * eps)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.reshape(x, tf.shape(logits)), logits)
        kl = 0.5 * tf.reduce_sum(mu**2 + tf.math.expm1(logvar) - logvar)
        return (tf.reduce_sum(entropy) + kl) / tf.cast(tf.shape(x)[0], tf.float32)


def mlp(p):
    """MLPVAE."""
    return VAE(
        keras.Sequential([layers.Flatten(), dense(p, "fc1", "relu")]),
        dense(p, "fc21"), dense(p, "fc22"),
        keras.Sequential([dense(p, "fc3", "relu"), dense(p, "fc4")]),
    )  # fmt: skip


def conv_vae(p):
    """ConvVAE; features are flattened channels first, as minivae's weights have them."""
    return VAE(
        keras.Sequential([
            conv(p, "encoder.conv1", 2), conv(p, "encoder.conv2", 2),
            layers.Permute((3, 1, 2)), layers.Flatten(), dense(p, "encoder.linear"),
        ]),
        dense(p, "encoder.mu"), dense(p, "encoder.logvar"),
        keras.Sequential([
            dense(p, "decoder.linear", "relu"),
            layers.Reshape((64, 7, 7)), layers.Permute((2, 3, 1)),
            conv_transpose(p, "decoder.conv1", 2), conv_transpose(p, "decoder.conv2", 2),
            conv_transpose(p, "decoder.conv3", 1, None),
        ]),
    )  # fmt: skip


def make_step(model, state, images, *, lr, compiled):
    """``step(index, eps)`` trains on ``images[index]`` (N, H, W, C), uint8; returns the loss.

    compiled: whether XLA compiles the step.
    """
    vae = {"MLPVAE": mlp, "ConvVAE": conv_vae}[model](state)
    adam = keras.optimizers.Adam(lr, epsilon=1e-8)
    images = tf.constant(images)

    @tf.function(jit_compile=compiled)
    def step(index, eps):
        x = tf.cast(tf.gather(images, index), tf.float32) / 255
        with tf.GradientTape() as tape:
            loss = vae(x, eps)
        weights = vae.trainable_variables
        adam.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    return step
