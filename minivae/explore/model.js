// The model in the page: layers as in minivae.nn, models as in minivae.models, noise as in
// minivae.noise, codes as in minivae.latent, and the one-dimensional model of docs/elbo.md.
// Names and formulas are those of the Python code. One image at a time, sums in float64.
"use strict";

// ---------------------------------------------------------------- arrays: {data, shape}
const array = (data, shape = [data.length]) => ({ data, shape });
const map = (x, f) => array(x.data.map(f), x.shape);
const sum = (values) => values.reduce((a, b) => a + b, 0);
const length = (code) => Math.hypot(...code);

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function numberOfHalf(bits) { // a float16: 1 bit sign, 5 bits exponent, 10 bits fraction
  const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}
const HALF = Float32Array.from({ length: 1 << 16 }, (_, bits) => numberOfHalf(bits));

/** An array as the exporter writes it: little-endian bytes in base64. */
function decoded({ dtype, shape, data }) {
  const bytes = bytesOf(data);
  if (dtype === "uint8") return array(bytes, shape);
  if (dtype === "float32") return array(new Float32Array(bytes.buffer), shape);
  return array(Float32Array.from(new Uint16Array(bytes.buffer), (bits) => HALF[bits]), shape);
}

// ---------------------------------------------------------------- minivae.nn
class Module {
  constructor({ settings, arrays, parts }) {
    Object.assign(this, settings);
    for (const [name, values] of Object.entries(arrays)) this[name] = decoded(values);
    this.children = Object.entries(parts).map(([name, part]) => (this[name] = build(part)));
  }
}

class Linear extends Module {
  forward(x) { // y_o = sum_i w_oi x_i + b_o
    const [O, I] = this.weight.shape, w = this.weight.data, b = this.bias?.data;
    const y = new Float64Array(O), input = x.data;
    for (let o = 0; o < O; o++) {
      let dot = 0;
      for (let i = 0, at = o * I; i < I; i++, at++) dot += w[at] * input[i];
      y[o] = dot + (b ? b[o] : 0);
    }
    return array(y);
  }
}

/** Where a kernel meets an image, row by row: the kernel's element, the first position in the larger
 * and in the smaller image, and how many positions follow. */
function meetings({ stride, padding, dilation }, [KH, KW], [H, W], [OH, OW]) {
  const element = [], large = [], small = [], count = [];
  for (let ky = 0; ky < KH; ky++) for (let kx = 0; kx < KW; kx++) for (let oy = 0; oy < OH; oy++) {
    const iy = oy * stride[0] - padding[0] + ky * dilation[0];
    const shift = kx * dilation[1] - padding[1]; // ix = ox stride + shift, to lie in [0, W)
    const first = Math.max(0, Math.ceil(-shift / stride[1]));
    const last = Math.min(OW - 1, Math.floor((W - 1 - shift) / stride[1]));
    if (iy < 0 || iy >= H || first > last) continue;
    element.push(ky * KW + kx);
    large.push(iy * W + first * stride[1] + shift);
    small.push(oy * OW + first);
    count.push(last - first + 1);
  }
  return { element, count, large: { at: large, step: stride[1] }, small: { at: small, step: 1 } };
}

/** y_o = b_o + sum_c w_oc x_c, where an element of the kernel meets a row of x ("from") and one of y
 * ("to"); the kernel of o and c begins at kernel(o, c). Four channels of x at a time, so that y is
 * read and written a quarter as often. */
function convolved(x, [O, OH, OW], { weight, bias }, kernel, { element, count }, from, to) {
  const C = x.shape[0], input = x.data, plane = input.length / C, area = OH * OW, w = weight.data;
  const y = new Float64Array(O * area);
  for (let o = 0; o < O; o++) {
    if (bias) y.fill(bias.data[o], o * area, (o + 1) * area);
    for (let c = 0; c < C; c += 4) {
      const more = Math.min(3, C - 1 - c); // channels after c; what is beyond them weighs 0
      const k0 = kernel(o, c), k1 = kernel(o, c + 1), k2 = kernel(o, c + 2), k3 = kernel(o, c + 3);
      const x0 = c * plane, x1 = x0 + Math.min(1, more) * plane;
      const x2 = x0 + Math.min(2, more) * plane, x3 = x0 + more * plane;
      for (let m = 0; m < element.length; m++) {
        const e = element[m], w0 = w[k0 + e], w1 = more > 0 ? w[k1 + e] : 0;
        const w2 = more > 1 ? w[k2 + e] : 0, w3 = more > 2 ? w[k3 + e] : 0;
        let i = from.at[m], n = o * area + to.at[m];
        for (let left = count[m]; left > 0; left--, i += from.step, n += to.step) {
          y[n] += w0 * input[x0 + i] + w1 * input[x1 + i] + w2 * input[x2 + i] + w3 * input[x3 + i];
        }
      }
    }
  }
  return array(y, [O, OH, OW]);
}

