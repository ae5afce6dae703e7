"""Facts and questions that share no content word: the question is understood or the fact is not
found.

The idea is that of NoLiMa (long-context evaluation beyond literal matching); all pairs are the
book's own. {A} is the person whose name is the answer. No fact answers the question of another
pair.
"""

from __future__ import annotations

_TEST = """
{A} rents a room opposite the Eiffel Tower.|Who lives in Paris?
{A} sells postcards beside the Colosseum.|Who works in Rome?
{A} hears the chimes of Big Ben from bed.|Whose home is in London?
{A} steers a gondola every night.|Who is a resident of Venice?
{A} looks at Mount Fuji while brushing teeth.|Who has settled in Japan?
{A} sees the Sphinx from the kitchen.|Who owns a flat in Egypt?
{A} has never eaten meat or fish.|Who is a vegetarian?
{A} fills and pulls teeth for a living.|Who is the dentist?
{A} feeds the lions and sweeps their cages.|Who has a job at the zoo?
{A} spends all day under sinks with leaking taps.|Who is the plumber?
{A} opens chests and repairs hearts with a scalpel.|Who is a surgeon?
{A} blows out eighty candles on a cake tonight.|Who celebrates a birthday?
{A} needs a white stick to find the kerb.|Who is blind?
{A} lost father and mother as a child.|Who is an orphan?
{A} signed the divorce papers on Tuesday.|Whose marriage is over?
{A} will give birth in May.|Who is pregnant?
{A} must not touch gluten.|Who cannot eat ordinary bread?
{A} owes money to every bank in town.|Who is deep in debt?
{A} milks forty cows before breakfast.|Who is a farmer?
{A} slides down a pole when the siren sounds.|Who is a firefighter?
{A} lands jumbo jets in all weathers.|Who is a pilot?
{A} wears the golden chain in the town hall.|Who is the mayor?
{A} decides in court who goes to prison.|Who is a judge?
{A} sneezes whenever the birches bloom.|Who suffers from hay fever?
{A} bought a ring and went down on one knee.|Who proposed to someone?
{A} runs forty-two kilometres every spring.|Who takes part in marathons?
"""
_DEV = """
{A} rides the lift up the Empire State Building to the office.|Who is employed in New York?
{A} washes the windows of the Kremlin.|Who has work in Moscow?
{A} counts kangaroos from the porch.|Who moved to Australia?
{A} kneads dough from two in the morning.|Who is the baker?
{A} nails iron shoes to hooves.|Who is a blacksmith?
{A} draws plans for houses.|Who is an architect?
{A} digs the graves behind the church.|Who buries the dead?
{A} handed in the homework late again.|Who is a pupil?
{A} draws a pension now.|Who has retired?
{A} has been dry since giving up whisky.|Who used to be an alcoholic?
{A} cannot see the blackboard without glasses.|Who is short-sighted?
{A} injects insulin before meals.|Who is a diabetic?
"""


def _pairs(table: str) -> tuple[tuple[str, str], ...]:
    found = []
    for line in table.strip().splitlines():
        fact, question = line.split("|")
        found.append((fact, question))
    return tuple(found)


PAIRS = {"test": _pairs(_TEST), "dev": _pairs(_DEV)}
