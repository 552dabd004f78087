"""Flat landscapes to learn from: a scene is sampled from a seed, drawn at twice its size, and scaled down to 256x256.

    python tools/demo_model/scenes.py scenes.png        a sheet of 24 with their captions

A scene is a few choices (time of day, ground, a thing, trees, mountains, sun or moon, clouds) and small random offsets. The
random generator is consumed in a fixed order, so a seed means the same picture on every machine; captions.py uses it next.
"""
import math
import random
import sys
from dataclasses import dataclass
from typing import Optional

from PIL import Image, ImageDraw

CANVAS, SIZE = 512, 256

SKIES = {                               # colour at the top, colour at the horizon
    "dawn": ((88, 110, 178), (255, 196, 170)),
    "day": ((74, 144, 217), (190, 226, 247)),
    "sunset": ((96, 62, 128), (255, 142, 82)),
    "night": ((12, 18, 52), (44, 58, 112)),
}
GROUNDS = {                             # colour at the horizon, colour at the bottom
    "meadow": ((112, 178, 84), (74, 138, 62)),
    "desert": ((234, 200, 132), (206, 160, 92)),
    "snow": ((244, 248, 252), (206, 220, 236)),
    "sea": ((58, 134, 190), (28, 84, 148)),
}
MOUNTAINS = {"blue": (84, 112, 164), "purple": (118, 86, 150), "grey": (120, 124, 132), "green": (66, 122, 88)}
COLOURS = {
    "red": (208, 58, 52), "blue": (52, 98, 196), "yellow": (242, 200, 62), "white": (242, 240, 234),
    "green": (62, 150, 86), "orange": (238, 138, 48), "pink": (236, 130, 168), "purple": (136, 78, 176),
}
PLACES = {"left": 0.24, "center": 0.5, "right": 0.76}   # of the width
LIGHT = {                               # how bright things are, and the tint of the light
    "dawn": (0.9, (255, 214, 190)), "day": (1.0, (255, 255, 255)),
    "sunset": (0.84, (255, 190, 140)), "night": (0.5, (150, 170, 235)),
}
WHITE = (255, 255, 255)


@dataclass
class Scene:
    time: str
    ground: str
    orb: Optional[str]                  # "sun", "moon" or None
    orb_size: str
    orb_place: str
    n_clouds: int
    mountains: Optional[str]            # their colour
    has_snowcaps: bool
    thing: Optional[str]                # "house", "boat", "balloon" or None
    thing_colour: str
    thing_place: str
    n_trees: int
    tree: str                           # "pine", "palm" or "round"
    tree_place: str


def sample(rng):
    """A scene that makes sense: boats at sea, palms in the desert, no tree in front of the house."""
    time = rng.choice(list(SKIES))
    ground = rng.choice(list(GROUNDS))
    orb = rng.choice(["moon", "moon", None] if time == "night" else ["sun", "sun", None])
    orb_size = rng.choice(["small", "large"])
    orb_place = rng.choice(list(PLACES))
    n_clouds = rng.choice([0, 0, 2, 3])
    mountains = rng.choice([None] + list(MOUNTAINS))
    has_snowcaps = bool(mountains) and rng.random() < 0.35
    home = "boat" if ground == "sea" else "house"
    thing = rng.choice([None, "balloon", home, home])
    thing_colour = rng.choice(list(COLOURS))
    thing_place = rng.choice(list(PLACES))
    n_trees = 0 if ground == "sea" else rng.choice([0, 1, 2, 3])
    if ground == "desert":
        tree = "palm"
    else:
        tree = rng.choice(["pine", "round"] if ground == "meadow" else ["pine"])
    tree_place = rng.choice([p for p in PLACES if thing != "house" or p != thing_place])
    return Scene(time, ground, orb, orb_size, orb_place, n_clouds, mountains, has_snowcaps,
                 thing, thing_colour, thing_place, n_trees, tree, tree_place)