class Conv2d extends Module {
  forward(x) {
    const [O, C, KH, KW] = this.weight.shape, [, H, W] = x.shape;
    const side = (n, k, a) =>
      Math.floor((n + 2 * this.padding[a] - this.dilation[a] * (k - 1) - 1) / this.stride[a]) + 1;
    const OH = side(H, KH, 0), OW = side(W, KW, 1), kernel = (o, c) => (o * C + c) * KH * KW;
    const met = meetings(this, [KH, KW], [H, W], [OH, OW]);
    return convolved(x, [O, OH, OW], this, kernel, met, met.large, met.small);
  }
}

class ConvTranspose2d extends Module { // the adjoint: the same meetings, walked the other way
  forward(x) {
    const [, O, KH, KW] = this.weight.shape, [, H, W] = x.shape;
    const side = (n, k, a) => (n - 1) * this.stride[a] - 2 * this.padding[a]
      + this.dilation[a] * (k - 1) + this.output_padding[a] + 1;
    const OH = side(H, KH, 0), OW = side(W, KW, 1), kernel = (o, c) => (c * O + o) * KH * KW;
    const met = meetings(this, [KH, KW], [OH, OW], [H, W]);
    return convolved(x, [O, OH, OW], this, kernel, met, met.small, met.large);
  }
}

class BatchNorm2d extends Module { // in evaluation mode, with the running statistics
  forward(x) {
    const channels = x.shape[0], area = x.data.length / channels, y = new Float64Array(x.data);
    for (let c = 0; c < channels; c++) {
      const scale = this.weight.data[c] / Math.sqrt(this.running_var.data[c] + this.eps);
      const shift = this.bias.data[c] - this.running_mean.data[c] * scale;
      for (let i = c * area; i < (c + 1) * area; i++) y[i] = y[i] * scale + shift;
    }
    return array(y, x.shape);
  }
}

const relu = (x) => map(x, (v) => (v < 0 ? 0 : v));
const logistic = (v) => 1 / (1 + Math.exp(-v));
const sigmoid = (x) => map(x, logistic);
class ReLU extends Module { forward(x) { return relu(x); } }
class LeakyReLU extends Module {
  forward(x) { return map(x, (v) => (v < 0 ? this.negative_slope * v : v)); }
}
class Sigmoid extends Module { forward(x) { return sigmoid(x); } }
class Tanh extends Module { forward(x) { return map(x, Math.tanh); } }
class Flatten extends Module { forward(x) { return array(x.data); } }
class Unflatten extends Module { forward(x) { return array(x.data, this.shape); } }
class Sequential extends Module {
  forward(x) { return this.children.reduce((y, part) => part.forward(y), x); }
}

// ---------------------------------------------------------------- minivae.models
class MLPVAE extends Module {
  encode(x) {
    const h = relu(this.fc1.forward(x));
    return [this.fc21.forward(h), this.fc22.forward(h)];
  }
  decode(z) { return this.fc4.forward(relu(this.fc3.forward(z))); }
}

class ConvVAE extends Module {
  encode(x) { return this.encoder.forward(x); }
  decode(z) { return this.decoder.forward(z); }
}
class ConvEncoder extends Module {
  forward(x) {
    let h = this.linear.forward(relu(this.conv2.forward(relu(this.conv1.forward(x)))));
    if (this.bottleneck === "relu") h = relu(h);
    return [this.mu.forward(h), this.logvar.forward(h)];
  }
}
class ConvDecoder extends Module {
  forward(z) {
    const h = array(relu(this.linear.forward(z)).data, [64, 7, 7]);
    return this.conv3.forward(relu(this.conv2.forward(relu(this.conv1.forward(h)))));
  }
}

