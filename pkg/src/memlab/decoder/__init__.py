"""The memory decoder: a segment of text becomes a latent and a key, a memory holds them, a decoder
writes the text.

encoder      a segment of text → a latent and a key
model        encoder and decoder behind the Hugging Face contract
reading      segments into memory, cues to rows, rows to text
pretrained   recipes, training from scratch, the cache, the weights that are shipped
text_memory  a memory of texts: latents of the decoder under keys of any encoder
"""

from memlab.decoder.encoder import SegmentEncoder, unit_slots
from memlab.decoder.model import (
    MemoryDecoder,
    MemoryDecoderConfig,
    MemoryDecoderOutput,
    new_decoder,
    tiny_text_config,
)
from memlab.decoder.text_memory import Once, OwnKeys, TextMemory, documentation, pack, token_ids

__all__ = [
    "MemoryDecoder",
    "MemoryDecoderConfig",
    "MemoryDecoderOutput",
    "Once",
    "OwnKeys",
    "SegmentEncoder",
    "TextMemory",
    "documentation",
    "new_decoder",
    "pack",
    "pretrained",
    "reading",
    "tiny_text_config",
    "token_ids",
    "unit_slots",
]
