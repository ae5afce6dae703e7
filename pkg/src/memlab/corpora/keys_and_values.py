"""What facts are made of: keys of three plain words, and values as words, numbers and uuids, two
sides of each.

A quarter of all keys and values, chosen by their hash, is for facts that are asked about; the rest
fills haystacks. So no answer has to be compared with a haystack of ten million tokens, and many
trials may share one.
"""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Container, Iterator

from memlab import runtime
from memlab.corpora import text

KINDS = ("number", "word", "uuid")
DIGITS = range(4, 13)

QUALITIES = """able ample ancient angry antique average awkward bare bent bitter blunt bold brave
brief bright broad broken busy calm careful cheap cheerful clean clever cold common cool costly
crooked curious curved damp dark deep dirty dry dull eager early elegant empty even faded faint
famous fancy fast firm flat fragile fresh gentle giant grand heavy hollow huge humble idle jolly
lazy light little lonely loud lucky modest muddy narrow noisy odd old painted patient plain polished
proud quaint quiet rare restless round rusty shy slender tiny""".split()
MATERIALS = """amber ashen azure bamboo beige birch black blue brass brick bronze brown cedar
ceramic chalk charcoal cherry clay cobalt copper coral cork cotton cream crimson crystal ebony elm
emerald enamel felt flax flint gilded glass golden granite green grey hazel hemp indigo iron ivory
jade khaki lace lavender lead leather lilac lime linen magenta maple marble maroon mauve nickel
oaken olive orange paper pearl pewter pine pink porcelain purple quartz red ruby saffron sandstone
scarlet silk silver slate steel straw tin turquoise velvet""".split()
THINGS = """anchor anvil apron armchair axe banjo barrel basin basket beacon bell bench blanket
bonnet bowl bracelet bucket buckle button candle canoe carpet cart chest chisel cloak coffer comb
compass cradle curtain dagger desk dinghy drum easel fiddle flask fork fountain goblet gong hammer
hammock harp hatchet helmet hinge jug kettle kite ladder lantern lute mallet mask mirror mitten
necklace oven paddle pillow pitcher plough pulley quill raft rake ribbon rocket rope ruler saddle
scarf shovel sickle sledge spade spindle spoon stool sundial teapot thimble trumpet tunic umbrella
vase violin wagon wallet wheel whip whistle wig winch wrench yoke zither""".split()
_KEYS = len(QUALITIES) * len(MATERIALS) * len(THINGS)


def asked_about(name: str) -> bool:
    """Whether a key or value is one of the quarter that facts are asked about; the others fill
    haystacks."""
    return runtime.derive_seed(0, "asked about", name) % 4 == 0


def _key(number: int) -> str:
    number, thing = divmod(number, len(THINGS))
    quality, material = divmod(number, len(MATERIALS))
    return f"{QUALITIES[quality]} {MATERIALS[material]} {THINGS[thing]}"


def new_key(rng: random.Random, taken: Container[str] = ()) -> str:
    """A key to be asked about, such as "quiet amber lantern", that is not taken yet."""
    while True:
        key = _key(rng.randrange(_KEYS))
        if asked_about(key) and key not in taken:
            return key


def neighbours(key: str) -> list[str]:
    """All keys to be asked about that share two of their three words with `key`: the hardest to
    tell from it."""
    words = key.split()
    near = []
    for place, some in enumerate((QUALITIES, MATERIALS, THINGS)):
        for other in some:
            changed = " ".join((*words[:place], other, *words[place + 1 :]))
            if other != words[place] and asked_about(changed):
                near.append(changed)
    return near


def haystack_keys(rng: random.Random) -> Iterator[str]:
    """Every key that is never asked about, once each, in an order that depends on `rng`: about half
    a million."""
    start = rng.randrange(_KEYS)
    step = round(_KEYS * 0.6180339887)
    while math.gcd(step, _KEYS) > 1:  # without a common factor the walk visits every key
        step += 1
    numbers = ((start + step * i) % _KEYS for i in range(_KEYS))
    return (key for key in map(_key, numbers) if not asked_about(key))


def check(kind: str, digits: int) -> None:
    """ValueError unless `kind` is one of `KINDS`, and numbers have 4 to 12 digits."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind of value {kind!r}: expected one of {', '.join(KINDS)}")
    if digits not in DIGITS:
        raise ValueError(f"expected numbers of {DIGITS[0]} to {DIGITS[-1]} digits, got {digits}")


def _draw(
    kind: str,
    rng: random.Random,
    digits: int,
) -> str:
    if kind == "number":
        return str(rng.randrange(10 ** (digits - 1), 10**digits))
    if kind == "uuid":
        return str(uuid.UUID(int=rng.getrandbits(128), version=4))
    word = ""
    while not 6 <= len(word) <= 12:
        word = text.made_up_word(rng)
    return word


def new_value(
    kind: str,
    rng: random.Random,
    *,
    digits: int = 7,
    taken: Container[str] = (),
    asked: bool = True,
) -> str:
    """A made-up word of 6 to 12 letters ("word"), a number of `digits` digits ("number") or a
    "uuid".

    It is not in `taken`, and of the side that facts are asked about, or of the other one.
    ValueError: see `check`.
    """
    check(kind, digits)
    while True:
        value = _draw(kind, rng, digits)
        if asked_about(value) == asked and value not in taken:
            return value