def mix(a, b, t):
    """Colour a at t = 0, colour b at t = 1."""
    return tuple(int(round(x + (y - x) * t)) for x, y in zip(a, b))


def lit(colour, time, brightness=None):
    """A colour as it looks at this time of day."""
    default, tint = LIGHT[time]
    k = default if brightness is None else brightness
    return tuple(max(0, min(255, int(colour[i] * k * (0.72 + 0.28 * tint[i] / 255)))) for i in range(3))


class Painter:
    """Draws one scene, back to front."""

    def __init__(self, scene, rng):
        self.scene, self.rng = scene, rng
        self.image = Image.new("RGB", (CANVAS, CANVAS))
        self.pen = ImageDraw.Draw(self.image)
        self.horizon = int(CANVAS * (0.60 + 0.04 * rng.random()))

    def paint(self):
        self.sky()
        if self.scene.orb:
            self.sun_or_moon()
        self.clouds()
        if self.scene.mountains:
            self.mountain_range()
        self.land()
        if self.scene.thing:
            {"house": self.house, "boat": self.boat, "balloon": self.balloon}[self.scene.thing]()
        self.trees()
        return self.image.resize((SIZE, SIZE), Image.LANCZOS)

    def lit(self, colour, brightness=None):
        return lit(colour, self.scene.time, brightness)

    def ellipse(self, x, y, rx, ry, fill):
        self.pen.ellipse([x - rx, y - ry, x + rx, y + ry], fill=fill)

    def sky(self):
        top, bottom = SKIES[self.scene.time]
        for y in range(self.horizon):
            self.pen.line([(0, y), (CANVAS, y)], fill=mix(top, bottom, y / self.horizon))
        if self.scene.time == "night":
            for _ in range(60):
                x, y = self.rng.randrange(CANVAS), self.rng.randrange(int(self.horizon * 0.85))
                r = self.rng.choice([1, 1, 1, 2])
                self.ellipse(x, y, r, r, (235, 238, 255))

    def sun_or_moon(self):
        scene, rng = self.scene, self.rng
        r = int(CANVAS * (0.055 if scene.orb_size == "small" else 0.105))
        x = int(CANVAS * PLACES[scene.orb_place] + rng.uniform(-14, 14))
        y = int(CANVAS * (0.2 + 0.06 * rng.random()))
        if scene.orb == "moon":
            self.ellipse(x, y, r, r, (240, 240, 222))
            for dx, dy, k in ((-0.35, -0.2, 0.2), (0.3, 0.25, 0.26), (0.1, -0.45, 0.13)):   # craters
                self.pen.ellipse([x + (dx - k) * r, y + (dy - k) * r, x + (dx + k) * r, y + (dy + k) * r], fill=(218, 218, 200))
        elif scene.time == "sunset":    # half behind the horizon
            self.ellipse(x, int(self.horizon - r * 0.4), r, r, (255, 110, 70))
        else:
            self.ellipse(x, y, r, r, (255, 226, 110))

    def clouds(self):
        colour = mix(SKIES[self.scene.time][1], WHITE, 0.22 if self.scene.time == "night" else 0.72)
        for _ in range(self.scene.n_clouds):
            x = self.rng.randrange(40, CANVAS - 40)
            y = int(CANVAS * (0.1 + 0.26 * self.rng.random()))
            w = self.rng.uniform(26, 44)
            for dx, dy, k in ((-1, 0.1, 0.7), (0, -0.2, 1), (1, 0.1, 0.75), (0, 0.25, 0.8)):
                self.pen.ellipse([x + dx * w - w * k, y + dy * w - w * k * 0.55, x + dx * w + w * k, y + dy * w + w * k * 0.55], fill=colour)

    def mountain_range(self):
        scene, rng, horizon = self.scene, self.rng, self.horizon
        colour = self.lit(MOUNTAINS[scene.mountains])
        for is_far in (1, 0):
            fill = mix(colour, SKIES[scene.time][1], 0.35 * is_far)
            n = rng.choice([2, 3])
            for i in range(n):
                x = CANVAS * (i + 0.5) / n + rng.uniform(-40, 40) + (60 if is_far else 0)
                h = CANVAS * (0.17 + 0.12 * rng.random()) * (1.15 if is_far else 0.9)
                w = CANVAS * (0.24 + 0.1 * rng.random())
                self.pen.polygon([(x - w, horizon), (x, horizon - h), (x + w, horizon)], fill=fill)
                if scene.has_snowcaps:
                    k = 0.3                                     # of the height
                    edge = h * (1 - k)
                    self.pen.polygon([(x - w * k, horizon - edge), (x, horizon - h), (x + w * k, horizon - edge),
                                      (x + w * k * 0.4, horizon - edge * 1.06), (x, horizon - edge * 0.96),
                                      (x - w * k * 0.45, horizon - edge * 1.07)], fill=self.lit((250, 252, 255)))

    def land(self):
        rng, horizon, ground = self.rng, self.horizon, self.scene.ground
        far, near = (self.lit(c) for c in GROUNDS[ground])
        for y in range(horizon, CANVAS):
            self.pen.line([(0, y), (CANVAS, y)], fill=mix(far, near, (y - horizon) / (CANVAS - horizon)))
        if ground == "sea":             # waves, longer when nearer
            for _ in range(16):
                x, y = rng.randrange(CANVAS), rng.randrange(horizon + 8, CANVAS)
                w = rng.uniform(14, 44) * (0.5 + (y - horizon) / (CANVAS - horizon))
                self.pen.line([(x - w, y), (x + w, y)], fill=mix(far, WHITE, 0.35), width=3)
        if ground == "desert":          # dunes
            for _ in range(3):
                x, y = rng.randrange(CANVAS), rng.randrange(horizon + 30, CANVAS - 20)
                self.pen.arc([x - 120, y, x + 120, y + 50], 190, 350, fill=mix(near, (120, 80, 40), 0.3), width=4)

    def standing_place(self, depth):
        """Where the thing touches the ground: depth 0 is the horizon, 1 the bottom."""
        x = CANVAS * PLACES[self.scene.thing_place] + self.rng.uniform(-12, 12)
        return x, self.horizon + (CANVAS - self.horizon) * depth

    def thing_colour(self, brightness_at_night):
        return self.lit(COLOURS[self.scene.thing_colour], brightness_at_night if self.scene.time == "night" else None)

    def house(self):
        scene = self.scene
        x, y = self.standing_place(0.42)
        w, h = CANVAS * 0.11, CANVAS * 0.13
        roof = (176, 62, 54) if scene.thing_colour == "white" else (92, 58, 48)
        self.pen.rectangle([x - w, y - h, x + w, y], fill=self.thing_colour(0.62))
        self.pen.polygon([(x - w * 1.25, y - h), (x, y - h * 1.85), (x + w * 1.25, y - h)], fill=self.lit(roof))
        self.pen.rectangle([x - w * 0.16, y - h * 0.55, x + w * 0.22, y], fill=self.lit((82, 54, 40)))
        window = (255, 226, 130) if scene.time in ("night", "sunset") else self.lit((186, 220, 240))
        for x0, x1 in ((x - w * 0.72, x - w * 0.32), (x + w * 0.4, x + w * 0.8)):
            self.pen.rectangle([x0, y - h * 0.72, x1, y - h * 0.36], fill=window)

    def boat(self):
        x, y = self.standing_place(0.34)
        w = CANVAS * 0.12
        hull, sail = self.lit((122, 76, 52)), self.thing_colour(0.7)
        self.pen.polygon([(x - w, y - 14), (x + w, y - 14), (x + w * 0.66, y + 20), (x - w * 0.66, y + 20)], fill=hull)
        self.pen.rectangle([x - 3, y - CANVAS * 0.23, x + 3, y - 14], fill=hull)
        self.pen.polygon([(x + 7, y - CANVAS * 0.22), (x + w * 0.95, y - 26), (x + 7, y - 26)], fill=sail)
        self.pen.polygon([(x - 7, y - CANVAS * 0.19), (x - w * 0.6, y - 26), (x - 7, y - 26)], fill=sail)

    def balloon(self):
        x, y, r = CANVAS * PLACES[self.scene.thing_place] + self.rng.uniform(-10, 10), CANVAS * 0.33, CANVAS * 0.095
        colour = self.thing_colour(0.72)
        self.pen.ellipse([x - r, y - r * 1.1, x + r, y + r * 0.95], fill=colour)
        self.pen.polygon([(x - r * 0.78, y + r * 0.5), (x + r * 0.78, y + r * 0.5), (x + r * 0.22, y + r * 1.45),
                          (x - r * 0.22, y + r * 1.45)], fill=colour)
        self.pen.ellipse([x - r * 0.36, y - r * 1.1, x + r * 0.36, y + r * 0.95], fill=mix(colour, WHITE, 0.4))
        self.pen.rectangle([x - r * 0.24, y + r * 1.6, x + r * 0.24, y + r * 2.0], fill=self.lit((124, 80, 50), 0.9))
        for side in (-1, 1):            # ropes
            rope = x + side * r * 0.22
            self.pen.line([(rope, y + r * 1.4), (rope, y + r * 1.6)], fill=(90, 60, 40), width=3)

    def trees(self):
        scene, rng = self.scene, self.rng
        places = [PLACES[scene.tree_place] + (i - (scene.n_trees - 1) / 2) * 0.115 + rng.uniform(-0.012, 0.012)
                  for i in range(scene.n_trees)]
        grow = {"pine": self.pine, "palm": self.palm, "round": self.round_tree}[scene.tree]
        for place in places:
            y = self.horizon + (CANVAS - self.horizon) * (0.55 + 0.12 * rng.random())
            grow(CANVAS * place, y, CANVAS * (0.2 + 0.03 * rng.random()), self.lit((104, 70, 48)))

    def pine(self, x, y, h, trunk):
        colour = self.lit((36, 104, 74))
        self.pen.rectangle([x - 6, y - h * 0.2, x + 6, y], fill=trunk)
        for k in range(3):
            w = h * (0.27 - 0.05 * k)
            self.pen.polygon([(x - w, y - h * (0.15 + 0.25 * k)), (x, y - h * (0.58 + 0.2 * k)),
                              (x + w, y - h * (0.15 + 0.25 * k))], fill=mix(colour, WHITE, 0.05 * k))

    def palm(self, x, y, h, trunk):
        colour, top = self.lit((58, 146, 70)), y - h * 0.85
        self.pen.line([(x, y), (x + 8, top)], fill=trunk, width=11)
        for angle in (200, 235, 270, 305, 340, 160, 20):
            tip = (x + 8 + math.cos(math.radians(angle)) * h * 0.36, top + math.sin(math.radians(angle)) * h * 0.26)
            self.pen.line([(x + 8, top), tip], fill=colour, width=12)

    def round_tree(self, x, y, h, trunk):
        self.pen.rectangle([x - 7, y - h * 0.4, x + 7, y], fill=trunk)
        self.pen.ellipse([x - h * 0.3, y - h, x + h * 0.3, y - h * 0.32], fill=self.lit((78, 156, 70)))


def make(seed):
    """Picture number `seed`: (image, scene, the generator that goes on with the caption)."""
    rng = random.Random(seed)
    scene = sample(rng)
    return Painter(scene, rng).paint(), scene, rng


if __name__ == "__main__":
    import captions
    sheet = Image.new("RGB", (SIZE * 6, SIZE * 4))
    for seed in range(24):
        image, scene, rng = make(seed)
        sheet.paste(image, (seed % 6 * SIZE, seed // 6 * SIZE))
        print(seed, captions.describe(scene, rng))
    sheet.save(sys.argv[1] if len(sys.argv) > 1 else "scenes.png")
