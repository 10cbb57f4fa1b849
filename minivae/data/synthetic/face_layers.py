"""The painter of the synthetic faces: soft shapes laid over one another, back to front.

Units and shapes are those of face_shapes.py; `f` holds the measures of `geometry`. To turn the
head, features are drawn in (u, y), where u is x on the skin of a barrel turned by the yaw: so a
feature moves sideways and narrows by itself. The small numbers are measures, chosen by eye.
"""

from types import SimpleNamespace

import numpy as np

from .face_shapes import Canvas, blob, ellipse, hue, mix, paint, ramp, rgb, shade, step

# Colours along a ramp, for attribute values 0 .. 1.
SKIN = [
    (0.98, 0.85, 0.76),
    (0.94, 0.76, 0.64),
    (0.83, 0.62, 0.47),
    (0.62, 0.42, 0.29),
    (0.40, 0.26, 0.18),
]
HAIR = [
    (0.09, 0.07, 0.07),
    (0.22, 0.14, 0.10),
    (0.40, 0.24, 0.14),
    (0.58, 0.27, 0.12),
    (0.85, 0.66, 0.36),
    (0.72, 0.71, 0.70),
]
EYES = [
    (0.22, 0.12, 0.06),
    (0.42, 0.27, 0.10),
    (0.36, 0.45, 0.22),
    (0.25, 0.48, 0.70),
    (0.50, 0.58, 0.62),
]
FRAMES = [(0.05, 0.05, 0.07), (0.12, 0.07, 0.06), (0.40, 0.19, 0.09)]

# Where switching an attribute can change the picture: left, top, right, bottom.
REGIONS = {
    "glasses": (-0.7, -0.2, 0.7, 0.2),
    "smile": (-0.62, 0.03, 0.62, 0.66),
    "hat": (-0.75, -1.0, 0.75, -0.2),
}


