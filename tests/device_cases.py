"""What test_devices.py runs on a device that is not the CPU: models and memories of the package.

A case makes its model with the function of the package that puts it on the device, trains it for a
step or two and asks it. A public model class of the package belongs to one of the cases. As a
script, this file runs all cases on a GPU that is pretended and prints how they ended, as JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import pkgutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import memlab
import pretended_gpu
from memlab import evaluation, memories, retrieval, runtime, training, weights
from memlab.book.argument.dynamic_sum import sums
from memlab.book.argument.where_is_the_memory import measure as bench
from memlab.book.opening_the_box.before_you_ask import instruments, weight_probes
from memlab.book.opening_the_box.how_much_fits import measure as filled
from memlab.book.opening_the_box.reciting import poems_as_text, pretrained
from memlab.book.opening_the_box.the_right_question import asking
from memlab.book.outside_the_weights.memory_decoder import bridge as bridges
from memlab.book.outside_the_weights.needles.any_language_model import TextReader
from memlab.book.outside_the_weights.one_matrix import measure as matrix
from memlab.book.outside_the_weights.one_matrix import training as one_matrix
from memlab.book.outside_the_weights.understanding import tuning
from memlab.corpora import poems as corpus
from memlab.corpora import tokenization
from memlab.decoder import (
    MemoryDecoder,
    MemoryDecoderConfig,
    OwnKeys,
    TextMemory,
    new_decoder,
    reading,
    tiny_text_config,
)
from memlab.decoder import pretrained as decoders
from memlab.models import blocks, causal_baseline, checkpoints, interventions, stock
from memlab.training import Recipe, low_rank, many_models

Case = Callable[[], object]
CASES: dict[str, Case] = {}
MISTAKES: dict[str, Case] = {}
# Public model classes → the case that runs them.
MODELS = {
    "Blindfolded": "twins of GPT-2",
    "Block": "memory decoder",
    "Bridge": "a bridge to a language model",
    "Bridged": "a bridge to a language model",
    "FixedMemory": "one matrix",
    "LowRank": "low rank",
    "MemoryDecoder": "memory decoder",
    "SameForAll": "twins of GPT-2",
    "SegmentEncoder": "memory decoder",
    "StaticNetwork": "twins of GPT-2",
    "WideKeyEncoder": "one matrix",
    "WideKeys": "one matrix",
}
STEPS = Recipe(2, lr=1e-2)
MUON = replace(STEPS, muon=0.05, muon_bfloat16=False)
LINES = [
    "The lamp is kept in the old tower.",
    "A list holds its items in order, and a set does not.",
    "Return the value that was written last.",
    "The gate opens at noon.",
]


def case(name: str) -> Callable[[Case], Case]:
    """Puts a function among the cases."""

    def put(function: Case) -> Case:
        CASES[name] = function
        return function

    return put


def mistake(name: str) -> Callable[[Case], Case]:
    """Puts a function among those that have to fail."""

    def put(function: Case) -> Case:
        MISTAKES[name] = function
        return function

    return put


def there(*parts: Any) -> None:
    """Models, and tensors, that lie on the device that is asked for."""
    for part in parts:
        found = part.device if hasattr(part, "device") else next(part.parameters()).device
        assert found.type == runtime.device().type, f"{type(part).__name__} lies on {found}"


def poems(count: int = 6) -> corpus.Poems:
    return corpus.synthetic(count, 4, 16)


# ---- models that learn poems ---------------------------------------------------------------------


@case("stock families")
def _() -> None:
    for family in stock.FAMILIES:
        model = stock.for_poems(family, poems(), dim=8, layers=1)
        there(model)
        stock.teach(model, poems(), MUON, every=1, report=lambda *_: None)
        stock.teach(model, poems(), STEPS, batch=2)
        evaluation.read(model, poems())
        evaluation.recite(model, poems().keys, 4)
        evaluation.reciter(model, poems())([poems().poem(0).cue])
        evaluation.fingerprint(model)


@case("many models")
def _() -> None:
    at = filled.Setting(6, 4, 8, steps=2, batch=2, vocabulary=16)
    box, _ = at.train([0, 1])
    there(box)
    for how in filled.DAMAGE:
        filled.examine(filled.damaged(box, how, 4), at.draw(0))
    boxes = [stock.for_poems("gpt2", poems(), dim=8, seed=seed) for seed in (0, 1)]
    many_models.teach(boxes, [poems()] * 2, STEPS, every=1, report=lambda *_: None)


@case("low rank")
def _() -> None:
    model = stock.for_poems("llama", poems(), dim=8, layers=1)
    maps = low_rank.correct(model, 2, runtime.generator(0, "test"), lambda name: "head" not in name)
    stock.teach(model, poems(), STEPS)
    low_rank.fold(model, maps)
    there(model)
    evaluation.read(model, poems())


@case("twins of GPT-2")
def _() -> None:
    for kind in bench.KINDS:
        model = bench.learn(kind, poems(), STEPS, dim=8)
        there(model)
        bench.judge(model, poems())
        evaluation.recite(model, poems().keys, 4) if kind in ("gpt2", "static") else None


@case("interventions")
def _() -> None:
    for family in ("gpt2", "llama"):
        model = stock.for_poems(family, poems(), dim=8, layers=1)
        own = interventions.attention(model, poems().ids)
        there(*own)
        interventions.movement(own)
        bench.restart(model, poems())
        list(bench.replaced(model, poems()))
    model = bench.make("gpt2", poems(), dim=8)
    bench.cut(model, poems(), limit=2)
    bench.transplanted(model, poems(), pairs=2)
    static: Any = bench.make("static", poems(), dim=8)
    bench.cut(static, poems(), limit=2)
    there(static.one_hot(poems().keys.to(static.device)), static.as_finite_sum().W)


@case("blocks and their sums")
def _() -> None:
    for architecture in blocks.ARCHITECTURES:
        model = blocks.stock_model(architecture, dim=8, heads=2).to(runtime.device())
        X, other = torch.randn(2, 3, 8, generator=runtime.generator(0, "test")).to(model.device)
        stack = blocks.calls(model, X)
        form = sums.stack_sum(stack)
        there(form.evaluate(X), form.folded(X).W, stack[0].at(other).Y)
        sums.response(form, blocks.chain(stack), X, 0.1 * other)
        there(sums.trivial_form(blocks.chain(stack), X, torch.relu).evaluate(X))
        form.as_finite_sum()
        blocks.calls(blocks.double(model), torch.tensor([1, 2], device=model.device))


@case("instruments of chapter 7")
def _() -> None:
    box = stock.for_poems("gpt2", poems(), dim=8, layers=1)
    draw = runtime.generator(0, "test")
    instruments.word_chances(instruments.answers(box, poems()), poems())
    instruments.draw_answers(box, poems().keys, 4, draw)
    instruments.states(box, poems().keys)
    start = weight_probes.flat(box)
    there(start)
    found = weight_probes.slopes(box, start, poems())
    weight_probes.displacement(found, start)
    for same in (True, False):
        made = weight_probes.crowd(
            poems(),
            lambda seed: stock.for_poems("gpt2", poems(), dim=8, layers=1, seed=seed),
            2,
            same=same,
        )
        learnt = made.learn(STEPS, look_at=[1], report=lambda *_: None)
        there(learnt)
        made.read(learnt)
        weight_probes.displacement(made.slopes(), learnt - made.start)


@case("questions of chapter 8")
def _() -> None:
    box = asking.box(poems(), dim=8)
    asking.teach(box, poems(), 2, lambda: poems().keys)
    asking.teach_backwards(box, poems(), torch.arange(6) < 3, 2)
    asking.answer(box, poems())
    asking.draw_answer(box, poems(), 0.5, runtime.generator(0, "test"))
    asking.whose(box, poems())
    asking.recall(box, poems())


# ---- pretrained language models ------------------------------------------------------------------


@contextlib.contextmanager
def language_model() -> Iterator[tuple[Any, Any]]:
    """A tiny checkpoint, saved and read as any other."""
    tokenizer = weights.tokenizer()
    made = stock.build("llama", len(tokenizer), 512, dim=16, layers=1, num_key_value_heads=1)
    with tempfile.TemporaryDirectory() as folder:
        made.cpu().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        yield checkpoints.load(folder)


@case("a language model learns poems")
def _() -> None:
    with language_model() as (model, tokenizer):
        there(model)
        for lesson in (
            pretrained.Lesson(3, 1, 4),
            pretrained.Lesson(3, 1, 4, rank=1),
            pretrained.Lesson(3, 1, 4, start="random"),
        ):
            lines = pretrained.poems_of(lesson, 0)
            pupil = pretrained.pupil_of(lesson, model, 0)
            pretrained.teach(lesson, pupil, tokenizer, lines.taught, 0)
            there(pupil)
        poems_as_text.score(pupil, tokenizer, lines.taught)
        pretrained.bits_a_token(pupil, tokenizer, LINES[0])


@case("a language model reads text")
def _() -> None:
    with language_model() as (model, tokenizer):
        reader = TextReader(model, tokenizer, 512)
        reader.continued([reader.ids(LINES[0]), reader.ids(LINES[1])], new=2)


@case("causal baseline")
def _() -> None:
    model: Any = causal_baseline.causal_model(
        config=causal_baseline.causal_config(16, 2, 4, 16, vocabulary=64), hand_set=False
    )
    model.to(runtime.device())
    ids = torch.randint(5, 64, (2, 8), generator=runtime.generator(0, "test")).to(model.device)
    training.fit(model, lambda _: {"input_ids": ids, "labels": ids}, MUON)
    for other in (
        model,
        causal_baseline.variant(model, window=4),
        causal_baseline.variant(model, rope="yarn", factor=2.0),
    ):
        there(other)
        evaluation.greedy(other, ids, new=2, end=2, pad=0)


# ---- the memory decoder --------------------------------------------------------------------------


def decoder(**more: Any) -> MemoryDecoder:
    """A small one on the device, that takes the book's own tokenizer."""
    sizes: dict[str, Any] = {
        "latent_width": 64,
        "key_width": 16,
        "slots": 64,
        "encoder_layers": 1,
        "encoder_heads": 2,
    }
    text = tiny_text_config(len(weights.tokenizer()), 16, 1, 2)
    made: Any = new_decoder(MemoryDecoderConfig(text, **sizes | more))
    return made.to(runtime.device())  # type: ignore[no-any-return]