class DeepVAE extends ConvVAE {}
class Gaussian extends Module {
  forward(x) {
    const h = this.body.children.length ? this.activation.forward(this.body.forward(x)) : x;
    return [this.mu.forward(h), this.logvar.forward(h)];
  }
}

class FaceVAE extends Module {
  encode(x) {
    const [mu, logSigma] = this.encoder.forward(x);
    return [mu, map(logSigma, (v) => 2 * v)];
  }
  decode(z) { return this.decoder.forward(z); }
}
class FaceEncoder extends Module {
  forward(x) {
    let h = relu(this.batch2.forward(this.conv2.forward(relu(this.conv1.forward(x)))));
    h = relu(this.linear1.forward(relu(this.conv3.forward(h))));
    return [this.linear2.forward(h), this.linear3.forward(h)];
  }
}
class FaceDecoder extends Module {
  forward(z) {
    return this.decoder_conv.forward(this.unflatten.forward(this.decoder_lin.forward(z)));
  }
}
class ResizeConv2d extends Conv2d { // each pixel becomes 2 x 2, cut to size, then a convolution
  forward(x) {
    const [C, , W] = x.shape, S = this.size, y = new Float64Array(C * S * S);
    const from = (i) => Math.floor(i / 2);
    for (let i = 0; i < y.length; i++) {
      const c = Math.floor(i / (S * S)), row = Math.floor(i / S) % S;
      y[i] = x.data[(c * x.shape[1] + from(row)) * W + from(i % S)];
    }
    return super.forward(array(y, [C, S, S]));
  }
}

const CLASSES = {
  Linear, Conv2d, ConvTranspose2d, BatchNorm2d, ReLU, LeakyReLU, Sigmoid, Tanh, Flatten, Unflatten,
  Sequential, MLPVAE, ConvVAE, ConvEncoder, ConvDecoder, DeepVAE, Gaussian, FaceVAE, FaceEncoder,
  FaceDecoder, ResizeConv2d,
};
const build = (module) => new CLASSES[module.class](module);

/** z = mu + exp(logvar/2) eps, and KL(q(z|x) || N(0, I)) in nats. */
function reparameterizeKL(mu, logvar, eps) {
  return {
    z: Float64Array.from(mu, (m, d) => m + Math.exp(logvar[d] / 2) * eps[d]),
    kl: 0.5 * sum(Array.from(mu, (m, d) => m * m + (Math.expm1(logvar[d]) - logvar[d]))),
  };
}

/** The logarithm of the Gaussian density. */
const logNormal = (x, mean, variance) =>
  -0.5 * (Math.log(2 * Math.PI * variance) + (x - mean) ** 2 / variance);

/** -ln p(x|z) in nats, as VAE.reconstruction_loss: logits and pixels x are plain lists. */
function reconstructionLoss({ name, logvar }, logits, x) {
  let total = 0;
  for (let i = 0; i < x.length; i++) {
    const l = logits[i];
    if (name === "bernoulli") {
      total += Math.max(l, 0) - l * x[i] + Math.log1p(Math.exp(-Math.abs(l)));
    } else {
      const p = logistic(l), v = logvar && logvar[logvar.length > 1 ? i : 0];
      total += logvar ? -logNormal(x[i], p, Math.exp(v)) : (p - x[i]) ** 2;
    }
  }
  return total;
}

// ---------------------------------------------------------------- minivae.noise
function product(a, b) { // of two words: [high word, low word]
  const al = a & 0xffff, ah = a >>> 16, bl = b & 0xffff, bh = b >>> 16;
  const middle = ah * bl + ((al * bl) >>> 16), other = al * bh + (middle & 0xffff);
  return [ah * bh + Math.floor(middle / 65536) + Math.floor(other / 65536), Math.imul(a, b) >>> 0];
}

