"""Anime faces drawn by rule: flat shapes with gradients, laid over each other as an illustrator lays them.

Everything is drawn in units of a 64x64 picture, three pixels a unit, upright and with a margin around it. Pose is
applied once, to the finished drawing, and reducing it to its size smooths every edge. A *paint* is a picture as
large as the canvas and a stencil says where it goes: strands, sheen and blush live in the paint, so that no shape
needs to know where another one ends.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from data.faceset import ABOUT, about_json, new_set
from data.parallel import ordered_map
from grader.files import csv_text

VERSION = 2  # raise it when the same seed draws another face

SCALE, MARGIN, SHIFT = 3, 4, 4  # pixels a unit, units around the picture, fractional bits of a coordinate
SIDE = (64 + 2 * MARGIN) * SCALE
MIDDLE, EYE_X, EYE_Y, CROWN = 32.0, 10.9, 30.5, (32.0, -6.0)

HAIR = {
    "aqua": (112, 205, 208),
    "black": (66, 64, 86),
    "blonde": (248, 216, 132),
    "blue": (92, 128, 210),
    "brown": (146, 98, 74),
    "gray": (158, 162, 176),
    "green": (122, 186, 124),
    "orange": (243, 152, 84),
    "pink": (250, 168, 190),
    "purple": (156, 120, 200),
    "red": (204, 72, 76),
    "white": (234, 232, 242),
}
EYES = {
    "aqua": (52, 196, 206),
    "black": (78, 74, 92),
    "blue": (62, 118, 226),
    "brown": (158, 96, 56),
    "green": (62, 176, 96),
    "orange": (242, 144, 44),
    "pink": (240, 104, 158),
    "purple": (146, 86, 210),
    "red": (218, 48, 66),
    "yellow": (238, 198, 56),
}
SKIN = {
    "porcelain": (255, 243, 236),
    "fair": (255, 234, 218),
    "peach": (253, 222, 200),
    "tan": (238, 194, 160),
    "brown": (196, 142, 110),
}
CLOTH = {
    "white": (244, 244, 250),
    "navy": (62, 72, 116),
    "crimson": (190, 60, 72),
    "teal": (70, 150, 152),
    "lilac": (186, 166, 216),
    "charcoal": (72, 70, 82),
    "rose": (240, 170, 186),
    "cream": (250, 236, 204),
}
ORNAMENT = {
    "crimson": (214, 62, 78),
    "rose": (252, 150, 176),
    "gold": (250, 204, 84),
    "azure": (92, 162, 232),
    "ivory": (252, 250, 246),
    "black": (60, 56, 72),
}
BACKGROUND = {
    "white": (250, 250, 252),
    "sky": (170, 212, 244),
    "rose": (250, 208, 216),
    "mint": (196, 234, 214),
    "lemon": (252, 240, 190),
    "lilac": (216, 204, 240),
    "dusk": (104, 104, 150),
    "sand": (238, 220, 196),
}
CHOICES = {  # every attribute of a face, its values and how often each is drawn
    "hair_colour": dict.fromkeys(HAIR, 1),
    "eye_colour": dict.fromkeys(EYES, 1),
    "hair_shape": {"short": 3, "bob": 3, "long": 4, "wavy": 2, "twin tails": 2, "ponytail": 2, "spiky": 1.5, "buns": 1},
    "fringe": {"blunt": 2, "choppy": 3, "centre lock": 3, "swept left": 1.5, "swept right": 1.5, "curtain": 2},
    "eye_shape": {"round": 3, "gentle": 2, "sharp": 2},
    "brows": {"soft": 4, "stern": 1, "worried": 1},
    "mouth": {"smile": 4, "calm": 3, "open": 2, "grin": 1.5, "small": 1.5, "cat": 1, "pout": 1},
    "skin": {"porcelain": 3, "fair": 5, "peach": 3, "tan": 1, "brown": 0.7},
    "collar": {"round": 2, "shirt": 3, "sailor": 2, "turtleneck": 1, "bare": 1.5},
    "cloth": dict.fromkeys(CLOTH, 1),
    "ornament": {"none": 9, "hairpin": 2, "ribbon": 2, "headband": 1.5, "flower": 1.5},
    "background": {"white": 4, **dict.fromkeys(list(BACKGROUND)[1:], 1)},
}

WHITE, PLUM, INK = (255.0, 255.0, 255.0), (92.0, 56.0, 120.0), (46.0, 30.0, 44.0)


def render(count: int, seed: int = 0, size: int = 64, workers: int | None = None) -> Iterator[tuple[np.ndarray, dict]]:
    """Faces 0 … count−1 in order, each as `render_face` gives it; over `workers` processes, all cores when None."""
    return ordered_map(partial(render_face, seed, size=size), range(count), workers)


def render_set(
    output: Path, count: int, seed: int = 0, size: int = 64, *, overwrite: bool = False, workers: int | None = None
) -> None:
    """Writes faces 0 … count−1 as 0.png … with attributes.csv and about.json into a folder, or a .zip.

    Raises DataError when the output is taken.
    """
    rows = [("file", *CHOICES)]
    with new_set(output, overwrite) as write:
        with tqdm(render(count, seed, size, workers), total=count, unit=" faces", disable=None) as bar:
            for index, (face, attributes) in enumerate(bar):
                write(f"{index}.png", _png(face))
                rows.append((f"{index}.png", *attributes.values()))
        write("attributes.csv", csv_text(rows).encode())
        about = {"name": "rendered", "count": count, "seed": seed, "size": size, "version": VERSION}
        write(ABOUT, about_json(about))


def _png(face: np.ndarray) -> bytes:
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # since 4.12; unfiltered, flat colours pack better, and sooner
        options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    return cv2.imencode(".png", face[..., ::-1], options)[1].tobytes()


def render_face(seed: int, index: int, size: int = 64) -> tuple[np.ndarray, dict]:
    """Face `index` of a seed as uint8 RGB [size, size, 3], and its attributes by name.

    The same pair gives the same face, whatever the count or the workers; another size gives that face larger.
    """
    rng = np.random.default_rng([seed, index])
    look = {name: _draw(rng, weights) for name, weights in CHOICES.items()}
    turn = rng.uniform(-1, 1)  # three-quarter view: what is near moves further than what is far
    hair = _tones(_varied(rng, HAIR[look["hair_colour"]]))
    hair_paint = _hair_paint(hair, rng)
    fringe = _fringe(look["fringe"], turn, rng)
    sides = _side_locks(look["hair_shape"], turn, rng)

    canvas = _background(look["background"], rng)
    _back_hair(canvas, look["hair_shape"], hair, hair_paint, turn, rng)
    _body(canvas, look, rng)
    _head(canvas, look, hair, fringe + sides, turn, rng)
    _front_hair(canvas, look, hair, hair_paint, fringe, sides, turn)
    _ornament(canvas, look["ornament"], rng)
    return _posed(canvas, rng, size), look


# Colour


class _Tones(NamedTuple):
    """One colour as flat shading needs it: lit, plain, shaded and as an outline; each RGB in floats."""

    light: np.ndarray
    base: np.ndarray
    shade: np.ndarray
    line: np.ndarray


def _tones(base) -> _Tones:
    shade = _mix(np.multiply(base, 0.80), PLUM, 0.16)  # shadows lean to purple: grey ones look like dirt
    return _Tones(_mix(base, WHITE, 0.55), np.asarray(base, float), shade, _mix(np.multiply(shade, 0.58), INK, 0.35))


def _skin(name: str) -> _Tones:
    base = np.array(SKIN[name], float)
    shade = base * (0.93, 0.80, 0.79)  # blood shines through: shadows on skin are warm
    return _Tones(_mix(base, WHITE, 0.5), base, shade, _mix(shade * 0.62, INK, 0.25))


def _mix(a, b, share: float) -> np.ndarray:
    return np.multiply(a, 1 - share) + np.multiply(b, share)


def _varied(rng, colour) -> np.ndarray:
    """A colour a little lighter or darker, warmer or cooler, and still called by the same name."""
    return np.clip(np.multiply(colour, rng.uniform(0.92, 1.06)) + rng.uniform(-7, 7, 3), 0, 255)


def _draw(rng, weights: dict) -> str:
    return list(weights)[bisect(list(accumulate(weights.values())), rng.random() * sum(weights.values()))]


# Shapes: points [n, 2] in units, x to the right and y down

_T = np.arange(6)[:, None] / 6
_SPLINE = (
    np.hstack([_T**0, _T, _T**2, _T**3]) @ np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
)
_ARC = np.arange(7)[:, None] / 6
_START, _CONTROL, _END = (1 - _ARC) ** 2, 2 * _ARC * (1 - _ARC), _ARC**2


def _curve(points, closed: bool = False) -> np.ndarray:
    """A smooth curve through points [n, 2]: Catmull–Rom, six steps between two of them."""
    points = np.asarray(points, float)
    if not closed:
        points = np.vstack([points[:1], points, points[-1:]])
    count = len(points) if closed else len(points) - 3
    around = (np.arange(count)[:, None] + np.arange(4)) % len(points)
    smooth = (_SPLINE @ points[around]).reshape(-1, 2)
    return smooth if closed else np.vstack([smooth, points[-1:]])


def _bow(start, control, end) -> np.ndarray:
    """A quadratic Bézier curve [7, 2]."""
    return _START * start + _CONTROL * control + _END * end


def _mirrored(points) -> np.ndarray:
    return np.asarray(points) * (-1, 1) + (2 * MIDDLE, 0)


def _moved(points, dx: float, dy: float = 0.0) -> np.ndarray:
    return np.add(points, (dx, dy))


def _both(half) -> np.ndarray:
    """A closed symmetrical outline from its right half, listed from top to bottom."""
    return np.vstack([half, _mirrored(half)[::-1]])


def _ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    return _CIRCLE * (rx, ry) + (x, y)


_ANGLES = np.arange(24) * (2 * np.pi / 24)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


# Outlines which every face shares; those of an eye run outwards from its centre

DOME = [(32, -1.5), (42, 0.5), (51, 7), (56, 17), (57, 28)]  # right half of the hair over the head
DOME_EDGE = _curve([*DOME, (55.5, 34)])
CAP = _both(np.vstack([DOME_EDGE, _curve([(50, 33), (49, 26), (44, 20), (38, 16), (32, 14)])]))
NECK = _both(_curve([(37, 46), (37.2, 56), (39.5, 61), (52, 66), (56, 76)]))
NECK_LINE = _curve([(37, 50), (37.2, 56), (39.5, 61)])
NECK_SHADOW = _both(_curve([(37.4, 46), (37.4, 57), (34, 60.5), (32, 61)]))
SHOULDERS = _both(_curve([(38.5, 60), (48, 62.5), (58, 66), (66, 76)]))
NECKLINE = _curve([(24, 59), (27, 62.3), (32, 63.3), (37, 62.3), (40, 59)])
FLAP = np.array([(37.6, 57.5), (42.5, 60), (41, 68), (32, 64)])
ROLL = _both(_curve([(38.5, 56.5), (40, 60), (40, 66)]))
EYE_OPENING = _curve(
    [(-4.6, 1.6), (-3.8, -2.4), (-0.2, -4.7), (3.8, -3.8), (5.3, 0), (3.9, 4), (0, 5.4), (-3.2, 4.5)], closed=True
)
LASH_TOP = _curve([(-5.4, 1.8), (-4.4, -3.2), (-0.2, -6.1), (4.4, -5.3), (7, -1.6)])
UPPER_LASH = np.vstack([LASH_TOP, _curve([(5.6, 1), (4.2, -2.8), (-0.2, -3.9), (-3.7, -2)])])
LOWER_LASH = _curve([(0, 5.6), (3.6, 4.4), (5, 2.2)])
EYELID = _curve([(-3.2, -6.6), (0, -7.9), (4, -7.1)])


# Drawing on the canvas, uint8 RGB [SIDE, SIDE, 3]


_UNIT, _ORIGIN = float(SCALE << SHIFT), (MARGIN * SCALE - 0.5) * (1 << SHIFT)


def _pixels(points) -> np.ndarray:
    pixels = np.multiply(points, _UNIT)
    pixels += _ORIGIN
    return pixels.astype(np.int32)


def _fill(canvas, colour, *shapes) -> None:
    for shape in shapes:  # one at a time: together, overlaps would cancel out
        cv2.fillPoly(canvas, [_pixels(shape)], colour, shift=SHIFT)


def _stroke(canvas, colour, width: float, *lines, closed: bool = False) -> None:
    lines = [_pixels(line) for line in lines]
    cv2.polylines(canvas, lines, closed, colour, max(1, round(width * SCALE)), shift=SHIFT)


def _stencil(*shapes) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    _fill(mask, 255, *shapes)
    return mask


def _paint(canvas, paint, *shapes) -> None:
    cv2.copyTo(paint, _stencil(*shapes), canvas)


def _gradient(*stops) -> np.ndarray:
    """A paint that runs down the canvas through colours given as (y in units, RGB)."""
    heights, colours = zip(*stops, strict=True)
    y = np.arange(SIDE) / SCALE - MARGIN
    rows = np.stack([np.interp(y, heights, channel) for channel in zip(*colours, strict=True)], axis=1)
    return cv2.resize(rows.astype(np.uint8)[:, None], (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)


def _towards(paint, colour, share: float) -> np.ndarray:
    """A paint mixed with one colour."""
    flat = cv2.rectangle(np.empty_like(paint), (0, 0), (SIDE, SIDE), colour, cv2.FILLED)
    return cv2.addWeighted(paint, 1 - share, flat, share, 0)


# The layers, from the back to the front


def _background(name: str, rng) -> np.ndarray:
    """Two related colours across the picture, along any direction."""
    first = _varied(rng, BACKGROUND[name])
    second = _mix(first, WHITE if rng.random() < 0.6 else PLUM, rng.uniform(0.1, 0.5) * (name != "white"))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1:1:8j, -1:1:8j]
    share = (0.5 + 0.35 * (np.cos(angle) * x + np.sin(angle) * y))[..., None].clip(0, 1)
    return cv2.resize((first * (1 - share) + second * share).astype(np.uint8), (SIDE, SIDE))


def _hair_paint(hair: _Tones, rng) -> np.ndarray:
    """Hair as a paint: lit at the crown, shaded below, with strands that leave the crown and a band of sheen."""
    plain, lit, deep = hair.base, _mix(hair.base, hair.light, 0.35), _mix(hair.base, hair.shade, 0.75)
    paint = _gradient((-2, plain), (9, lit), (24, plain), (46, _mix(plain, hair.shade, 0.3)), (68, deep))
    for count, colour, width in ((13, hair.shade, 0.9), (9, hair.light, 0.35)):
        x = np.linspace(-10, 74, count) + rng.uniform(-3, 3, count)
        outer = abs(x - MIDDLE) > 15
        bellies = np.stack([MIDDLE + (x - MIDDLE) * np.where(outer, 1.15, 0.8), np.full(count, 8)], axis=1)
        ends = np.stack([x, np.where(outer, 74, 36)], axis=1)
        widths = rng.uniform(0.35, 1, count) * width * np.where(outer, 1.6, 1)
        strands = _strands(bellies, ends, widths)
        _fill(paint, _mix(plain, colour, 0.35), *strands[::2])
        _fill(paint, _mix(plain, colour, 0.6), *strands[1::2])
    x = np.linspace(MIDDLE - 22, MIDDLE + 22, 31)
    arc = 11.5 + (x - MIDDLE) ** 2 / 58
    teeth = rng.uniform(0.5, 1, 31) * np.where(np.arange(31) % 2, 1, 0.25) * np.cos((x - MIDDLE) / 15).clip(0)
    upper, lower = np.stack([x, arc - 2.0 * teeth], 1), np.stack([x, arc + 3.8 * teeth], 1)
    _fill(paint, _mix(plain, hair.light, 0.75), np.vstack([upper, lower[::-1]]))
    return paint


def _strands(bellies, ends, widths) -> np.ndarray:
    """Strands [n, 14, 2] from the crown to their ends [n, 2], swelling to their widths [n] on the way."""
    paths = _bow(CROWN, bellies[:, None], ends[:, None])
    swell = np.sin(np.pi * _ARC) * (1, 0) * widths[:, None, None]
    return np.concatenate([paths - swell, (paths + swell)[:, ::-1]], axis=1)


def _lock(left, tip, right) -> np.ndarray:
    """A tapering lock of hair [14, 2] from its two upper corners to its tip."""
    return np.vstack([_bow(left, _halfway(left, tip, -0.7), tip), _bow(tip, _halfway(right, tip, 0.7), right)])


def _halfway(corner, tip, dx: float) -> tuple[float, float]:
    return (corner[0] + tip[0]) / 2 + dx, (corner[1] + tip[1]) / 2 + 0.5  # so that a lock bulges before it tapers


def _back_hair(canvas, shape: str, hair: _Tones, paint, turn: float, rng) -> None:
    """What hangs behind the face, in shade."""
    wide = rng.uniform(-1.5, 1.5)
    side, ends = {  # where the outline runs, then the zigzag of its tips
        "short": ([(55.5, 36)], [(52.5, 49), (50, 45), (47, 53), (44, 48)]),
        "bob": ([(57.5, 38), (56, 48)], [(54, 56), (50.5, 52.5), (47.5, 58), (43, 53), (40, 57)]),
        "long": ([(58, 40), (58.5, 56), (60, 76)], []),
        "wavy": ([(59, 36), (57, 44), (61, 52), (58, 60), (62, 76)], []),
        "spiky": ([(55, 34)], [(57, 47), (51, 42), (50, 53), (45, 46)]),
    }.get(shape, ([(54.5, 36), (50, 45)], []))
    half = np.vstack([_curve([*DOME, *side]), np.reshape(ends, (-1, 2))])
    outline = _both(half) - (turn, 0)
    extras = []
    if shape == "twin tails":
        tail = _curve([(53, 12), (60, 9), (68, 20), (70, 44), (64, 74), (57, 60), (59, 40), (55, 24)], closed=True)
        extras = [_moved(tail, wide), _mirrored(_moved(tail, wide))]
    elif shape == "ponytail":
        tail = _curve([(44, 2), (54, -5), (66, 4), (70, 30), (64, 70), (57, 54), (60, 32), (54, 14)], closed=True)
        extras = [tail if turn < 0 else _mirrored(tail)]
    elif shape == "buns":
        bun = _ellipse(51 + wide, 3, 9, 9)
        extras = [bun, _mirrored(bun)]
    elif shape == "spiky":
        for x, y, tip in ((50, 8, (59, 3)), (53, 18, (63, 19)), (53, 28, (63, 36)), (50, 37, (58, 50))):
            spike = _lock((x - 2, y - 8), np.add(tip, rng.uniform(-1.5, 1.5, 2)), (x - 2, y + 7))
            extras += [spike, _mirrored(spike)]
    _stroke(canvas, hair.line, 1.0, outline, *extras, closed=True)  # half of it vanishes under what follows
    _paint(canvas, paint, *extras)
    _paint(canvas, _towards(paint, hair.shade, 0.55), outline)


def _body(canvas, look: dict, rng) -> None:
    """Neck in the chin's shadow, shoulders and a collar."""
    skin, cloth = _skin(look["skin"]), _tones(_varied(rng, CLOTH[look["cloth"]]))
    trim = CLOTH[_draw(rng, dict.fromkeys(CLOTH, 1))]
    _fill(canvas, skin.base, NECK)
    _fill(canvas, skin.shade, NECK_SHADOW)
    _stroke(canvas, skin.line, 0.4, NECK_LINE, _mirrored(NECK_LINE))
    collar = look["collar"]
    if collar != "bare":
        _fill(canvas, cloth.base, SHOULDERS)
        _stroke(canvas, cloth.line, 0.5, SHOULDERS, closed=True)
    if collar == "round":
        _fill(canvas, skin.base, _ellipse(MIDDLE, 59, 7, 4))
        _fill(canvas, skin.shade, _ellipse(MIDDLE, 58, 5.4, 3))
        _stroke(canvas, trim, 1.0, NECKLINE)
    elif collar in ("shirt", "sailor"):
        flap, tie = (WHITE, trim) if collar == "shirt" else (trim, (214, 60, 74))
        _fill(canvas, flap, FLAP, _mirrored(FLAP))
        _stroke(canvas, cloth.line, 0.4, FLAP, _mirrored(FLAP), closed=True)
        _fill(canvas, tie, [(30, 62.5), (34, 62.5), (36, 72), (28, 72)])
    elif collar == "turtleneck":
        _fill(canvas, cloth.base, ROLL)
        _stroke(canvas, cloth.line, 0.4, ROLL, closed=True)