def segments() -> list[tuple[int, ...]]:
    encode = tokenization.encoder(weights.tokenizer())
    return [tuple(ids) for ids in encode([" " + line for line in LINES])]


def rows(found: list[tuple[int, ...]], fill: int = tokenization.PAD) -> Tensor:
    tensors = [torch.tensor(row) for row in found]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=fill)


@case("memory decoder")
def _() -> None:
    model = decoder()
    batch = {
        "segment_ids": rows(segments()),
        "cue_ids": rows([row[:3] for row in segments()]),
        "input_ids": rows([(1, *row, 2) for row in segments()]),
        "labels": rows([(-100, *row, 2) for row in segments()], -100),
        "read_rows": torch.tensor([[0, 1], [1, 2], [2, 3], [3, 0]]),
        "context_ids": torch.tensor([0, 0, 1, 1]),
        "noise": torch.zeros(4, 64),
    }
    training.fit(
        model, lambda _: {name: part.to(model.device) for name, part in batch.items()}, MUON
    )
    latents, _ = reading.encode(model, segments())
    model.generate(latents=latents[:, None].expand(-1, 2, -1), max_new_tokens=2)
    ids = batch["input_ids"].to(model.device)
    model(ids)
    evaluation.greedy(model, ids[:1, :3], new=2, latents=latents[:1].to(model.device))