def draw(attributes, size):
    """Draw B faces from float32 attributes (B,) in [0, 1]: uint8 (B, 3, size, size)."""
    face = geometry(SimpleNamespace(**{k: v[:, None, None] for k, v in attributes.items()}))
    canvas = Canvas(len(attributes["yaw"]), size)
    for layer in (
        background,
        shoulders,
        hair_behind,
        neck,
        ears,
        head,
        relief,
        cheeks,
        nose,
        beard,
        mouth,
        eyes,
        brows,
        glasses,
        hair_in_front,
        hat,
    ):
        layer(canvas, face)
    return (np.clip(canvas.rgb, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)


def geometry(a):
    """Measures that several layers share, from the attributes: (B, 1, 1), or a colour."""
    f = SimpleNamespace(**vars(a))
    turn = (f.yaw - 0.5) * 0.54  # radians
    f.sin, f.cos = np.sin(turn), np.cos(turn)
    f.cx = 0.12 * f.sin  # the head moves a little with the turn
    f.width = mix(0.425, 0.485, f.head_width) + 0.012 * f.male
    f.height = mix(0.61, 0.68, f.head_height)
    f.taper = mix(0.27, 0.15, f.male)  # how much the jaw is narrower than the cheekbones
    f.eye_x = mix(0.175, 0.215, f.eye_spacing)
    f.eye_w = mix(0.090, 0.112, f.eye_size)
    f.mouth_y = 0.64 * f.height
    f.nose_y = mix(0.19, 0.235, f.nose)
    f.length = mix(mix(0.35, 1.0, f.hair_length), 0.22 * f.hair_length, f.male)
    f.bare_ears = 1 - step(0.25, 0.34, f.length)  # all of a man's, none of a woman's
    f.part = (f.parting - 0.5) * 0.24
    f.light_x = (f.light - 0.5) * 1.5
    f.skin_rgb = ramp(SKIN, f.skin)
    f.hair_rgb = ramp(HAIR, f.hair_colour)
    f.eye_rgb = ramp(EYES, f.eye_colour)
    return f


def axis(view, f):
    """x of the middle of the head at each height: the chin turns further than the crown."""
    t = np.clip(view.y / f.height, 0, 1)
    return f.cx + 0.26 * f.sin * t * t


def turned(view, f):
    """u: x on a barrel a little wider than the head, turned back by the yaw."""
    t = np.clip(view.y / f.height, 0, 1)
    radius = 1.30 * f.width * (1 - 0.7 * f.taper * t * t)
    s = np.clip((view.x - axis(view, f)) / radius, -1, 1)
    return radius * (s * f.cos - np.sqrt(1 - s * s) * f.sin)


def head_shape(view, f):
    """Coordinates (p, q) in which the head is the unit disc, and its distance d."""
    t = np.clip(view.y / f.height, 0, 1)
    x = view.x - axis(view, f)
    narrow = f.width * (1 - f.taper * t * t * t)
    return x / narrow, view.y / f.height, ellipse(x, view.y, narrow, f.height)


def on_head(canvas, view, f):
    """Coverage by the head, to keep its shades off the background."""
    return canvas.fill(head_shape(view, f)[2])


# ---------------------------------------------------------------- layers, back to front
def background(canvas, f):
    v = canvas.window(-1, -1, 1, 1)
    base = hue(f.background, 0.30, 0.84)
    glow = 1.10 - 0.26 * np.minimum((v.x - 0.4 * f.light_x) ** 2 + (v.y + 0.25) ** 2, 1.6)
    v.rgb[...] = base * glow[:, None]


def shoulders(canvas, f):
    v = canvas.window(-1, 0.5, 1, 1)
    x = v.x - 0.5 * f.cx
    side = np.abs(x)
    # Trapezius from the neck, then the round of the shoulder.
    slope = mix(0.72, 0.68, f.male) + 0.30 * step(0.15, mix(0.85, 1.05, f.male), side)
    d = (slope - v.y) * 0.9
    cloth = (
        hue(f.clothes, 0.62, 0.66)
        * (1.02 + 0.25 * f.light_x * x - 0.22 * step(0.35, 1, side))[:, None]
    )
    paint(v, canvas.fill(d), cloth)


def neck(canvas, f):
    v = canvas.window(-0.5, 0.3, 0.5, 1)
    x = v.x - 0.6 * f.cx
    half = mix(0.175, 0.225, f.male) + 0.9 * np.maximum(v.y - 0.66, 0) ** 2
    opening = ellipse(x, v.y - 0.70, half + 0.02, mix(0.24, 0.16, f.male))  # the neckline
    collar = canvas.band(opening - 0.012, 0.014) * canvas.fill(0.74 - v.y, 0.05)
    shade(v, collar, (0.72, 0.72, 0.74))
    cover = canvas.fill(np.maximum(np.abs(x) - half, opening))
    lit = 0.90 + 0.8 * f.light_x * x * (1 - step(0.6, 1.0, v.y))
    paint(v, cover, f.skin_rgb * lit[:, None] * rgb(0.97, 0.93, 0.90))
    shade(
        v,
        cover * blob(v.x - f.cx + 0.12 * f.light_x, v.y - f.height + 0.10, 0.46, 0.36),
        (0.60, 0.50, 0.46),
    )


def ears(canvas, f):
    v = canvas.window(-0.75, -0.2, 0.75, 0.3)
    for side in (-1, 1):
        x = v.x - f.cx - side * (f.width + 0.005) + 0.05 * f.sin
        cover = canvas.fill(ellipse(x, v.y - 0.04, 0.070, 0.125)) * f.bare_ears
        lit = np.clip(0.84 + 0.2 * side * f.light_x, 0.6, 1)
        paint(v, cover, f.skin_rgb * lit[:, None] * rgb(1, 0.92, 0.9))
        shade(v, blob(x, v.y - 0.04, 0.05, 0.09) * cover, (0.80, 0.70, 0.66))


def head(canvas, f):
    v = canvas.window(-0.75, -0.75, 0.75, 0.8)
    p, q, d = head_shape(v, f)
    # Lambert's law on an egg; its rim is lifted so that the outline does not go black.
    nz = np.sqrt(np.maximum(1 - 0.9 * (p * p + q * q), 0.02))
    lit = 0.70 + 0.36 * np.clip(0.55 * f.light_x * p - 0.30 * q + 0.80 * nz, -0.2, 1)
    warm = rgb(0.92, 1.10, 1.22)  # shadows on skin turn red
    skin = f.skin_rgb * (1 - (1 - lit)[:, None] * warm)
    paint(v, canvas.fill(d), np.minimum(skin, 1))


def relief(canvas, f):
    """Soft relief of the face: eye relief, forehead, chin."""
    v = canvas.window(-0.62, -0.6, 0.62, 0.68)
    u = turned(v, f)
    socket = blob(np.abs(u) - f.eye_x + 0.02, v.y + 0.03, 0.19, 0.14)
    shade(v, socket * on_head(canvas, v, f), (0.86, 0.79, 0.77))
    shade(v, blob(u + 0.1 * f.light_x, v.y + 0.33, 0.34, 0.20), (1.05, 1.05, 1.05))
    shade(v, blob(u, v.y - 0.90 * f.height, 0.16, 0.10), (1.05, 1.04, 1.04))
    shade(v, blob(u, v.y - f.mouth_y - 0.105, 0.16, 0.045), (0.87, 0.82, 0.80))


def cheeks(canvas, f):
    v = canvas.window(*REGIONS["smile"])
    rosy = (mix(0.55, 0.40, f.male) + 0.3 * f.smile) * on_head(canvas, v, f)
    shade(v, rosy * blob(np.abs(turned(v, f)) - 0.30, v.y - 0.20, 0.19, 0.16), (1.01, 0.86, 0.86))


def nose(canvas, f):
    v = canvas.window(-0.5, -0.25, 0.5, 0.4)
    u = turned(v, f) - 0.20 * f.sin * step(-0.15, 0.25, v.y)  # the nose stands out from the face
    y = v.y - f.nose_y
    wide = mix(0.062, 0.086, f.nose) + 0.006 * f.male
    down = step(-0.1, 1, (v.y + 0.1) / (f.nose_y + 0.1))
    ridge = mix(0.034, 0.8 * wide, down)
    along = step(-0.16, 0.0, v.y) * canvas.fill(y, 0.10)
    sides = blob(np.abs(u) - ridge - 0.012, 0, 0.055, 1)
    towards = np.clip(
        0.5 - 1.2 * np.sign(u) * f.light_x, 0.15, 1.2
    )  # the side away from the light is darker
    shade(v, towards * along * sides, (0.85, 0.77, 0.74))
    shade(v, along * blob(u - 0.15 * ridge * f.light_x, 0, 0.032, 1), (1.08, 1.07, 1.06))
    shade(v, blob(u, y - 0.035, wide + 0.05, 0.06), (0.84, 0.74, 0.71))
    shade(v, blob(np.abs(u) - wide - 0.004, y + 0.010, 0.024, 0.050), (0.80, 0.69, 0.66))
    shade(
        v,
        canvas.fill(
            ellipse(np.abs(u) - 0.50 * wide, y - 0.022 + 0.1 * np.abs(u), 0.024, 0.012), 0.02
        ),
        (0.45, 0.31, 0.29),
    )
    shade(v, blob(u - 0.03 * f.light_x, y + 0.035, 0.055, 0.05), (1.11, 1.10, 1.10))


def beard(canvas, f):
    v = canvas.window(-0.65, -0.15, 0.65, 0.8)
    _, _, d = head_shape(v, f)
    u = turned(v, f)
    side = np.abs(u) / f.width
    # Upper edge: below the nose in the middle, low on the cheek, up to the ear at the side.
    edge = f.nose_y + 0.085 + 0.09 * step(0.20, 0.42, side) - 0.60 * step(0.55, 1.15, side)
    full = step(0.30, 0.80, f.beard)
    strength = (
        f.male * (0.13 + 0.75 * full) * canvas.fill(edge - v.y, 0.2) * canvas.fill(d + 0.01, 0.05)
    )
    strength = strength * (1 - 0.7 * blob(u, v.y - f.mouth_y - 0.07, 0.07, 0.035))
    paint(v, strength, f.hair_rgb * 0.85 + 0.02)


def mouth(canvas, f):
    v = canvas.window(*REGIONS["smile"])
    u = turned(v, f) - 0.06 * f.sin
    w = mix(0.115, 0.150, f.mouth_width) + 0.040 * f.smile
    s = u / w
    s2 = np.minimum(s * s, 1.3)
    rise = mix(0.012, 0.060, f.smile)  # corners rise in a smile
    y = v.y - f.mouth_y + rise * (s2 - 0.35)
    arch = np.maximum(1 - s2, 0)
    lip = mix(0.042, 0.030, f.male)
    bow = 1 - 0.24 * blob(s, 0, 0.30, 1)  # the dip in the middle of the upper lip
    gap = 0.058 * f.smile * arch
    top, low = -0.25 * gap, 0.75 * gap  # the edges of the opening
    upper, lower = top - lip * bow * arch**0.75, low + 1.30 * lip * np.sqrt(arch)
    inside = canvas.fill(np.abs(u) - w, 0.03)
    lips = inside * canvas.fill(np.maximum(upper - y, y - lower), 0.014)
    tint = mix(
        np.float32([0.88, 0.55, 0.56]), np.float32([0.86, 0.62, 0.59]), f.male[:, 0, 0, None]
    )
    tone = (
        0.98
        + 0.12 * np.clip((y - low) / lip, -1, 0.6)
        + 0.16 * blob(u - 0.05 * f.light_x, y - low - 0.55 * lip, 0.09, 0.022)
    )
    paint(v, 0.92 * lips, f.skin_rgb * tint[..., None, None] * tone[:, None])
    # Between the lips: teeth in a smile, else the line where the lips meet.
    opening = f.smile * inside * canvas.fill(np.maximum(top - y, y - low), 0.012)
    bright = 1 - 0.45 * s2 * s2 - 0.22 * step(0.3, 1.0, (y - top) / (gap + 0.01))
    paint(v, opening, rgb(0.96, 0.94, 0.91) * bright[:, None])
    line = inside * np.maximum(
        canvas.band(y - top, 0.004, 0.013), f.smile * canvas.band(y - low, 0.003, 0.013)
    )
    shade(v, 0.9 * line, (0.50, 0.34, 0.34))
    shade(v, blob(np.abs(u) - w - 0.004, y + 0.2 * rise, 0.030, 0.026), (0.74, 0.64, 0.62))
    # Folds from the wings of the nose past the corners of a smiling mouth.
    run = step(f.nose_y - 0.02, f.nose_y + 0.08, v.y) * (
        1 - step(f.mouth_y - 0.06, f.mouth_y + 0.05, v.y)
    )
    fold = np.abs(u) - mix(0.10, w + 0.055, np.sqrt(np.clip((v.y - f.nose_y + 0.03) / 0.2, 0, 1)))
    fold = run * blob(fold, 0, 0.034, 1) * on_head(canvas, v, f)
    shade(v, f.smile * fold, (0.87, 0.80, 0.78))


def eyes(canvas, f):
    v = canvas.window(-0.6, -0.2, 0.6, 0.16)
    u = turned(v, f)
    w = f.eye_w
    offset = np.abs(u) - f.eye_x
    e = offset / w  # -1 inner corner .. 1 outer corner
    y = v.y + 0.02 + 0.010 * e  # outer corners a little higher
    arch = 1 - e * e
    open_ = w * mix(0.42, 0.52, f.eye_size)
    slope = 1 / np.sqrt(1 + (1.4 * e * open_ / w) ** 2)  # vertical distance -> distance to the lid
    d_top, d_bottom = (
        (-open_ * arch * (1 + 0.12 * e) - y) * slope,
        (y - 0.66 * open_ * arch) * slope,
    )
    ball = canvas.fill(np.maximum(d_top, d_bottom))
    white = 1 - 0.28 * canvas.fill(-d_top - 0.018, 0.045) - 0.14 * e * e
    paint(v, ball, rgb(0.95, 0.93, 0.92) * white[:, None])
    # Iris: dark at the rim and under the lid, lighter below; a glint on the side of the light.
    r = np.sqrt(offset**2 + (y + 0.08 * w) ** 2)
    size = 0.45 * w
    glow = 1.15 - 0.70 * step(0.60 * size, size, r) + 7 * np.clip(y, -0.05, 0.05)
    paint(v, ball * canvas.fill(r - size, 0.012), f.eye_rgb * glow[:, None])
    paint(v, ball * canvas.fill(r - 0.19 * w, 0.012), rgb(0.03, 0.03, 0.04))
    towards = np.where(f.light_x > 0, 0.17, -0.17) * w * np.sign(u)
    paint(
        v,
        ball * 0.95 * canvas.fill(np.hypot(offset - towards, y + 0.22 * w) - 0.085 * w),
        rgb(1, 1, 1),
    )
    # Lids: lashes above (stronger on a woman), crease, a faint line below.
    within = canvas.fill(np.abs(offset) - w * 1.05, 0.025)
    lash = canvas.band(d_top - 0.005, mix(0.012, 0.007, f.male) * (1 + 0.35 * e), 0.012)
    shade(v, within * lash, (0.20, 0.15, 0.14))
    shade(v, within * canvas.band(d_top - 0.036, 0.005, 0.024) * 0.8, (0.66, 0.54, 0.51))
    shade(v, within * canvas.band(d_bottom - 0.004, 0.004, 0.016) * 0.6, (0.66, 0.52, 0.50))
    shade(v, blob(offset, y - 0.085, 1.2 * w, 0.035), (0.93, 0.89, 0.88))


def brows(canvas, f):
    v = canvas.window(-0.62, -0.4, 0.62, -0.05)
    u = turned(v, f)
    e = (np.abs(u) - f.eye_x - 0.012) / (1.32 * f.eye_w)
    high = mix(0.115, 0.155, f.brow) - 0.015 * f.male
    arch = mix(0.016, 0.040, f.brow) * mix(1.0, 0.7, f.male)
    y = v.y + high + arch * (1 - 0.75 * (e - 0.12) ** 2)
    thick = mix(0.014, 0.024, f.male) * (1 - 0.6 * np.clip(e, 0, 1))
    cover = canvas.band(y, thick, 0.022) * canvas.fill((np.abs(e) - 1) * 0.13, 0.06)
    paint(v, 0.85 * cover, f.hair_rgb * 0.72)


def hair_shape(view, f):
    """Distance to the outline of the hair: an ellipse over the head, drawn out downwards."""
    fall = step(0.25, 1.0, f.length)
    centre = -0.14
    bottom = mix(centre, 0.95, fall) + 0.03 * fall * np.sin(17 * view.x + 20 * f.parting)
    y = view.y - np.clip(view.y, centre, np.maximum(bottom, centre))
    wavy = 0.020 * fall * np.sin(8 * view.y + 6 * f.parting) * step(-0.2, 0.5, view.y)
    x = view.x - f.cx + 0.06 * f.sin
    wide = f.width + mix(0.030, 0.10, step(0.1, 0.6, f.length)) + wavy * np.sign(x)
    tall = np.where(
        view.y > centre, 0.20, f.height + centre + 0.10 + 0.05 * step(0.0, 0.5, f.length)
    )
    return ellipse(x, y, wide, tall)


def hair_colour(canvas, view, f):
    """Locks that run down from the parting, and the gloss where the crown faces the light."""
    x, y = view.x - f.cx - f.part, view.y
    t = x / (np.abs(y + 0.9) + 0.30)
    locks = (
        canvas.wave(30 * t + 2, 28)
        + 0.7 * canvas.wave(53 * t + 6 * y, 48)
        + 0.5 * canvas.wave(90 * t - 5 * y, 80)
    )
    gloss = blob(x + f.part - 0.40 * f.light_x, y + 0.50 - 0.35 * x * x, 0.42, 0.16)
    lit = 1 + 0.11 * locks + 0.30 * f.light_x * x - 0.12 * y
    shine = (0.15 * gloss * (1 + 0.3 * locks))[:, None] * (0.35 + f.hair_rgb)
    return np.maximum(f.hair_rgb * lit[:, None] + shine, 0)


def hair_behind(canvas, f):
    v = canvas.window(-0.85, -1, 0.85, 1)
    paint(v, canvas.fill(hair_shape(v, f)), hair_colour(canvas, v, f) * 0.60)


def hair_in_front(canvas, f):
    v = canvas.window(-0.85, -1, 0.85, 1)
    u = turned(v, f)
    side = np.abs(u) / f.width
    # A woman's hair falls from the parting to both sides and along the cheeks; a man's is short,
    # with sideburns. `edge` is the y at which the hair ends and the face begins.
    away = (u - f.part) / f.width
    curtain = (
        -0.84 * f.height
        + 0.46 * away**2 / np.sqrt(away**2 + 0.06)
        + 4.2 * np.maximum(side - 0.76, 0) * f.length
    )
    temples = 0.035 * np.cos(7.5 * u / f.width) - 0.10 * f.part * away
    cropped = -0.69 * f.height + temples + 6 * np.maximum(side - 0.76, 0) ** 1.5
    cropped = np.minimum(cropped, 0.05)
    edge = mix(curtain, cropped, f.male)
    d = np.maximum(hair_shape(v, f), (v.y - edge) * 0.7)
    shadow = canvas.fill(d - 0.02, 0.10) * on_head(canvas, v, f)
    shade(v, 0.8 * shadow, (0.74, 0.64, 0.60))
    paint(v, canvas.fill(d, 0.016), hair_colour(canvas, v, f))


def hat(canvas, f):
    """A knitted cap with a turned-up brim."""
    v = canvas.window(*REGIONS["hat"])
    x = v.x - f.cx + 0.04 * f.sin
    u = turned(v, f)
    wide = f.width + 0.105
    brim = -0.38 + 0.10 * (
        1 - (x / wide) ** 2
    )  # lower edge, bent as a ring seen from a little above
    d = ellipse(x, v.y + 0.22, wide, f.height + 0.0)
    cap = canvas.fill(np.maximum(d, v.y - brim))
    ribs = canvas.wave(42 * u / f.width, 42 / 0.45)
    fold = canvas.fill(brim - 0.17 - v.y, 0.012)
    lit = 0.95 + 0.30 * f.light_x * x - 0.30 * (x / wide) ** 2 + 0.05 * ribs + 0.08 * fold
    lit = lit - 0.18 * blob(v.y - brim + 0.185, 0, 0.03, 1)
    shade(
        v,
        f.hat * canvas.fill(v.y - brim - 0.03, 0.08) * on_head(canvas, v, f),
        (0.72, 0.64, 0.60),
    )
    paint(v, f.hat * cap, hue(f.clothes + 0.4, 0.62, 0.62) * lit[:, None])


def glasses(canvas, f):
    v = canvas.window(*REGIONS["glasses"])
    u = turned(v, f) - 0.04 * f.sin
    side = np.abs(u)
    y = v.y + 0.012
    half_w, half_h = 0.148, mix(0.100, 0.132, f.frames)
    corner = mix(0.045, 0.128, f.frames)
    qx, qy = np.abs(side - f.eye_x - 0.008) - half_w + corner, np.abs(y) - half_h + corner
    d = np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0) - corner
    rim = canvas.band(d, 0.012)
    bridge = canvas.band(y + 0.04 - 0.6 * side * side, 0.011) * canvas.fill(side - f.eye_x + half_w)
    outside = canvas.fill(f.eye_x + half_w - side) * canvas.fill(head_shape(v, f)[2] - 0.01)
    arm = canvas.band(y + 0.045, 0.011) * outside
    frame = np.maximum(rim, np.maximum(bridge, arm))
    shade(
        v, f.glasses * 0.6 * canvas.band(d - 0.02, 0.015, 0.05), (0.82, 0.76, 0.74)
    )  # its shadow on the skin
    lens = canvas.fill(d)
    glint = lens * canvas.band(side - f.eye_x + 0.8 * y * np.sign(u) + 0.05, 0.02, 0.03)
    paint(v, f.glasses * (0.06 * lens + 0.12 * glint), rgb(0.9, 0.96, 1.0))
    paint(v, f.glasses * frame, ramp(FRAMES, f.frames))