def _head(canvas, look: dict, hair: _Tones, locks, turn: float, rng) -> None:
    """Face with its blush and the shadow which the hair throws, nose, mouth and eyes."""
    skin = _skin(look["skin"])
    jaw, chin = rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8)
    cheek = [(48.5, 21), (49, 31), (47.9 + jaw, 39), (44 + jaw, 46.2)]
    face = _both(_curve([(32, 11), (43, 13), *cheek, (37.8, 52.3 + chin), (32, 54.8 + chin)]))
    face[:, 0] += turn * np.clip((face[:, 1] - 18) / 24, 0, 1.5)
    blush = rng.uniform(0.15, 0.55)
    y, x = np.mgrid[: SIDE // 8, : SIDE // 8] * (8 / SCALE) - MARGIN
    glow = sum(np.exp(-((x - MIDDLE - turn * 1.6 - side * 12) ** 2) / 22 - (y - 39.5) ** 2 / 9) for side in (-1, 1))
    pink = _mix(skin.base, (244, 110, 112), 0.75)
    rosy = skin.base + (pink - skin.base) * (blush * glow)[..., None]
    rosy = cv2.resize(rosy.astype(np.float32), (SIDE, SIDE)).astype(np.uint8)
    within = _stencil(face)
    cv2.copyTo(rosy, within, canvas)
    shadow = _stencil(*(_moved(lock, 0.6, 2.4) for lock in locks), _moved(CAP, 0, 2))
    cv2.copyTo(_towards(rosy, skin.shade, 0.7), cv2.bitwise_and(within, shadow), canvas)
    _stroke(canvas, skin.line, 0.5, face, closed=True)

    centre = MIDDLE + turn * 2.2
    nose = _curve([(centre + 0.1, 39.6), (centre + 0.5 * np.sign(turn) + 0.2, 40.8)])
    _stroke(canvas, _mix(skin.shade, skin.line, 0.35), 0.5, nose)
    _mouth(canvas, look["mouth"], skin, centre - turn * 0.3, 46.3 + chin * 0.5)
    _eyes(canvas, look, _mix(hair.line, INK, 0.65), skin, turn, rng)


def _mouth(canvas, name: str, skin: _Tones, x: float, y: float) -> None:
    line, inside, tongue = _mix(skin.line, (150, 50, 50), 0.4), (176, 62, 66), (240, 132, 128)
    if name == "open":
        lips = [(-3, -1.2), (0, -0.8), (3, -1.2), (2.1, 1.8), (0, 2.8), (-2.1, 1.8)]
        shape = _moved(_curve(lips, closed=True), x, y)
        _fill(canvas, inside, shape)
        _fill(canvas, tongue, _ellipse(x, y + 1.8, 1.5, 0.9))
        _stroke(canvas, line, 0.4, shape, closed=True)
    elif name == "grin":
        upper, lower = _curve([(-4, -1.2), (0, -0.4), (4, -1.2)]), _curve([(2.6, 1.2), (0, 2.1), (-2.6, 1.2)])
        shape = _moved(np.vstack([upper, lower]), x, y)
        _fill(canvas, (255, 252, 250), shape)
        _stroke(canvas, line, 0.5, shape, closed=True)
    elif name == "small":
        shape = _ellipse(x, y, 1.4, 1.7)
        _fill(canvas, inside, shape)
        _stroke(canvas, line, 0.35, shape, closed=True)
    else:
        path = {
            "smile": [(-3.3, -0.7), (-1.5, 0.4), (0, 0.7), (1.5, 0.4), (3.3, -0.7)],
            "calm": [(-2.2, 0), (0, 0.25), (2.2, 0)],
            "cat": [(-3.2, -0.7), (-1.6, 0.7), (0, -0.4), (1.6, 0.7), (3.2, -0.7)],
            "pout": [(-2, 0.6), (0, -0.4), (2, 0.6)],
        }[name]
        _stroke(canvas, line, 0.6, _curve(np.add(path, (x, y))))
        _stroke(canvas, skin.shade, 0.4, [(x - 1, y + 2.2), (x + 1, y + 2.2)])


def _eyes(canvas, look: dict, lash, skin: _Tones, turn: float, rng) -> None:
    """Both eyes: iris and highlights go on one sheet of white, which the lids then cut out."""
    iris = _tones(_varied(rng, EYES[look["eye_colour"]]))
    deep, glow = _mix(iris.base * 0.4, PLUM, 0.25), _mix(iris.base, WHITE, 0.7)
    grow, gaze = rng.uniform(0.95, 1.06), rng.uniform(-0.5, 0.5)
    slant = {"round": 0.0, "gentle": 0.14, "sharp": -0.15}[look["eye_shape"]]
    tall = grow * {"round": 1.0, "gentle": 0.95, "sharp": 0.87}[look["eye_shape"]]
    ry, y = 5.6 * tall, EYE_Y + 0.2
    sheet = _gradient((EYE_Y - 5, (178, 170, 204)), (EYE_Y - 0.5, (248, 246, 252)), (EYE_Y + 6, WHITE))
    glass = _gradient((y - 0.75 * ry, deep), (y, iris.base), (y + 0.85 * ry, _mix(iris.base, WHITE, 0.6)))
    places = []
    for side in (-1, 1):
        wide = grow * (1 - 0.07 * turn * side)  # the far eye is narrower
        centre = MIDDLE + side * EYE_X * (1 - 0.03 * turn * side) + turn * 1.6
        places.append((np.array([[wide * side, slant * wide], [0, tall]]), (centre, EYE_Y)))
        x, rx = centre + gaze - 0.1 * side, 4.3 * wide
        _fill(sheet, _mix(deep, INK, 0.4), _ellipse(x, y, rx, ry))
        _paint(sheet, glass, _ellipse(x, y, rx * 0.84, ry * 0.88))
        _fill(sheet, _mix(deep, INK, 0.5), _ellipse(x, y - 0.3, rx * 0.42, ry * 0.46))
        _fill(sheet, glow, _ellipse(x, y + 0.60 * ry, rx * 0.5, ry * 0.17))
    _paint(canvas, sheet, *(EYE_OPENING @ matrix + centre for matrix, centre in places))
    for matrix, centre in places:
        _stroke(canvas, _mix(lash, skin.shade, 0.55), 0.4, LOWER_LASH @ matrix + centre)
        _stroke(canvas, _mix(skin.shade, skin.line, 0.45), 0.35, EYELID @ matrix + centre)
        _fill(canvas, lash, UPPER_LASH @ matrix + centre)
        x = centre[0] + gaze  # light falls from one side: the highlights are not mirrored
        _fill(canvas, WHITE, _ellipse(x - 1.7, y - 2.3, 1.45, 1.7), _ellipse(x + 1.7, y + 2.4, 0.75, 0.85))


def _brows(canvas, name: str, colour, turn: float) -> None:
    inner, outer = {"soft": (0.3, 0.8), "stern": (1.7, -0.4), "worried": (-0.9, 1.5)}[name]
    brow = np.vstack([_curve([(-4.2, inner), (0.5, -0.9), (5, outer)]), _curve([(0.5, -0.2), (-4.2, inner + 0.9)])])
    for side in (-1, 1):
        _fill(canvas, colour, brow * (side, 1) + (MIDDLE + side * EYE_X + turn * 1.8, EYE_Y - 8.8))


def _fringe(name: str, turn: float, rng) -> list[np.ndarray]:
    """Locks over the forehead, each from the crown to its tip, in the order in which they are laid."""
    count = {"blunt": 9, "choppy": 6}.get(name, 7)
    edges = np.linspace(-18, 18, count + 1)
    edges[1:-1] += rng.uniform(-0.9, 0.9, count - 1)
    middles = (edges[1:] + edges[:-1]) / 2
    part = {"curtain": 0.0, "swept left": 9.0, "swept right": -9.0}.get(name)
    if part is None:  # straight down
        valley, tip = {"blunt": (23.5, 26.5), "choppy": (20.5, 28.5), "centre lock": (19.5, 27.5)}[name]
        valleys = valley + 0.012 * edges**2
        lean = 0.08 * middles + rng.uniform(-0.8, 0.8, count)
        tips = tip + 0.010 * middles**2 + rng.uniform(-1, 1, count) * (0.4 if name == "blunt" else 1.5)
    else:  # to both sides of a parting, longer the further from it
        valleys = 14.5 + 0.42 * abs(edges - part)
        away = middles - part
        lean = np.sign(away) * (1.5 + 0.16 * abs(away))
        tips = np.minimum(19.5 + 0.62 * abs(away), 33) + rng.uniform(-0.8, 0.8, count)
    corners = np.stack([MIDDLE + edges, valleys], axis=1)
    ends = np.stack([MIDDLE + middles + lean, tips], axis=1)
    locks = list(zip(corners[:-1], ends, corners[1:], strict=True))
    locks.sort(key=lambda lock: -abs(lock[1][0] - MIDDLE))
    if name == "centre lock":
        locks.append(((MIDDLE - 3.6, 17), (MIDDLE + rng.uniform(-1.5, 1.5), 35), (MIDDLE + 3.6, 17)))
    return [np.vstack([[CROWN], _moved(_lock(*lock), turn * 1.3)]) for lock in locks]


def _side_locks(shape: str, turn: float, rng) -> list[np.ndarray]:
    """The two locks that frame the face."""
    length = {"short": 44, "bob": 51, "spiky": 44, "long": 62, "wavy": 58, "buns": 50}.get(shape, 52)
    length += rng.uniform(-2, 2)
    inner = _curve([(49, 14), (48.6, 26), (48.6, 36), (47.2, length)])
    outer = _curve([(47.2, length), (51.2, length - 7), (54.3, 0.5 * length + 12), (56, 25), (54, 14)])
    lock = np.vstack([inner, outer])
    return [_moved(lock, turn * 0.6), _moved(_mirrored(lock), turn * 0.6)]


def _front_hair(canvas, look: dict, hair: _Tones, paint, fringe, sides, turn: float) -> None:
    """Side locks, the cap over the head, the fringe, and the brows, which show through it."""
    _paint(canvas, paint, *sides)
    _stroke(canvas, hair.line, 0.45, *sides, closed=True)
    _paint(canvas, paint, CAP)
    _stroke(canvas, hair.line, 0.45, np.vstack([_mirrored(DOME_EDGE)[::-1], DOME_EDGE]))
    for lock in fringe:
        _paint(canvas, paint, lock)
        _stroke(canvas, hair.line, 0.4, lock[1:])
    _brows(canvas, look["brows"], _mix(hair.line, hair.base, 0.25), turn)


def _ornament(canvas, name: str, rng) -> None:
    """A small thing worn on one side of the head, or a band across it."""
    colour = _tones(_varied(rng, ORNAMENT[_draw(rng, dict.fromkeys(ORNAMENT, 1))]))
    flip = _mirrored if rng.random() < 0.5 else np.asarray
    if name == "hairpin":
        shapes = [np.array([(42, y), (47.5, y + 1.6), (47.2, y + 3), (41.7, y + 1.4)]) for y in (15, 18.4)]
    elif name == "ribbon":
        tilt = np.array([[0.8, 0.6], [-0.6, 0.8]])
        wing = _curve([(0.8, -0.8), (5, -4), (6.5, -0.5), (5.4, 3), (0.8, 0.8)], closed=True) @ tilt
        shapes = [_moved(wing, 48, 9), _moved(-wing, 48, 9), _ellipse(48, 9, 1.7, 1.7)]
    elif name == "headband":
        arc = _curve([(x, 3.2 + (x - MIDDLE) ** 2 / 50) for x in (8, 16, 24, 32, 40, 48, 56)])
        shapes = [np.vstack([arc, _moved(arc[::-1], 0, 2.8)])]
    elif name == "flower":
        petals = np.arange(5) * 2 * np.pi / 5 + rng.uniform(0, 1)
        shapes = [_ellipse(49.5 + 2.7 * np.cos(a), 10.5 + 2.7 * np.sin(a), 2.3, 2.3) for a in petals]
    else:
        return
    for shape in map(flip, shapes):
        _fill(canvas, colour.base, shape)
        _stroke(canvas, colour.line, 0.4, shape, closed=True)
    if name == "flower":
        _fill(canvas, (255, 226, 120), flip(_ellipse(49.5, 10.5, 1.5, 1.5)))


def _posed(canvas, rng, size: int) -> np.ndarray:
    """The upright drawing tilted, scaled and moved a little, cut to the picture and reduced to its size."""
    pivot = (MIDDLE + MARGIN) * SCALE, (EYE_Y + MARGIN) * SCALE
    pose = cv2.getRotationMatrix2D(pivot, rng.uniform(-7, 7), rng.uniform(1.08, 1.18))
    pose[:, 2] += rng.uniform(-1.5, 1.5, 2) * SCALE - MARGIN * SCALE
    whole = cv2.warpAffine(canvas, pose, (64 * SCALE, 64 * SCALE), borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA)