@case("reading with a memory")
def _() -> None:
    model = decoder()
    memory = memories.KeyValue(2)
    state = reading.memorise(model, segments(), memory)
    cues = [row[:3] for row in segments()]
    scores, found = memory.address(state, reading.query_keys(model, cues))
    latents = memory.take(state, found)
    reading.recognise(model, latents, cues)
    for asked in (cues, [()] * len(cues)):
        reading.write_out(model, latents, asked, weights.tokenizer(), max_new_tokens=2)
    reading.write_out(
        model, reading.settled(model, latents[:, 0]), cues, weights.tokenizer(), max_new_tokens=2
    )
    texts = TextMemory(model, OwnKeys(model))
    written = texts.write(texts.empty(), LINES, [0, 0, 1, 2])
    texts.answer(written, LINES[:2])
    texts.forget(written, torch.tensor([0]))


@case("one matrix")
def _() -> None:
    pool = tuple(segments() * 8)
    for address in ("keys", "latents"):
        model = one_matrix.untrained(decoder(), key_width=16, address=address)
        model.to(runtime.device())  # type: ignore[arg-type]
        one_matrix.settle(model, pool, whiten=address == "keys")
        one_matrix._train_only(model)
        one_matrix._fit(model, pool, 1, 0, 0, None)
        there(model, *model.encode(rows(segments()).to(model.device)))
        episode = matrix.episode(model, segments(), 2)
        said = matrix.write(model, episode, matrix.linear(model, episode, 0.01))
        matrix.best_ridge(model, episode)
        matrix.second_read(model, episode, said, 0.01)
    model = one_matrix.untrained(decoder(), key_width=16).to(runtime.device())
    episode = matrix.episode(model, segments(), 2)
    matrix.errors(model, episode, 0.01)
    matrix.nearest_other(episode)
    matrix.doubts(model, episode, said, model.write(episode.latents, episode.keys))
    matrix.slots(episode, 2)


