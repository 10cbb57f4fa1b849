// The three views. They share one model, one picture and one code z; whatever changes one of these
// asks for a new drawing of the view that is seen.

const $ = (id) => document.getElementById(id);
const served = JSON.parse($("served").textContent);
const token = new URLSearchParams(location.search).get("token");
let run, model, images = [];
let version = 0; // counts the weights that a watched training brings

const state = {
  view: "latents",
  z: null, // the code that is decoded
  base: null, // z without the attribute sliders
  eps: null, // the noise that z was sampled with; null where z is no sample of q(z|x)
  picture: null, // {pixels(), name}; then, once encoded, {x, mu, logvar}
  draws: 0n, // samples drawn so far
  history: [], // rec and KL of the samples of this picture
};

// ---------------------------------------------------------------- HTML and SVG
function element(name, attributes = {}, ...children) {
  const made = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const fixed = (value, digits = 2) => (Number.isFinite(value) ? value.toFixed(digits) : "none");
const nats = (value) => `${fixed(value, Math.abs(value) < 1 ? 4 : 2)} nats`;

function say(text) { // to screen readers, once it stays so for a while
  clearTimeout(say.timer);
  say.timer = setTimeout(() => ($("spoken").textContent = text), 700);
}

function notice(text) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
}

function slider(parent, { label, note = "", min, max, step, value, digits = 2, share, spoken }, changed) {
  const input = element("input", { type: "range", min, max, step, value });
  const shown = element("span", { class: "value" });
  const row = element("label", { class: "slider" }, element("span", {}, label),
    element("span", { class: "note" }, note), shown, input);
  if (share !== undefined) {
    const bar = element("span");
    bar.style.width = `${100 * share}%`;
    row.append(element("span", { class: "information", "aria-hidden": "true" }, bar));
  }
  const show = (v) => {
    input.value = v;
    shown.textContent = spoken ? spoken(v) : fixed(v, digits);
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => { show(+input.value); changed(+input.value); });
  show(value);
  parent.append(row);
  return { show, input };
}

