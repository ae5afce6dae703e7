"""The exact scan: a matrix product proposes rows, inner products in float64 decide."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from memlab.memories.rows import Scale, Stored, unpack

# A scan holds so many scores: 16 MiB, whatever the number of keys and queries.
SCORES_AT_ONCE = 2**22
# Numbers of keys, widened or multiplied at a time: 2 MiB, which a cache holds.
NUMBERS_AT_ONCE = 2**19
QUERIES_AT_ONCE = 256
# Neighbouring rows whose best score is looked at first, a tenth of the work of sorting or filtering
# all; with fewer scores than `GROUPED_FROM` it would save nothing.
GROUP = 64
GROUPED_FROM = 2**16
# Relative rounding of a product of float32 where torch may use fewer digits: by the names of torch
# 2.9 ("tf32", "bf16") and of the versions before it.
REDUCED_EPS = {
    "tf32": 2.0**-10,
    "high": 2.0**-10,
    "bf16": 2.0**-7,
    "medium": 2.0**-7,
}
# Lengths whose products float32 holds to all its digits, whatever the rows are like.
SHORTEST = 2.0**-80
LONGEST = 2.0**100


class _Pairs(NamedTuple):
    """Pairs of a query and a row of the keys by their numbers, and their inner products."""

    query: Tensor
    row: Tensor
    score: Tensor


def scan_dtype(keys: Tensor) -> torch.dtype:
    """What queries, proposals and scores are in: float32, or float64 where the keys are."""
    return torch.promote_types(torch.float32, keys.dtype)


def nearest(
    queries: Float[Tensor, "qry key"],
    keys: Stored,
    scale: Scale,
    top_k: int,
    longest: float,
) -> tuple[Float64[Tensor, "qry top_k"], Int[Tensor, "qry top_k"]]:
    """Inner products and rows of the `top_k` best keys of each query, best first; of equal ones the
    lowest row.

    Exact: rows are ranked by inner products in float64 with what the stored rows stand for, each
    computed in the same way wherever the row lies, so the answer depends neither on other queries
    nor on threads or the instruction set.
    """
    # Autocast's bfloat16 would propose wrong rows.
    with torch.autocast(queries.device.type, enabled=False):
        parts = [
            _nearest(block, keys, scale, top_k, longest) for block in queries.split(QUERIES_AT_ONCE)
        ]
    scores = torch.cat([part.score for part in parts])
    rows = torch.cat([part.row for part in parts])
    return scores.view(-1, top_k), rows.view(-1, top_k)


def _nearest(
    queries: Tensor,
    keys: Tensor,
    scale: Tensor,
    top_k: int,
    longest: float,
) -> _Pairs:
    """The `top_k` best pairs of each query, query by query, best first.

    Some keys at a time are proposed by their rounded products; whoever comes within `slack` of the
    k-th best so far is computed again.
    """
    queries, lengths = _proposing(queries, longest)
    slack = _slack(queries, lengths, keys.shape[1], longest)
    floor = torch.full_like(slack, -torch.inf)  # the k-th best score so far
    none = torch.arange(0, device=keys.device)
    best = _Pairs(none, none, slack[:0].double())
    step = _rows_at_once(queries, keys, top_k)
    buffer = None
    if keys.dtype != queries.dtype:
        buffer = queries.new_empty(min(step, len(keys)), keys.shape[1])
    for start in range(0, len(keys), step):
        some = keys[start : start + step]
        wide = some if buffer is None else buffer[: len(some)].copy_(some)
        rough = _products(queries, wide)
        if scale.shape[1]:
            rough *= scale[start : start + step].T
        query, column = _candidates(rough, floor, slack, top_k)
        if not len(query):
            continue
        row = column + start
        score = _inner_products(queries, keys, scale, query, row)
        best = _merged(best, _Pairs(query, row, score), len(queries), top_k)
        floor = best.score.view(-1, top_k)[:, -1].to(queries.dtype)
    return best


def _proposing(queries: Tensor, longest: float) -> tuple[Tensor, Tensor]:
    """The queries in the dtype of the proposals, and their lengths in float64.

    float64 where a product in float32 could vanish or overflow, and propose wrong rows.
    """
    lengths = torch.linalg.vector_norm(queries, dim=1, dtype=torch.float64)
    some = lengths[lengths > 0]
    if queries.dtype == torch.float64 or not len(some) or longest == 0:
        return queries, lengths
    low = float(some.min())
    high = float(some.max())
    if min(low, longest, low * longest) < SHORTEST or max(high, longest, high * longest) > LONGEST:
        return queries.double(), lengths
    return queries, lengths


def _slack(
    queries: Tensor,
    lengths: Tensor,
    width: int,
    longest: float,
) -> Tensor:
    """By how much two rounded scores of each query may stand in the wrong order.

    A matrix product rounds differently with the number of rows, threads and instruction set, by at
    most width · eps · |query| · |key|: twice that.
    """
    share = 2 * (width + 2) * _eps(queries) * longest
    return (share * lengths).to(queries.dtype)


def _rows_at_once(
    queries: Tensor,
    keys: Tensor,
    top_k: int,
) -> int:
    step = SCORES_AT_ONCE // max(len(queries), 1)
    if keys.dtype != queries.dtype:
        step = min(step, NUMBERS_AT_ONCE // max(keys.shape[1], 1))
    return max(step, top_k)


def _merged(
    old: _Pairs,
    new: _Pairs,
    queries: int,
    top_k: int,
) -> _Pairs:
    """The `top_k` best pairs of each query, query by query, best first; of equal ones the `old`
    come first."""
    query = torch.cat([old.query, new.query])
    row = torch.cat([old.row, new.row])
    score = torch.cat([old.score, new.score])
    # Both sorts are stable: equal scores stay in row order.
    order = score.argsort(descending=True, stable=True)
    order = order[query[order].argsort(stable=True)]
    each = torch.arange(queries, device=query.device)
    first = torch.searchsorted(query[order], each)  # where each query's list begins
    ranks = torch.arange(top_k, device=query.device)
    best = order[(first[:, None] + ranks).flatten()]
    return _Pairs(query[best], row[best], score[best])


def _candidates(
    rough: Tensor,
    floor: Tensor,
    slack: Tensor,
    top_k: int,
) -> tuple[Tensor, Tensor]:
    """Query and column of every score that is at most `slack` below the k-th best of its query, and
    of some below it; the columns of a query in order.

    Of many scores, the best of each group are looked at first: the k-th best of these is no better
    than the k-th best of all, and a group whose best is too low holds nothing.
    """
    best = rough if rough.numel() < GROUPED_FROM else _best_of_groups(rough)
    bounding = best if best.shape[1] >= top_k else rough
    if bounding.shape[1] >= top_k:
        kth = bounding.amax(1) if top_k == 1 else bounding.topk(top_k).values[:, -1]
        floor = torch.maximum(floor, kth)
    limit = (floor - slack)[:, None]
    query, column = (best >= limit).nonzero(as_tuple=True)
    if best is rough:
        return query, column
    return _members(rough, limit, query, column)


def _best_of_groups(rough: Tensor) -> Tensor:
    """The best score of each group of neighbours; columns at the end that fill no group are a group
    each."""
    whole = rough.shape[1] // GROUP
    groups = rough[:, : whole * GROUP].unflatten(1, (whole, GROUP))
    rest = rough[:, whole * GROUP :]
    return torch.cat([groups.amax(2), rest], 1)


def _members(
    rough: Tensor,
    limit: Tensor,
    query: Tensor,
    group: Tensor,
) -> tuple[Tensor, Tensor]:
    """Query and column of the scores in these groups that reach the limit of their query."""
    whole = rough.shape[1] // GROUP
    full = group < whole
    asked = query[full]
    columns = group[full, None] * GROUP + torch.arange(GROUP, device=rough.device)
    scores = rough[asked[:, None], columns]
    hit, at = (scores >= limit[asked]).nonzero(as_tuple=True)
    # A column that fills no group is a group of its own, numbered after the whole ones.
    single = group[~full] + whole * (GROUP - 1)
    members = torch.cat([columns[hit, at], single])
    return torch.cat([asked[hit], query[~full]]), members


def _products(queries: Tensor, keys: Tensor) -> Tensor:
    """queries @ keysᵀ. For a few queries, keys that no cache holds are multiplied in blocks that
    one does: one tall product with so few reads RAM at a third to two thirds of the speed."""
    blocks = -(-keys.numel() // NUMBERS_AT_ONCE)
    if keys.is_cuda or len(queries) > 8 or not 1 < blocks <= len(keys):
        return queries @ keys.T
    rows = len(keys) // blocks
    whole = blocks * rows
    tall = keys[:whole].unflatten(0, (blocks, rows))
    scores = queries.new_empty(len(queries), len(keys))
    parts = torch.bmm(tall, queries.T.expand(blocks, -1, -1))
    scores[:, :whole] = parts.permute(2, 0, 1).flatten(1)
    scores[:, whole:] = queries @ keys[whole:].T
    return scores


def _eps(queries: Tensor) -> float:
    """Relative rounding of a product: larger where torch is allowed TF32 or bfloat16 in the place
    of float32."""
    exact = torch.finfo(queries.dtype).eps
    if queries.dtype != torch.float32:
        return exact
    backend = torch.backends.cuda if queries.is_cuda else torch.backends.mkldnn
    allowed = getattr(getattr(backend, "matmul", None), "fp32_precision", None)
    if allowed is None:  # before torch 2.9
        allowed = torch.get_float32_matmul_precision()
    return REDUCED_EPS.get(allowed, exact)


def _inner_products(
    queries: Tensor,
    keys: Tensor,
    scale: Tensor,
    query: Tensor,
    row: Tensor,
) -> Tensor:
    """<queries[query[i]], keys[row[i]]> for each i in float64, a few MiB at a time."""
    some = max(2**20 // max(keys.shape[1], 1), 1)
    parts = []
    for q, r in zip(query.split(some), row.split(some), strict=True):
        wide = unpack(keys[r], scale[r], torch.float64)
        parts.append((queries[q].double() * wide).sum(1))
    return torch.cat(parts)