@case("a bridge to a language model")
def _() -> None:
    with language_model() as (model, tokenizer):
        scribe = bridges.Scribe.of(model.requires_grad_(False), tokenizer)
        book, lines = decoder(), bridges.rows_of(LINES, scribe, 64)
        bridge = bridges.drawn_bridge(scribe, book, span=1, width=16, seed=0)
        there(bridge)
        bridges.align(bridge, scribe, book, lines.segments)
        bridges.train(bridge, scribe, book, lines, steps=1, batch=2)
        bridges.read(scribe, bridges.through(bridge, book), lines)


@case("models that travel with the package")
def _() -> None:
    there(decoders.shipped(), decoders.for_profile("full"), causal_baseline.load_causal())


# ---- sentence encoders ---------------------------------------------------------------------------


@case("a sentence encoder")
def _() -> None:
    from transformers import BertConfig, BertModel

    tokenizer = weights.tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    for pooling in ("mean", "cls"):
        model = BertModel(config).eval().to(runtime.device())
        encoder = retrieval.SentenceEncoder(model, tokenizer, 64, pooling, ("", ""))
        there(encoder.embed(LINES))
        assert encoder.encode(LINES).device.type == "cpu"
        retrieval.Dense(encoder, LINES).search(LINES[:2], 2)
        there(tuning.tune(encoder, steps=2, pairs=4).model)


# ---- memories ------------------------------------------------------------------------------------


def drawn(count: int, width: int) -> Tensor:
    made = torch.randn(count, width, generator=runtime.generator(0, "test", count, width))
    return nn.functional.normalize(made, dim=1).to(runtime.device())


@case("key-value memories")
def _() -> None:
    keys, values = drawn(300, 8), drawn(300, 4)
    for dtype in (torch.float32, torch.float16, torch.int8):
        memory = memories.KeyValue(top_k=2)
        empty = memory.empty(8, 4, dtype=dtype, key_dtype=dtype, device=runtime.device())
        for some in (keys, keys.cpu()):  # what is written and asked may lie anywhere
            state = memory.write(empty, some, values.to(some.device))
            state = memory.write(state, some[:2], values[:1].to(some.device), torch.zeros(2).long())
            there(memory.read(state, some[:5]), *memory.address(state, some[:5]))
            there(*memory.forget(state, torch.tensor([3])).parts, memory.first(state, 9).keys)
            memory.address(memory.keys_only(state, some), some[:5])


