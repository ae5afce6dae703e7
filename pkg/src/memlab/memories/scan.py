"""The exact scan: a matrix product proposes rows, inner products in float64 decide."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from memlab.memories.rows import Scale, Stored, unpack

SCORES_AT_ONCE = (
    2**22
)  # a scan holds so many scores: 16 MiB, whatever the number of keys and queries
NUMBERS_AT_ONCE = 2**19  # of keys, widened or multiplied at a time: 2 MiB, which a cache holds
QUERIES_AT_ONCE = 256
# neighbouring rows whose best score is looked at first, a tenth of the work of sorting or filtering
# all
GROUP = 64
GROUPED_FROM = 2**16  # scores; with fewer it would save nothing


def scan_dtype(keys: Tensor) -> torch.dtype:
    """What queries, proposals and scores are in: float32, or float64 where the keys are."""
    return torch.promote_types(torch.float32, keys.dtype)


def nearest(
    queries: Float[Tensor, "qry key"], keys: Stored, scale: Scale, top_k: int, longest: float
) -> tuple[Float64[Tensor, "qry top_k"], Int[Tensor, "qry top_k"]]:
    """Inner products and rows of the `top_k` best keys of each query, best first; of equal ones the
    lowest row.

    Exact: rows are ranked by inner products in float64 with what the stored rows stand for, each
    computed in the same way wherever the row lies, so the answer depends neither on other queries
    nor on threads or the instruction set.
    """
    with torch.autocast(
        queries.device.type, enabled=False
    ):  # its bfloat16 would propose wrong rows
        parts = [
            _nearest(block, keys, scale, top_k, longest) for block in queries.split(QUERIES_AT_ONCE)
        ]
    return torch.cat([score for score, _ in parts]), torch.cat([row for _, row in parts])


def _nearest(
    queries: Tensor, keys: Tensor, scale: Tensor, top_k: int, longest: float
) -> tuple[Tensor, Tensor]:
    """A matrix product rounds differently with the number of rows, threads and instruction set, by
    at most width · eps · |query| · |key|. Whoever comes within twice that of the k-th best so far
    is computed again.
    """
    slack = (
        2 * (keys.shape[1] + 2) * _eps(queries) * longest * torch.linalg.vector_norm(queries, dim=1)
    )
    floor = torch.full_like(slack, -torch.inf)  # the k-th best score so far
    each = torch.arange(len(queries), device=keys.device)
    who, row, score = each[:0], each[:0], slack[:0].double()
    step = SCORES_AT_ONCE // max(len(queries), 1)
    if keys.dtype != queries.dtype:
        step = min(step, NUMBERS_AT_ONCE // keys.shape[1])
    step = max(step, top_k)
    buffer = (
        None
        if keys.dtype == queries.dtype
        else queries.new_empty(min(step, len(keys)), keys.shape[1])
    )
    for start in range(0, len(keys), step):
        some = keys[start : start + step]
        wide = some if buffer is None else buffer[: len(some)].copy_(some)
        rough = _products(queries, wide)
        if scale.shape[1]:
            rough *= scale[start : start + step].T
        new_who, new_row = _candidates(rough, floor, slack, top_k)
        if not len(new_who):
            continue
        new_row = new_row + start
        new_score = _inner_products(queries, keys, scale, new_who, new_row)
        who, row, score = (
            torch.cat([who, new_who]),
            torch.cat([row, new_row]),
            torch.cat([score, new_score]),
        )
        # Both sorts are stable: equal scores stay in row order.
        order = score.argsort(descending=True, stable=True)
        order = order[who[order].argsort(stable=True)]
        first = torch.searchsorted(who[order], each)  # where each query's list begins
        order = order[(first[:, None] + torch.arange(top_k, device=keys.device)).flatten()]
        who, row, score = who[order], row[order], score[order]
        floor = score.view(-1, top_k)[:, -1].to(queries.dtype)
    return score.view(-1, top_k), row.view(-1, top_k)


def _candidates(rough: Tensor, floor: Tensor, slack: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
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
    who, where = (best >= limit).nonzero(as_tuple=True)
    return (who, where) if best is rough else _members(rough, limit, who, where)


def _best_of_groups(rough: Tensor) -> Tensor:
    """The best score of each group of neighbours; columns at the end that fill no group are a group
    each."""
    whole = rough.shape[1] // GROUP
    groups, rest = rough[:, : whole * GROUP].unflatten(1, (whole, GROUP)), rough[:, whole * GROUP :]
    return torch.cat([groups.amax(2), rest], 1)


def _members(rough: Tensor, limit: Tensor, who: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Query and column of the scores in these groups that reach the limit of their query."""
    whole = rough.shape[1] // GROUP
    full, each = group < whole, torch.arange(GROUP, device=rough.device)
    some, columns = who[full], group[full, None] * GROUP + each
    hit, at = (rough[some[:, None], columns] >= limit[some]).nonzero(as_tuple=True)
    return torch.cat([some[hit], who[~full]]), torch.cat(
        [columns[hit, at], group[~full] + whole * (GROUP - 1)]
    )


def _products(queries: Tensor, keys: Tensor) -> Tensor:
    """queries @ keysᵀ. For a few queries, keys that no cache holds are multiplied in blocks that
    one does: one tall product with so few reads RAM at a third to two thirds of the speed."""
    blocks = -(-keys.numel() // NUMBERS_AT_ONCE)
    if keys.is_cuda or len(queries) > 8 or not 1 < blocks <= len(keys):
        return queries @ keys.T
    rows = len(keys) // blocks
    whole = blocks * rows
    scores = queries.new_empty(len(queries), len(keys))
    parts = torch.bmm(keys[:whole].unflatten(0, (blocks, rows)), queries.T.expand(blocks, -1, -1))
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
    return {"tf32": 2.0**-10, "high": 2.0**-10, "bf16": 2.0**-7, "medium": 2.0**-7}.get(
        allowed, exact
    )


def _inner_products(
    queries: Tensor, keys: Tensor, scale: Tensor, who: Tensor, row: Tensor
) -> Tensor:
    """<queries[who[i]], keys[row[i]]> for each i in float64, a few MiB at a time."""
    some = max(2**20 // keys.shape[1], 1)
    pairs = zip(who.split(some), row.split(some), strict=True)
    return torch.cat(
        [(queries[w].double() * unpack(keys[r], scale[r], torch.float64)).sum(1) for w, r in pairs]
    )
