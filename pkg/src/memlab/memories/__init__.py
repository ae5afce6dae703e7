"""Associative memories: what is stored is a state, a memory is the rule that writes and reads it.

    memory = KeyValue(top_k=1)
    state = memory.empty(key_dim=128, value_dim=1024)
    state = memory.write(state, keys, values)          # a new state; the old one is as it was
    latents = memory.read(state, queries)              # (qry, value)

Axes: `pat` stored pairs or patterns, `val` stored values, `qry` queries; `key` and `value` are the
widths of the two halves of a pair, `dim` that of a pattern that is its own key; `slot` counts a
memory matrix's rows.

| memory | keeps | reads |
|---|---|---|
| `KeyValue` (key_value.py) | every row: grows as it is written | the nearest key's value, exactly |
| `Sharded` (sharded.py) | the same, shared out over processes | the same rows as one process |
| `PseudoInverse` (linear.py) | one matrix, by least squares | a linear map of the query |
| `Recursive` (recursive.py) | the same, updated a row at a time | a linear map of an address |
| `Kanerva` (kanerva.py) | a Gaussian over such matrices | its mean, and how sure it is |
| `Larimar` (linear.py) | one matrix, addressed through itself | the query's projection |
| `PublishedLarimar` (published.py) | the same by iteration, noisy | the same, if it converges |
| `Hopfield` (hopfield.py) | a sum of outer products | the fixed point that the cue runs into |
| `DenseHopfield` (hopfield.py) | every pattern | softmax attention over the patterns |

`RowFolder` (row_folder.py) keeps the rows of a `KeyValue` in files: written in a stream, read where
they lie. Addresses over a fixed reference memory are made in addressing.py; laws.py says what
theory expects of each memory.

What is given may be of any real dtype and lie on any device; nothing is cut to the dtype of a
question. A state owns what it holds, never changes, and may be written in one mode of torch (no
gradients, inference, autocast) and read in another.

Nothing here draws a random number, except with a generator that the caller gives.
"""

from memlab.memories.addressing import gaussian_addresses, linear_addresses
from memlab.memories.checks import check_rows
from memlab.memories.hopfield import DenseHopfield, DenseState, Hopfield, HopfieldState
from memlab.memories.kanerva import Kanerva, KanervaState
from memlab.memories.key_value import KeyValue, KeyValueState
from memlab.memories.linear import Larimar, LarimarState, LinearState, PseudoInverse
from memlab.memories.published import PublishedLarimar, iterate_inverse, iteration_residual
from memlab.memories.recursive import Recursive, RecursiveState
from memlab.memories.row_folder import RowFolder
from memlab.memories.sharded import Sharded, ShardedState

__all__ = [
    "DenseHopfield",
    "DenseState",
    "Hopfield",
    "HopfieldState",
    "Kanerva",
    "KanervaState",
    "KeyValue",
    "KeyValueState",
    "Larimar",
    "LarimarState",
    "LinearState",
    "PseudoInverse",
    "PublishedLarimar",
    "Recursive",
    "RecursiveState",
    "RowFolder",
    "Sharded",
    "ShardedState",
    "check_rows",
    "gaussian_addresses",
    "iterate_inverse",
    "iteration_residual",
    "laws",
    "linear_addresses",
    "rows",
]