@case("linear memories")
def _() -> None:
    keys, values = drawn(6, 8), drawn(6, 4)
    for count in (3, 6):
        pairs = (keys[:count], values[:count])
        linear = memories.PseudoInverse()
        state = linear.write(
            linear.empty(4, 4, device=runtime.device()), keys[:count, :4], pairs[1]
        )
        there(linear.read(state, keys[:, :4]), linear.novelty(state, keys[:, :4]))
        linear.forget(state, keys[:1, :4], values[:1])
    for larimar in (
        memories.Larimar(),
        memories.PublishedLarimar(),
        memories.PublishedLarimar(3, None),
    ):
        started = larimar.start(drawn(7, 8))
        state = larimar.write(started, keys)
        there(larimar.read(state, keys), memories.Larimar().novelty(state, keys))
    kanerva = memories.Kanerva()
    prior = kanerva.start(drawn(7, 4) * 0)
    addresses = memories.linear_addresses(drawn(7, 8), keys)
    belief = kanerva.write(prior, addresses, values)
    there(kanerva.read(belief, addresses), kanerva.variance(belief, addresses))
    kanerva.forget(belief, addresses[:1], values[:1])
    there(memories.gaussian_addresses(drawn(7, 8), keys))
    memories.iteration_residual(drawn(1, 3)[0].abs())


@case("memories whose states stay in RAM")
def _() -> None:
    keys, values = drawn(6, 8), drawn(6, 4)
    recursive = memories.Recursive()
    state = recursive.write(recursive.empty(8, 4), keys, values)
    recursive.read(recursive.forget(state, keys[:1], values[:1]), keys)
    signs = keys.sign()
    for asynchronous in (True, False):
        hopfield = memories.Hopfield(3, asynchronous)
        settled = hopfield.write(hopfield.empty(8), signs)
        hopfield.energy(settled, hopfield.read(settled, signs))
    dense = memories.DenseHopfield()
    stored = dense.write(dense.empty(8), keys)
    dense.energy(stored, dense.read(stored, keys))


# ---- that the pretence notices -------------------------------------------------------------------


@mistake("a sum")
def _() -> None:
    drawn(3, 2) + torch.ones(3, 2)


@mistake("a product")
def _() -> None:
    drawn(3, 2) @ torch.eye(2)


@mistake("an index on the device of a tensor that is not")
def _() -> None:
    torch.ones(3)[torch.zeros(1, dtype=torch.long, device=runtime.device())]


@mistake("values put among those of another device")
def _() -> None:
    drawn(3, 2)[[0, 1]] = torch.ones(2, 2)


@mistake("labels that stayed behind")
def _() -> None:
    nn.functional.cross_entropy(drawn(3, 2), torch.zeros(3, dtype=torch.long))


@mistake("a CPU's generator")
def _() -> None:
    torch.randn(2, generator=torch.Generator(), device=runtime.device())


@mistake("ids that stayed behind")
def _() -> None:
    stock.for_poems("gpt2", poems(), dim=8)(poems().ids)


@mistake("numpy")
def _() -> None:
    drawn(3, 2).numpy()


@mistake("a gradient")
def _() -> None:
    model = stock.for_poems("llama", poems(), dim=8)
    (next(model.parameters()).sum() * torch.ones(2)).sum().backward()


# ---- all of them, on the pretended device --------------------------------------------------------


def public_models() -> list[str]:
    """The names of the public model classes that the package defines."""
    found = set()
    for module in pkgutil.walk_packages(memlab.__path__, "memlab."):
        if module.name.endswith("__main__"):
            continue
        for name, part in vars(importlib.import_module(module.name)).items():
            own = getattr(part, "__module__", None) == module.name and not name.startswith("_")
            if own and isinstance(part, type) and issubclass(part, nn.Module):
                found.add(name)
    return sorted(found)


def ended(run: Case) -> str:
    """How a case ended: nothing, or what failed, and where in the package."""
    try:
        run()
    except Exception as problem:
        frames = traceback.extract_tb(problem.__traceback__)
        own = [frame for frame in frames if "memlab" in frame.filename] or frames
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].line}"
        return f"{type(problem).__name__}: {problem} [{place}]"
    return ""


def main() -> None:
    """See the module."""
    pretended_gpu.install()
    runtime.device = lambda prefer=None: torch.device(prefer or pretended_gpu.DEVICE)
    with pretended_gpu.Pretence():
        found = {name: ended(run) for name, run in {**CASES, **MISTAKES}.items()}
    print(json.dumps({"ended": found, "models": MODELS, "public models": public_models()}))


if __name__ == "__main__":
    main()
