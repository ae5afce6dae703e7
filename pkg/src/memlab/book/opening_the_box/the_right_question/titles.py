"""English titles of poems that nobody wrote, and other words for each of them. All are the book's
own.

The alterations differ in what stays the same for whom. To us a paraphrase is the same title and a
neighbour another one; a reader of letters sees it the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass

# Title|its beginning|other words, of which one or more stand in the title|other words, none of
# which do|in French|one word of the title given way to another that is spelt nearly alike
_TABLE = """
The Empty House|The Empty|A house with nobody in it|A building where no one lives\
|La maison vide|The Empty Horse
My Brother's Last Letter|My Brother's|A letter, written before the end|Final note from a sibling\
|La dernière lettre de mon frère|My Brother's Last Ladder
Night Train to the Coast|Night Train|A train that runs after dark|By rail to the sea, while others\
 sleep|Le train de nuit vers la côte|Night Train to the Ghost
A Wedding in the Rain|A Wedding|Rain fell when they married|Bride and groom, soaked to the skin\
|Un mariage sous la pluie|A Wedding in the Ruin
The Broken Clock|The Broken|A clock that stopped|Timepiece out of order\
|L'horloge cassée|The Broken Cloak
Bread for the Poor|Bread|Giving bread to beggars|Loaves handed to people in need\
|Du pain pour les pauvres|Bread for the Moor
The Drowned Sailor|The Drowned|A sailor whom the waves took|Seaman who sank in a gale\
|Le marin noyé|The Drowned Tailor
Apples in Winter|Apples|Eating apples when it is cold|Fruit when days are short\
|Des pommes en hiver|Apples in Water
My Mother's Garden|My Mother's|A garden kept by the woman who bore me|Flower beds tended by Mum\
|Le jardin de ma mère|My Mother's Warden
The Road Home|The Road|Coming home|The way back to where I live\
|Le chemin de la maison|The Toad Home
An Old Dog Sleeping|An Old Dog|A dog, grey with age, at rest|Aged hound having a nap\
|Un vieux chien qui dort|An Old Dog Slipping
The Queen's Funeral|The Queen's|At the funeral of her majesty|A female monarch is laid to rest\
|Les funérailles de la reine|The Queen's Funnel
Learning to Swim|Learning|How a boy came to swim|Lessons in the deep end of a pool\
|Apprendre à nager|Learning to Swing
Snow on the Battlefield|Snow|White flakes over a battlefield|Where soldiers fought, all is white\
|La neige sur le champ de bataille|Show on the Battlefield
The Thief's Confession|The Thief's|A confession by one who stole|The robber admits everything\
|L'aveu du voleur|The Chief's Confession
Birds Leaving in Autumn|Birds Leaving|Autumn, and no swallow is left\
|They fly south before the frost|Les oiseaux partent en automne|Bards Leaving in Autumn
The Hospital Window|The Hospital|A view from the hospital|What a patient sees through the glass\
|La fenêtre de l'hôpital|The Hospital Widow
A Cup of Coffee Alone|A Cup|Drinking coffee with nobody|One espresso and no company\
|Une tasse de café, seul|A Cup of Toffee Alone
The Lighthouse Keeper|The Lighthouse|He who lives in the lighthouse|The man who tends the lamp by\
 the sea|Le gardien du phare|The Lighthouse Beeper
Counting My Money|Counting|How much money is left|A miser sums up his coins\
|Compter mon argent|Counting My Monkey
The Borrowed Coat|The Borrowed|A coat that is not mine|Wearing a friend's jacket\
|Le manteau emprunté|The Borrowed Goat
Grandfather's Violin|Grandfather's|A violin from a grandparent|The fiddle of an ancestor\
|Le violon de grand-père|Grandfather's Violet
Lost in the Forest|Lost|No path out of the forest|Astray among the trees\
|Perdu dans la forêt|Lost in the Frost
The Price of Gold|The Price|What gold costs|How expensive a precious metal is\
|Le prix de l'or|The Price of Cold
A Child with a Fever|A Child|Fever keeps my little one awake|A sick infant, burning hot\
|Un enfant fiévreux|A Child with a Feather
The Village Well|The Village|Where a village draws its water|A deep hole that waters the hamlet\
|Le puits du village|The Village Wall
Dancing with a Stranger|Dancing|A stranger asked me for a waltz|A waltz with someone I do not know\
|Danser avec un inconnu|Dancing with a Strangler
The Prisoner's Dream|The Prisoner's|A dream behind bars|What an inmate sees in his sleep\
|Le rêve du prisonnier|The Prisoner's Drum
"""


@dataclass(frozen=True)
class Title:
    """A title, and what else it may be called: see the comment at the table."""

    title: str
    begun: str
    shared: str
    unshared: str
    french: str
    neighbour: str


TITLES = tuple(Title(*line.split("|")) for line in _TABLE.strip().splitlines())


def misspelt(title: str) -> str:
    """The title with two different neighbouring letters of its longest word exchanged, neither the
    first one: those nearest the middle. ValueError where there are none."""
    word = max(title.split(), key=len, default="")
    places = [
        at
        for at in range(1, len(word) - 1)
        if word[at - 1 : at + 2].isalpha() and word[at] != word[at + 1]
    ]
    if not places:
        raise ValueError(f"expected a word with two letters to exchange, got {title!r}")
    middle = len(word) / 2 - 1
    at = min(places, key=lambda place: abs(place - middle))
    wrong = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return title.replace(word, wrong, 1)