function philox4x32([x0, x1, x2, x3], [k0, k1]) {
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = product(0xd2511f53, x0), [high1, low1] = product(0xcd9e8d57, x2);
    [x0, x1, x2, x3] = [(high1 ^ x1 ^ k0) >>> 0, low1, (high0 ^ x3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [x0, x1, x2, x3];
}

class Noise {
  constructor(seed, offset) { // whole numbers below 2^64, as BigInt, number or text
    [this.seed, this.offset] = [BigInt(seed), BigInt(offset)];
  }
  normal(count) {
    const words = (n) => [Number(n & 0xffffffffn), Number(n >> 32n)];
    const key = words(this.seed), offset = words(this.offset), out = new Float64Array(count);
    for (let i = 0; i < count; i += 4) {
      const u = philox4x32([i / 4, 0, ...offset], key).map((w) => w * 2 ** -32 + 2 ** -33);
      for (let j = 0; j < 4 && i + j < count; j++) {
        const radius = Math.sqrt(-2 * Math.log(u[j & 2])), angle = 2 * Math.PI * u[(j & 2) + 1];
        out[i + j] = radius * (j & 1 ? Math.sin(angle) : Math.cos(angle));
      }
    }
    return out;
  }
}
const SAMPLING = 4n << 60n; // where the draws for pictures begin in a seed's stream

// ---------------------------------------------------------------- minivae.latent
const arithmetic = (a, b, c) => a.map((v, d) => v - b[d] + c[d]);
const fractions = (steps) => Array.from({ length: steps }, (_, i) => i / (steps - 1));
const lerp = (a, b, steps) => fractions(steps).map((t) => a.map((v, d) => (1 - t) * v + t * b[d]));

/** The great circle; null where it is undefined: a zero, or parallel or opposite vectors. */
function slerp(a, b, steps) {
  const [la, lb] = [length(a), length(b)];
  const [u, v] = [a.map((x) => x / la), b.map((x) => x / lb)];
  const sine = length(u.map((x, d) => x - v[d])), cosine = length(u.map((x, d) => x + v[d]));
  if (!(la > 0 && lb > 0 && Math.min(sine, cosine) >= 1e-7)) return null;
  const theta = 2 * Math.atan2(sine, cosine);
  return fractions(steps).map((t) => {
    const from = Math.sin((1 - t) * theta) / Math.sin(theta), to = Math.sin(t * theta) / Math.sin(theta);
    return t === 0 ? a : t === 1 ? b : u.map((x, d) => from * la * x + to * lb * v[d]);
  });
}

const traverse = (code, dim, values) => values.map((v) => code.with(dim, v));
const logPrior = (z) => sum(Array.from(z, (v) => logNormal(v, 0, 1)));

/** The standard normal distribution function (W. J. Cody's erfc would be finer; 1e-7 is enough to
 * place a point; M. Abramowitz, I. Stegun, 7.1.26) and its inverse, by halving. */
function normalCdf(z) {
  const x = Math.abs(z) / Math.SQRT2, t = 1 / (1 + 0.3275911 * x);
  const poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const tail = 0.5 * poly * Math.exp(-x * x);
  return z < 0 ? tail : 1 - tail;
}
function normalQuantile(p) {
  let low = -9, high = 9;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (normalCdf(middle) < p) low = middle; else high = middle;
  }
  return (low + high) / 2;
}

// ---------------------------------------------------------------- a drawn digit
/** Strokes, lists of points [x, y], as MNIST has its digits: 28 x 28 grey values in [0, 1], the
 * digit fitted into 20 x 20 and its centre of mass in the middle. */
function rasterise(strokes) {
  const RADIUS = 1.15, points = strokes.flat();
  if (!points.length) return new Float64Array(784);
  const [xs, ys] = [0, 1].map((axis) => points.map((p) => p[axis]));
  const span = Math.max(...xs.map((x) => x - Math.min(...xs)), ...ys.map((y) => y - Math.min(...ys)));
  const scale = (20 - 2 * RADIUS) / Math.max(span, 0.15); // a dot stays a dot
  const drawn = (dx, dy) => {
    const pixels = new Float64Array(784);
    for (const stroke of strokes) stroke.forEach((end, i) => {
      const start = stroke[Math.max(0, i - 1)];
      const [ax, ay, bx, by] = [start[0] * scale + dx, start[1] * scale + dy, end[0] * scale + dx, end[1] * scale + dy];
      const square = (bx - ax) ** 2 + (by - ay) ** 2;
      for (let y = 0; y < 28; y++) for (let x = 0; x < 28; x++) {
        const t = square && Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / square));
        const distance = Math.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay));
        const ink = Math.min(1, Math.max(0, RADIUS + 0.5 - distance));
        pixels[28 * y + x] = Math.max(pixels[28 * y + x], Math.round(255 * ink) / 255);
      }
    });
    return pixels;
  };
  const middle = (v) => (Math.min(...v) + Math.max(...v)) / 2;
  const [dx, dy] = [13.5 - middle(xs) * scale, 13.5 - middle(ys) * scale];
  const first = drawn(dx, dy), mass = sum(first);
  const centre = (of) => sum(first.map((v, i) => v * of(i))) / mass;
  return drawn(dx + 13.5 - centre((i) => i % 28), dy + 13.5 - centre((i) => Math.floor(i / 28)));
}