/** Pixels (C, H, W) in [0, 1] on a canvas of their size. */
function paint(canvas, pixels) {
  const [channels, height, width] = run.shape, area = height * width;
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = 255 * pixels[channels === 3 ? c * area + i : i];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const pixelsOf = (logits) => Float32Array.from(logits, logistic);
const decode = async (z) => pixelsOf(await model.decode(z));

/** A row of decoded codes, each a button that makes its code the page's. */
async function paintStrip(strip, codes, names, visible = true) {
  const key = `${version} ${codes.map((code) => Array.from(code).join()).join(";")}`;
  if (strip.dataset.key === key) return;
  while (strip.children.length < codes.length) {
    const text = element("span"), button = element("button", { class: "tile" }, element("canvas"), text);
    button.addEventListener("click", () => setLatents(button.code));
    text.hidden = !visible;
    strip.append(button);
  }
  for (const [i, code] of codes.entries()) {
    const [canvas, text] = strip.children[i].children;
    strip.children[i].code = code;
    strip.children[i].setAttribute("aria-label", `${names[i]}: take its code`);
    text.textContent = names[i];
    paint(canvas, await decode(code));
  }
  strip.dataset.key = key;
}

function ticks(low, high, count = 5) {
  const rough = (high - low) / count, unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * unit).find((s) => s >= rough);
  const first = Math.ceil(low / step - 1e-9);
  const found = [];
  for (let i = first; i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found.map((value) => [value, String(+value.toPrecision(6))]);
}

/** Lines [{points: [[x, y], ...], class}] with axes; y and x are [low, high], found if not given. */
function chart(svg, { lines, marks = [], x, y, xlabel, ylabel, label, height = 210 }) {
  const all = lines.flatMap((line) => line.points).filter((p) => p.every(Number.isFinite));
  const range = (axis) => {
    const values = all.map((p) => p[axis]), low = Math.min(...values), high = Math.max(...values);
    const room = (high - low || Math.abs(high) || 1) * (axis ? 0.06 : 0.02);
    return [low - room, high + room];
  };
  [x, y] = [x ?? range(0), y ?? range(1)];
  const [left, right, top, bottom] = [62, 410, 8, height - 34];
  const px = (v) => left + ((v - x[0]) / (x[1] - x[0])) * (right - left);
  const py = (v) => bottom - ((v - y[0]) / (y[1] - y[0])) * (bottom - top);
  const text = (at, anchor, words, more = {}) =>
    element("svg:text", { x: at[0], y: at[1], "text-anchor": anchor, ...more }, words);
  const inside = element("svg:svg", { x: left, y: top, width: right - left, height: bottom - top,
    viewBox: `${left} ${top} ${right - left} ${bottom - top}`, overflow: "hidden" });
  for (const line of lines) {
    const d = line.points.filter((p) => p.every(Number.isFinite))
      .map(([a, b], i) => `${i ? "L" : "M"}${px(a).toFixed(2)} ${py(b).toFixed(2)}`).join("");
    const group = element("svg:g", { class: line.class }, element("svg:path", { class: "line", d }));
    if (line.dots) for (const [a, b] of line.points) {
      group.append(element("svg:circle", { class: "mark", cx: px(a), cy: py(b), r: 3.5 }));
    }
    inside.append(group);
  }
  for (const { at: [a, b], class: name } of marks) {
    inside.append(element("svg:g", { class: name },
      element("svg:circle", { class: "mark", cx: px(a), cy: py(b), r: 5 })));
  }
  svg.setAttribute("viewBox", `0 0 420 ${height}`);
  svg.setAttribute("aria-label", label);
  svg.replaceChildren(
    ...ticks(...y, Math.max(2, Math.round(height / 45))).flatMap(([v, t]) => [
      element("svg:line", { class: "axis", x1: left, x2: right, y1: py(v), y2: py(v) }),
      text([left - 6, py(v) + 4], "end", t)]),
    ...ticks(...x, 6).map(([v, t]) => text([px(v), bottom + 15], "middle", t)),
    inside,
    text([(left + right) / 2, height - 5], "middle", xlabel),
    text([12, (top + bottom) / 2], "middle", ylabel, { transform: `rotate(-90 12 ${(top + bottom) / 2})` }),
  );
}

// ---------------------------------------------------------------- model and drawing
/** The model in the page; or with the server, where it is too large for one; or none. */
function modelOf(description) {
  if (description) {
    const local = build(description);
    return {
      encode: async (x) => local.encode(array(x, run.shape)).map((a) => a.data),
      decode: async (z) => local.decode(array(z)).data,
    };
  }
  if (served) {
    return {
      encode: async (x) => {
        const both = await ask("encode", x), D = run.latent_dim;
        return [both.slice(0, D), both.slice(D)];
      },
      decode: (z) => ask("decode", z),
    };
  }
  notice(`This model's ${run.about.parameters.toLocaleString("en")} parameters are too many for a file: `
    + "minivae explore RUN serves the page, and then its pictures are decoded.");
  const [C, H, W] = run.shape, zeros = (n) => new Float64Array(n);
  return { encode: async () => [zeros(run.latent_dim), zeros(run.latent_dim)], decode: async () => zeros(C * H * W) };
}

async function ask(what, values) {
  const response = await fetch(`${what}?token=${token}`, { method: "POST", body: Float32Array.from(values) });
  if (!response.ok) throw new Error(`${what}: the server answered ${response.status}`);
  return new Float32Array(await response.arrayBuffer());
}

let queued = false, work = Promise.resolve();
/** Draw the view that is seen, once what is being drawn is done; many calls make one drawing. */
function refresh() {
  if (queued) return;
  queued = true;
  work = work.then(() => new Promise(requestAnimationFrame)).then(async () => {
    queued = false;
    await encodePicture();
    await VIEWS[state.view]();
  }).catch((error) => { notice(String(error.message ?? error)); console.error(error); });
}

function setLatents(z) {
  takeCode(z, null);
  refresh();
}

function takeCode(z, eps) {
  state.z = state.base = Float64Array.from(z);
  state.eps = eps;
  attributeSliders.forEach((one) => { one.strength = 0; one.show(0); });
}

function setPicture(pixels, name) {
  state.picture = { pixels, name };
  state.history = [];
  state.sampling = true;
  refresh();
}

/** Encode the picture if it is new, and sample z from q(z|x) if that was asked for. */
async function encodePicture() {
  const { picture } = state;
  if (!picture) return;
  if (picture.version !== version) {
    picture.x = picture.pixels();
    [picture.mu, picture.logvar] = await model.encode(picture.x);
    picture.version = version;
    state.sampling ||= state.eps !== null;
  }
  if (state.sampling) {
    state.sampling = false;
    const eps = new Noise(run.seed, SAMPLING + state.draws).normal(run.latent_dim);
    takeCode(reparameterizeKL(picture.mu, picture.logvar, eps).z, eps);
    const { rec, kl } = await terms();
    state.history.push(-rec - kl);
  }
}

/** rec at the current z, and the KL of the picture's q(z|x), in nats. */
async function terms() {
  const { x, mu, logvar } = state.picture;
  const rec = reconstructionLoss(run.likelihood, await model.decode(state.z), x);
  return { rec, kl: reparameterizeKL(mu, logvar, mu).kl };
}

// ---------------------------------------------------------------- Latents
let latentSliders = [];

function buildSliders() {
  const order = run.kl_per_latent.map((kl, d) => [kl, d]).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  const most = Math.max(order[0][0], 1e-9), more = $("more-sliders");
  const places = [$("sliders"), more.querySelector("div")];
  places.forEach((place) => place.replaceChildren());
  more.hidden = order.length <= 24;
  latentSliders = [];
  order.forEach(([kl, d], rank) => {
    const options = { label: `z${d}`, note: `${fixed(kl)} nats`, min: -4, max: 4, step: 0.01, value: state.z[d], share: kl / most };
    latentSliders[d] = slider(places[+(rank >= 24)], options, (v) => setLatents(state.z.with(d, v)));
  });
}

async function latentsView() {
  const { z } = state, D = run.latent_dim;
  latentSliders.forEach((one, d) => one.show(z[d]));
  paint($("decoded"), await decode(z));
  $("length").textContent = fixed(length(z));
  $("typical").textContent = fixed(Math.sqrt(D));
  $("density").textContent = nats(logPrior(z));
  say(`length of z ${fixed(length(z))}, density ${nats(logPrior(z))}`);
  if (D === 2) drawPlane();
  const eps = samples.map((draw) => new Noise(run.seed, SAMPLING + draw).normal(D));
  await paintStrip($("samples"), eps, samples.map((_, i) => `sample ${i + 1}`), false);
}

let samples = Array.from({ length: 8 }, (_, i) => (1n << 32n) + BigInt(i));
$("more-samples").addEventListener("click", () => {
  samples = samples.map((draw) => draw + 8n);
  refresh();
});
$("zero").addEventListener("click", () => setLatents(new Float64Array(run.latent_dim)));
$("random").addEventListener("click", () =>
  setLatents(new Noise(run.seed, SAMPLING + (1n << 40n) + state.draws++).normal(run.latent_dim)));

// The plane of two latents: 400 x 400, the second latent upwards.
const plane = { extent: 3.5 };
const quantiles = () => $("plane-scale").value === "quantile";
const toPlane = (v) => 400 * (quantiles() ? normalCdf(v) : (v + plane.extent) / (2 * plane.extent));
function fromPlane(u) {
  const share = Math.min(0.999, Math.max(0.001, u / 400));
  return quantiles() ? normalQuantile(share) : (2 * share - 1) * plane.extent;
}
const planePoint = ([a, b]) => `${toPlane(a).toFixed(1)} ${(400 - toPlane(b)).toFixed(1)}`;
const circleAt = ([a, b], ra, rb) => `M${Array.from({ length: 73 }, (_, i) => {
  const angle = (i * Math.PI) / 36;
  return planePoint([a + ra * Math.cos(angle), b + rb * Math.sin(angle)]);
}).join("L")}Z`;

/** All of the plane but the code and the ellipse. */
function buildPlane() {
  $("plane-card").hidden = run.latent_dim !== 2;
  if (run.latent_dim !== 2) return;
  const codes = run.plane ? decoded(run.plane.codes).data : [], classes = run.plane ? decoded(run.plane.classes).data : [];
  const farthest = Array.from(codes, Math.abs).sort((a, b) => a - b)[Math.floor(0.995 * codes.length)] ?? 0;
  plane.extent = Math.min(6, Math.max(3.2, farthest));
  const dots = [];
  for (let i = 0; i < classes.length; i++) {
    dots[classes[i]] = `${dots[classes[i]] ?? ""}M${planePoint([codes[2 * i], codes[2 * i + 1]])}h0`;
  }
  const points = element("svg:g", { class: "codes", id: "codes" });
  $("classes").replaceChildren();
  dots.forEach((d, k) => {
    const path = element("svg:path", { d }), item = element("li", { class: "dot" }, `${run.plane.kind} ${k}`);
    path.style.stroke = `var(--class${k % 10})`;
    item.style.setProperty("--dot", `var(--class${k % 10})`);
    points.append(path);
    $("classes").append(item);
  });
  const contours = [0.5, 0.9, 0.99].flatMap((mass) => {
    const radius = Math.sqrt(-2 * Math.log(1 - mass)); // of the disc with this share of N(0, I)
    return [element("svg:path", { class: "contour", d: circleAt([0, 0], radius, radius) }),
      element("svg:text", { class: "on-dark", "text-anchor": "middle", x: 200, y: 400 - toPlane(radius) + 4 }, `${100 * mass} %`)];
  });
  const axes = [0.01, 0.1, 0.5, 0.9, 0.99].flatMap((p) => {
    const at = toPlane(normalQuantile(p)), label = String(+normalQuantile(p).toFixed(2) || 0);
    return [element("svg:text", { class: "on-dark", x: at, y: 394, "text-anchor": "middle" }, label),
      element("svg:text", { class: "on-dark", x: 4, y: 404 - at }, label)];
  });
  $("plane").replaceChildren(points, ...contours, ...axes, element("svg:path", { class: "halo" }),
    element("svg:path", { class: "posterior" }), element("svg:circle", { class: "halo", r: 7 }),
    element("svg:circle", { class: "here", r: 7 }));
  $("plane-legend").textContent = "Circles hold 50, 90 and 99 % of the prior; numbers are its quantiles "
    + "at 1, 10, 50, 90 and 99 %. Yellow: q(z|x) of the chosen picture, one and two deviations.";
  showLayers();
  drawTiles();
}

function drawPlane() {
  const [halo, posterior] = $("plane").querySelectorAll("path.halo, path.posterior");
  const { picture, z } = state;
  const deviations = picture ? Array.from(picture.logvar, (l) => Math.exp(l / 2)) : [];
  const d = picture ? [1, 2].map((k) => circleAt(picture.mu, k * deviations[0], k * deviations[1])).join("") : "";
  for (const path of [halo, posterior]) path.setAttribute("d", d);
  for (const circle of $("plane").querySelectorAll("circle")) {
    circle.setAttribute("cx", toPlane(z[0]));
    circle.setAttribute("cy", 400 - toPlane(z[1]));
  }
}

/** The decoded plane behind it all, some pictures between other work, while it can be seen. */
async function drawTiles() {
  const [, height, width] = run.shape, n = 18, canvas = $("tiles"), turn = {};
  [drawTiles.turn, drawTiles.done] = [turn, false];
  if (run.latent_dim !== 2 || !run.model || !$("show-tiles").checked) return;
  [canvas.width, canvas.height] = [n * width, n * height];
  const piece = element("canvas"), context = canvas.getContext("2d");
  for (let row = 0; row < n; row++) for (let column = 0; column < n; column++) {
    if (column % 6 === 0) await new Promise((resume) => setTimeout(resume));
    if (drawTiles.turn !== turn || state.view !== "latents") return; // another drawing, or none
    const at = (i) => fromPlane((400 * (i + 0.5)) / n);
    paint(piece, await decode([at(column), at(n - 1 - row)]));
    context.drawImage(piece, column * width, row * height);
  }
  drawTiles.done = true;
}

function showLayers() {
  $("tiles").hidden = !$("show-tiles").checked || !run.model;
  $("codes").style.display = $("show-codes").checked ? "" : "none";
}
$("show-codes").addEventListener("change", showLayers);
$("show-tiles").addEventListener("change", () => { showLayers(); drawTiles(); });
$("plane-scale").addEventListener("change", () => { buildPlane(); refresh(); });
$("plane").addEventListener("pointerdown", (event) => { $("plane").setPointerCapture(event.pointerId); drag(event); });
$("plane").addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
function drag(event) {
  const box = $("plane").getBoundingClientRect();
  setLatents([fromPlane((400 * (event.clientX - box.left)) / box.width),
    fromPlane((400 * (box.bottom - event.clientY)) / box.height)]);
}
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
$("plane").addEventListener("keydown", (event) => {
  const move = ARROWS[event.key];
  if (!move) return;
  event.preventDefault();
  setLatents(state.z.map((v, d) => v + move[d] * (event.shiftKey ? 0.5 : 0.1)));
});

// ---------------------------------------------------------------- Pictures
let attributeSliders = [];

function buildPictures() {
  const gallery = $("gallery"), found = run.pictures;
  $("no-pictures").hidden = found !== null;
  $("draw-card").hidden = run.shape.join() !== "1,28,28";
  gallery.hidden = !found;
  gallery.classList.toggle("colour", run.shape[0] === 3);
  if (found) {
    const pixels = decoded(found.pixels).data, area = pixels.length / found.names.length;
    images = found.names.map((name, i) => Float64Array.from(pixels.subarray(i * area, (i + 1) * area), (v) => v / 255));
    gallery.replaceChildren(...images.map((x, i) => {
      const name = pictureName(i), input = element("input", { type: "radio", name: "picture", "aria-label": name });
      input.addEventListener("change", () => setPicture(() => x, name));
      const canvas = element("canvas");
      paint(canvas, x);
      return element("label", { title: name }, input, canvas);
    }));
  }
  buildChoices();
  $("dim").replaceChildren(...run.kl_per_latent.map((kl, d) => element("option", { value: d }, `z${d} (${fixed(kl)} nats)`)));
  $("dim").value = run.kl_per_latent.indexOf(Math.max(...run.kl_per_latent));
}
const pictureName = (i) => `picture ${i + 1}${run.pictures.names[i] ? `: ${run.pictures.names[i]}` : ""}`;

function buildChoices() {
  const groups = run.groups.map(({ name }, i) => element("option", { value: `g${i}` }, name));
  const shown = (run.pictures?.names ?? []).map((_, i) => element("option", { value: `p${i}` }, pictureName(i)));
  const defaults = groups.length >= 8 ? ["g7", "g1", "g4"] : groups.length >= 3 ? ["g0", "g1", "g2"]
    : shown.length >= 3 ? ["p0", "p1", "p2"] : ["z", "z", "z"];
  $("choices").replaceChildren(...["A", "B", "C"].map((letter, i) => {
    const select = element("select", { id: `choice-${letter}` }, element("option", { value: "z" }, "the code z now"));
    if (groups.length) select.append(element("optgroup", { label: "mean codes" }, ...groups.map((o) => o.cloneNode(true))));
    if (shown.length) select.append(element("optgroup", { label: "pictures" }, ...shown.map((o) => o.cloneNode(true))));
    select.value = defaults[i];
    select.addEventListener("change", refresh);
    return element("label", {}, letter, select);
  }));
}

/** The code of a choice: z itself, a mean code, or a picture's mu. */
async function codeOf(letter) {
  const choice = $(`choice-${letter}`).value, i = +choice.slice(1);
  if (choice === "z") return state.z;
  if (choice[0] === "g") return Float64Array.from(decoded(run.groups[i].code).data);
  return Float64Array.from((await model.encode(images[i]))[0]);
}

function buildAttributes() {
  $("attributes-card").hidden = !run.vectors.length;
  $("attributes").replaceChildren();
  attributeSliders = run.vectors.map(({ name, code }) => {
    const one = { vector: decoded(code).data, strength: 0 };
    const made = slider($("attributes"), { label: name, min: -3, max: 3, step: 0.05, value: 0 }, (strength) => {
      one.strength = strength;
      state.z = state.base.map((v, d) => v + sum(attributeSliders.map((a) => a.strength * a.vector[d])));
      state.eps = null;
      refresh();
    });
    return Object.assign(one, made);
  });
}

async function picturesView() {
  const { picture, z } = state;
  paint($("reconstruction"), await decode(z));
  if (picture) {
    paint($("input"), picture.x);
    const { rec, kl } = await terms(), sampled = state.eps !== null;
    const dimensions = picture.x.length, gaussian = run.likelihood.name.startsWith("gaussian");
    const bits = (rec + kl + (gaussian ? dimensions * Math.log(256) : 0)) / (dimensions * Math.LN2);
    const none = "z is no sample";
    $("rec").textContent = run.likelihood.name === "squared-error" ? fixed(rec) : nats(rec);
    $("kl").textContent = nats(kl);
    $("elbo").textContent = sampled ? nats(-rec - kl) : none;
    $("bits").textContent = run.likelihood.name === "squared-error" ? "none" : sampled ? fixed(bits, 4) : none;
    $("drawn-from").textContent = `${picture.name}; ${sampled ? `sample ${state.draws + 1n}` : "z was set by hand"}`;
    say(`rec ${fixed(rec)}, KL ${fixed(kl)}`);
    chart($("history"), {
      lines: [{ points: state.history.map((v, i) => [i + 1, v]), class: "line1", dots: true }], height: 120,
      xlabel: "samples of z for this picture", ylabel: "ELBO", x: [0.5, Math.max(8, state.history.length) + 0.5],
      label: `ELBO of each sample: ${state.history.map((v) => fixed(v)).join(", ")}`,
    });
  }
  const [a, b, c] = await Promise.all(["A", "B", "C"].map(codeOf));
  const steps = Array.from({ length: 6 }, (_, i) => (i === 0 ? "A" : i === 5 ? "B" : `step ${i}`));
  await paintStrip($("line"), lerp(a, b, 6), steps);
  const circle = slerp(a, b, 6);
  if (circle) await paintStrip($("circle"), circle, steps);
  $("circle").hidden = !circle;
  $("no-circle").hidden = circle !== null;
  await paintStrip($("arithmetic"), [a, b, c, arithmetic(a, b, c)], ["A", "B", "C", "A - B + C"]);
  const values = [-3, -2, -1, 0, 1, 2, 3];
  await paintStrip($("traversal"), traverse(z, +$("dim").value, values), values.map(String));
}
$("dim").addEventListener("change", refresh);
$("resample").addEventListener("click", () => { state.draws++; state.sampling = true; refresh(); });
$("take-mean").addEventListener("click", () => state.picture?.mu && setLatents(state.picture.mu));

// The drawing area: strokes in units of its side.
const drawing = { strokes: [], pen: [0.5, 0.5], down: false };
function drawingChanged() {
  const context = $("drawing").getContext("2d"), side = 280;
  context.fillStyle = "#000";
  context.fillRect(0, 0, side, side);
  Object.assign(context, { strokeStyle: "#fff", lineWidth: 20, lineCap: "round", lineJoin: "round" });
  if (!drawing.strokes.length) {
    Object.assign(context, { fillStyle: "#8d98a5", font: "18px system-ui, sans-serif", textAlign: "center" });
    context.fillText("draw here", side / 2, side / 2);
  }
  for (const stroke of drawing.strokes) {
    context.beginPath();
    for (const [x, y] of [stroke[0], ...stroke]) context.lineTo(x * side, y * side);
    context.stroke();
  }
  if (drawing.keys) {
    Object.assign(context, { strokeStyle: drawing.down ? "#ffd54a" : "#8ab2ff", lineWidth: 3 });
    context.beginPath();
    context.arc(drawing.pen[0] * side, drawing.pen[1] * side, 12, 0, 2 * Math.PI);
    context.stroke();
  }
}
function drawTo(point) {
  const stroke = drawing.strokes.at(-1), last = stroke.at(-1);
  if (last && length([point[0] - last[0], point[1] - last[1]]) < 0.012) return;
  stroke.push(point);
  drawingChanged();
  const strokes = drawing.strokes.map((s) => [...s]), binary = run.about.binarize !== "none";
  setPicture(() => rasterise(strokes).map((v) => (binary ? Math.round(v) : v)), "your drawing");
  for (const input of document.querySelectorAll("#gallery input:checked")) input.checked = false;
}
function clearDrawing() {
  drawing.strokes = [];
  drawing.down = false;
  drawingChanged();
}
const at = (event) => {
  const box = $("drawing").getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
};
$("drawing").addEventListener("pointerdown", (event) => {
  $("drawing").setPointerCapture(event.pointerId);
  drawing.keys = false;
  drawing.strokes.push([]);
  drawTo(at(event));
});
$("drawing").addEventListener("pointermove", (event) => { if (event.buttons && drawing.strokes.length) drawTo(at(event)); });
$("drawing").addEventListener("keydown", (event) => {
  const move = ARROWS[event.key];
  if (!move && event.key !== " " && event.key !== "Delete") return;
  event.preventDefault();
  drawing.keys = true;
  if (event.key === "Delete") return clearDrawing();
  if (event.key === " " && (drawing.down = !drawing.down)) drawing.strokes.push([]);
  if (move) drawing.pen = drawing.pen.map((v, i) => Math.min(1, Math.max(0, v + 0.04 * (i ? -move[i] : move[i]))));
  if (drawing.down) drawTo([...drawing.pen]); else drawingChanged();
  say(`pen ${drawing.down ? "down" : "up"} at ${drawing.pen.map((v) => Math.round(100 * v)).join(", ")}`);
});
$("clear").addEventListener("click", clearDrawing);

// ---------------------------------------------------------------- The loss
const KS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
const q = { mu: 0, sigma: 0, distance: 0, beta: 1, K: 0, formula: "right" };
const qSliders = {};

function buildLoss() {
  const set = (name, also = () => {}) => (value) => { q[name] = value; also(); refresh(); };
  const between = () => { // from the true posterior (0) to the prior (1)
    q.mu = (1 - q.distance) * POSTERIOR.mean;
    q.sigma = POSTERIOR.variance ** ((1 - q.distance) / 2);
  };
  q.distance = 0.6;
  between();
  const place = $("q-sliders"), add = (name, options, also) =>
    (qSliders[name] = slider(place, { ...options, value: q[name] }, set(name, also)));
  add("distance", { label: "q, from the true posterior (0) to the prior (1)", min: 0, max: 1.5, step: 0.01 }, between);
  add("mu", { label: "mu", min: -2, max: 3, step: 0.01 });
  add("sigma", { label: "sigma", min: 0.05, max: 2.5, step: 0.01 });
  add("beta", { label: "beta, the weight of the KL", min: 0, max: 8, step: 0.1 });
  add("K", { label: "K, samples of the importance-weighted bound", min: 0, max: 9, step: 1, spoken: (i) => String(KS[i]) });
  const texts = {
    right: ["1/2 (mu² + sigma² - 1 - 2 ln sigma)", "right: least, and 0, at mu 0 and sigma 1"],
    tutorial: ["mu² + sigma² - ln sigma - 1/2", "a forgotten 1/2 on the squares: too narrow, mu pulled twice as hard"],
    half_head: ["1/2 (mu² + sigma - 1 - ln sigma)", "log sigma taken for a log variance: half the guard against sigma to 0"],
    unsquared: ["1/2 (mu² + sigma - 1 - 2 ln sigma)", "the square forgotten: the prior seems to have sigma 2; negative"],
    log_squared: ["1/2 (mu² + sigma² - 1 + (ln sigma)²)", "(ln sigma)² for -2 ln sigma: too narrow, negative"],
    sign: ["1/2 (mu² + sigma² - 1 + 2 ln sigma)", "a sign: rewards sigma to 0, an autoencoder with extra steps"],
    mean: ["the right one / 20", "mean over 20 latents for the sum: beta is 1/20 and nobody knows"],
  };
  $("formulas").replaceChildren(...Object.entries(texts).map(([name, [formula, words]]) => {
    const input = element("input", { type: "radio", name: "formula", value: name });
    input.checked = name === q.formula;
    input.addEventListener("change", () => set("formula")(name));
    return element("label", {}, input, element("span", {}, element("code", {}, formula), element("small", {}, words)));
  }));
  $("take-optimum").addEventListener("click", () => {
    const { mu, sigma } = optimum(FORMULAS[q.formula], q.beta);
    Object.assign(q, { mu, sigma: Math.max(sigma, 0.05) });
    refresh();
  });
}

const grid = (low, high, count) => Array.from({ length: count + 1 }, (_, i) => low + ((high - low) * i) / count);

function lossView() {
  for (const [name, one] of Object.entries(qSliders)) one.show(q[name]);
  const { mu, sigma, beta } = q, K = KS[q.K], elbo = elbo1(mu, sigma), gap = logEvidence - elbo;
  const density = (m, v) => grid(-3.5, 3.5, 200).map((z) => [z, Math.exp(logNormal(z, m, v))]);
  chart($("densities"), {
    lines: [{ points: density(0, 1), class: "line3 dotted" }, { points: density(POSTERIOR.mean, POSTERIOR.variance), class: "line2 dashed" },
      { points: density(mu, sigma * sigma), class: "line1" }],
    y: [0, 1.2], xlabel: "z", ylabel: "density", height: 190,
    label: `q is N(${fixed(mu)}, ${fixed(sigma)} squared); the true posterior N(0.6, 0.45 squared); the prior N(0, 1)`,
  });
  const { bound, error } = importanceWeighted(K, mu, sigma);
  $("evidence").textContent = `${fixed(logEvidence, 4)} nats`;
  $("elbo1").textContent = `${fixed(elbo, 4)} nats`;
  $("gap").textContent = `${fixed(gap, 4)} nats`;
  $("loss1").textContent = `${fixed(rec1(mu, sigma), 3)} + ${fixed(beta, 1)} x ${fixed(klNormal(mu, sigma ** 2, 0, 1), 3)}`;
  $("bound").textContent = `${fixed(bound, 4)} ± ${fixed(error, 4)} nats`;
  drawBar(elbo, bound, K);
  const formula = FORMULAS[q.formula], sigmas = grid(0.02, 3, 200);
  const curve = ({ of }) => sigmas.map((s) => [s, of(s)]);
  const least = leastSigma(formula.of), best = optimum(formula, beta), vanishes = (s) => s < 2e-4;
  chart($("formula"), {
    lines: [{ points: curve(FORMULAS.right), class: "line2 dashed" }, { points: curve(formula), class: "line1" }],
    marks: vanishes(least) ? [] : [{ at: [least, formula.of(least)], class: "line1" }],
    x: [0, 3], y: [-0.7, 2.2], xlabel: "sigma", ylabel: "nats",
    label: `the chosen formula is least at sigma ${fixed(least)}; the right one at 1`,
  });
  $("least").textContent = vanishes(least) ? "0, where it is minus infinity" : `${fixed(least, 3)}, where it is ${fixed(formula.of(least), 3)}`;
  $("optimal-q").textContent = `N(${fixed(best.mu, 3)}, ${vanishes(best.sigma) ? "0" : fixed(best.sigma, 3)}²)`;
  $("optimal-elbo").textContent = vanishes(best.sigma) ? "minus infinity" : `${fixed(elbo1(best.mu, best.sigma), 4)} nats`;
  say(`ELBO ${fixed(elbo)}, gap ${fixed(gap)}`);
}

/** The evidence as a bar that ELBO and gap share; it begins at -5 nats, where there is room. */
function drawBar(elbo, bound, K) {
  const low = -5, x = (v) => 10 + (400 * (Math.max(low, v) - low)) / (logEvidence - low), split = x(elbo);
  const words = (at, y, text, more = {}) => element("svg:text", { x: at, y, ...more }, text);
  const bar = $("bar");
  bar.setAttribute("viewBox", "0 0 420 92");
  bar.setAttribute("aria-label", `evidence ${fixed(logEvidence)} nats, of which ELBO ${fixed(elbo)} and gap ${fixed(logEvidence - elbo)}`);
  bar.replaceChildren(
    element("svg:rect", { class: "bar-elbo", x: 10, y: 24, width: split - 10, height: 30 }),
    element("svg:rect", { class: "bar-gap", x: split, y: 24, width: Math.max(0, 410 - split), height: 30 }),
    ...(split > 80 ? [words(18, 44, "ELBO", { class: "bar-text" })] : []),
    ...(split < 360 ? [words(402, 44, "gap", { class: "bar-text", "text-anchor": "end" })] : []),
    ...ticks(low, logEvidence - 0.5, 4).map(([v, t]) => words(x(v), 72, t, { "text-anchor": "middle" })),
    words(410, 72, `ln p(x)`, { "text-anchor": "end" }),
    element("svg:path", { class: "axis", d: `M${x(bound)} 18V60` }),
    element("svg:path", { class: "line", d: `M${x(bound)} 20V58` }),
    words(Math.min(x(bound), 395), 14, `L${K}`, { "text-anchor": "middle" }),
    words(210, 88, "nats", { "text-anchor": "middle" }),
  );
}

function buildRun() {
  const rows = run.metrics;
  $("no-metrics").hidden = rows.length > 0;
  $("curves").hidden = !rows.length;
  for (const part of rows.length ? ["loss", "rec", "kl"] : []) {
    const of = (kind) => rows.map((row) => [row.epoch, row[`${kind}_${part}`]]), last = rows.at(-1);
    chart($(`curve-${part}`), {
      lines: [{ points: of("train"), class: "line1", dots: rows.length < 30 }, { points: of("test"), class: "line2 dashed", dots: rows.length < 30 }],
      xlabel: "epoch", ylabel: part === "kl" ? "KL" : part,
      label: `${part} over ${rows.length} epochs, at last ${fixed(last[`train_${part}`])} in training and ${fixed(last[`test_${part}`])} in testing`,
    });
  }
  const names = Object.keys(rows[0] ?? {}), whole = (name) => ["epoch", "step", "active_units"].includes(name);
  names.sort((a, b) => (b === "epoch") - (a === "epoch"));
  $("metrics").replaceChildren(
    element("thead", {}, element("tr", {}, ...names.map((n) => element("th", { scope: "col" }, n.replaceAll("_", " "))))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...names.map((n) => element("td", {}, fixed(row[n], whole(n) ? 0 : 2)))))));
  $("options").replaceChildren(...run.options.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

// ---------------------------------------------------------------- the whole page
const VIEWS = { latents: latentsView, pictures: picturesView, loss: lossView };

function show(view) {
  state.view = view;
  for (const name of Object.keys(VIEWS)) {
    $(name).hidden = name !== view;
    $(`tab-${name}`).setAttribute("aria-selected", name === view);
    $(`tab-${name}`).tabIndex = name === view ? 0 : -1;
  }
  if (view === "latents" && !drawTiles.done) drawTiles();
  refresh();
}
Object.keys(VIEWS).forEach((name, i, names) => {
  $(`tab-${name}`).addEventListener("click", () => show(name));
  $(`tab-${name}`).addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = names.at((i + step) % names.length);
    show(next);
    $(`tab-${next}`).focus();
  });
});
$("theme").addEventListener("change", () => (document.documentElement.dataset.theme = $("theme").value));

