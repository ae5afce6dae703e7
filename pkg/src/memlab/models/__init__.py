"""Models that the book did not invent: stock architectures, what one may do to them, and
checkpoints of others.

stock            small models of four families that learn poems
blocks           the matrices of stock blocks (GPT-2, Llama, Qwen2, BLOOM) in one notation
interventions    attention replaced, averaged, lent to another poem; units cut out
causal_baseline  a causal transformer that holds its whole context in attention
checkpoints      language models that others have trained, by folder or by name
"""

__all__ = ["blocks", "causal_baseline", "checkpoints", "interventions", "stock"]