// ---------------------------------------------------------------- docs/elbo.md
// z ~ N(0, 1), x | z ~ N(w z, s2), x = 1.5: every integral is known.
const [W1, S2, X1] = [2, 1, 1.5];
const POSTERIOR = { mean: (W1 * X1) / (W1 * W1 + S2), variance: S2 / (W1 * W1 + S2) };
const klNormal = (m, v, m0, v0) => 0.5 * (v / v0 + (m - m0) ** 2 / v0 - 1 + Math.log(v0 / v));
const logEvidence = logNormal(X1, 0, W1 * W1 + S2);
const rec1 = (mu, sigma) => -logNormal(X1, W1 * mu, S2) + (0.5 * (W1 * sigma) ** 2) / S2;
const elbo1 = (mu, sigma) => -rec1(mu, sigma) - klNormal(mu, sigma ** 2, 0, 1);

/** L_K, the importance-weighted bound, and its standard error, from the same 200,000 draws. */
const DRAWS = new Noise(2, 0).normal(200000);
function importanceWeighted(K, mu, sigma) {
  const repeats = Math.floor(DRAWS.length / K), logW = new Float64Array(K);
  let total = 0, squares = 0;
  for (let r = 0; r < repeats; r++) {
    let top = -Infinity, weights = 0;
    for (let k = 0; k < K; k++) { // ln w = ln p(x|z) + ln p(z) - ln q(z)
      const e = DRAWS[r * K + k], z = mu + sigma * e;
      logW[k] = logNormal(X1, W1 * z, S2) - 0.5 * (z * z - e * e) + Math.log(sigma);
      top = Math.max(top, logW[k]);
    }
    for (let k = 0; k < K; k++) weights += Math.exp(logW[k] - top);
    const bound = top + Math.log(weights / K);
    total += bound;
    squares += bound * bound;
  }
  const mean = total / repeats, variance = (squares / repeats - mean * mean) / (repeats - 1);
  return { bound: mean, error: Math.sqrt(Math.max(0, variance)) };
}

// docs/gaussian-kl.md: each is pull mu^2 + of(sigma), sigma the deviation that is sampled with.
const FORMULAS = {
  right: { pull: 0.5, of: (s) => 0.5 * (s * s - 1 - 2 * Math.log(s)) },
  tutorial: { pull: 1, of: (s) => s * s - Math.log(s) - 0.5 },
  half_head: { pull: 0.5, of: (s) => 0.5 * (s - 1 - Math.log(s)) },
  unsquared: { pull: 0.5, of: (s) => 0.5 * (s - 1 - 2 * Math.log(s)) },
  log_squared: { pull: 0.5, of: (s) => 0.5 * (s * s - 1 + Math.log(s) ** 2) },
  sign: { pull: 0.5, of: (s) => 0.5 * (s * s - 1 + 2 * Math.log(s)) },
  mean: { pull: 0.5 / 20, of: (s) => FORMULAS.right.of(s) / 20 }, // over 20 latents, not their sum
};

/** The sigma where a function is least: on a grid of 1e-4 to 10, then between its neighbours. */
function leastSigma(f) {
  const step = 5 / 500, values = Array.from({ length: 501 }, (_, i) => f(10 ** (i * step - 4)));
  const best = values.indexOf(Math.min(...values));
  let low = Math.max(0, best - 1) * step - 4, high = best === 0 ? low : (best + 1) * step - 4;
  while (high - low > 1e-9) {
    const [a, b] = [low + (high - low) / 3, high - (high - low) / 3];
    if (f(10 ** a) < f(10 ** b)) high = b; else low = a;
  }
  return 10 ** low;
}

/** Where rec + beta times a formula is least; sigma 1e-4 where it wants none. */
const optimum = ({ pull, of }, beta) => ({
  mu: (W1 * X1) / (W1 * W1 + 2 * pull * beta * S2),
  sigma: leastSigma((s) => (0.5 * (W1 * s) ** 2) / S2 + beta * of(s)),
});