/** Take in a run: at first, and whenever a training that is watched has newer weights. */
function load(found) {
  const first = run === undefined;
  run = found;
  version += 1;
  model = modelOf(run.model);
  state.z ??= state.base ??= new Float64Array(run.latent_dim);
  const { about, metrics } = run, loss = metrics.at(-1)?.test_loss;
  $("about").textContent = `${about.model}, ${about.parameters.toLocaleString("en")} parameters, ${run.latent_dim} latents, `
    + `on ${about.dataset}${metrics.length ? `; ${metrics.length} epochs, test loss ${fixed(loss)}` : ""}`;
  $("meaning").textContent = `rec is ${run.meaning.replace("not a", "it is not a")}.`;
  $("rec-name").textContent = run.is_likelihood ? "rec = -ln p(x|z)" : "rec";
  $("elbo-name").textContent = run.is_likelihood ? "ELBO = -rec - KL" : "-(rec + KL), in place of the ELBO";
  buildSliders();
  buildPlane();
  buildRun();
  buildAttributes();
  if (!first) return refresh();
  buildPictures();
  buildLoss();
  clearDrawing();
  if (images.length) document.querySelector("#gallery input").click();
  show(location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "latents");
}

async function watch() { // a training run that goes on: newer weights and metrics as they come
  const response = await fetch(`run?token=${token}&have=${encodeURIComponent(run.state)}`);
  if (response.status === 200) load(await response.json());
}
load(JSON.parse($("data").textContent));
if (served) setInterval(() => watch().catch(() => notice("The server has stopped.")), 2000);
window.explorer = { state, settled: () => work, model: () => model, run: () => run }; // for tests and the curious
