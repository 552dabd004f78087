"""Say what a scene shows, in one of many ways: parts are left out, reordered and reworded, so that no phrase is required."""

NUMBERS = {1: "one", 2: "two", 3: "three"}
THINGS = {"house": ["house", "house", "cottage"], "boat": ["sailboat", "boat"], "balloon": ["hot air balloon"]}
TREES = {"pine": "pine tree", "palm": "palm tree", "round": "round tree"}
GROUNDS = {
    "meadow": ["a green meadow", "a meadow"], "desert": ["a desert", "a sandy desert"],
    "snow": ["a snowy field", "snow"], "sea": ["the sea", "a blue sea"],
}
TIMES = {
    "dawn": ["at dawn", "in the early morning"], "day": ["by day", "on a sunny day", "in daylight"],
    "sunset": ["at sunset", "at dusk"], "night": ["at night", "under a starry night sky"],
}


def choose(options, key, rng):
    """One of options[key]. Every row draws, so that the generator moves on by the same amount whatever the key is."""
    return {k: rng.choice(v) if len(v) > 1 else v[0] for k, v in options.items()}[key]


def place(where, rng):
    center = rng.choice(["in the center", "in the middle"])
    return {"left": "on the left", "center": center, "right": "on the right"}[where]


def describe(scene, rng):
    """One caption; the generator decides which."""
    chance = rng.random
    parts = []
    if scene.thing:
        part = "a %s %s" % (scene.thing_colour, choose(THINGS, scene.thing, rng))
        parts.append(part + (" " + place(scene.thing_place, rng) if chance() < 0.75 else ""))
    if scene.n_trees:
        number = NUMBERS[scene.n_trees] if scene.n_trees > 1 or chance() < 0.5 else "a"
        part = "%s %s%s" % (number, TREES[scene.tree], "s" if scene.n_trees > 1 else "")
        parts.append(part + (" " + place(scene.tree_place, rng) if chance() < 0.6 else ""))
    if scene.mountains and chance() < 0.95:
        parts.append("%s%s mountains" % ("snow-capped " if scene.has_snowcaps else "", scene.mountains))
    if scene.orb and chance() < 0.9:
        part = "a " + (scene.orb_size + " " if chance() < 0.8 else "") + scene.orb
        parts.append(part + (" " + place(scene.orb_place, rng) if chance() < 0.5 else ""))
    if scene.n_clouds and chance() < 0.85:
        parts.append(rng.choice(["clouds", "white clouds", "a cloudy sky"]))
    rng.shuffle(parts)

    ground, time = choose(GROUNDS, scene.ground, rng), choose(TIMES, scene.time, rng)
    rest = ", ".join(parts)
    over = chance() < 0.3
    text = "%s %s" % (ground, time)
    if rest:
        text = rng.choice(["%s %s, %s" % (ground, time, rest),
                           "%s, %s %s" % (rest, ground, time),
                           "%s over %s, %s" % (rest, ground, time) if over else "%s, %s, %s" % (time, rest, ground)])
    start = rng.choice(["", "", "a flat illustration of ", "an illustration of ", "a landscape with "])
    return (start + text).strip()
