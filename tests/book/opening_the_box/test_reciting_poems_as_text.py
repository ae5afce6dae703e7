"""Text poems before a model: tokens, masks, one loop, greedy recital, scores, and checkpoints with
real tokenizers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from memlab import evaluation
from memlab.book.opening_the_box.reciting import poems_as_text
from memlab.corpora import poems as corpus
from memlab.corpora.poems import Poem
from memlab.models import checkpoints, stock
from memlab.training import Log, Recipe

POEMS = [
    Poem("Ann Other", "Sea", "salt and\nsalt"),
    Poem("Li", "Moon over the wall", "moon,\n\n  white"),
    Poem("李白", "静夜", "床前。\n疑是。", "唐"),
    Poem("Dee", "Sea", "no salt at all"),
]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return poems_as_text.characters(POEMS)


@pytest.fixture(scope="module")
def taught(tokenizer: Any) -> Any:
    """A Llama that knows the four poems by heart."""
    model = stock.build("llama", len(tokenizer), 64, dim=32, layers=1, num_key_value_heads=2)
    poems_as_text.teach(model, tokenizer, POEMS, Recipe(80, lr=1e-2), batch=3)
    return model


# ---- poems ---------------------------------------------------------------------------------------


def test_the_prompt_holds_what_is_known_and_nothing_of_the_text() -> None:
    assert poems_as_text.prompt(POEMS[0]) == "Ann Other\nSea\n\n"
    assert poems_as_text.prompt(POEMS[2]) == "唐\n李白\n静夜\n\n"


def test_of_poems_with_one_prompt_the_first_stays_and_long_ones_go() -> None:
    twin, long = Poem("Li", "Moon over the wall", "other"), Poem("Li", "Long", "x" * 250)
    assert poems_as_text.distinct([*POEMS, twin, long]) == POEMS
    assert poems_as_text.distinct([*POEMS, long], longest=300) == [*POEMS, long]
    exactly = len(poems_as_text.prompt(POEMS[0]) + POEMS[0].text)
    assert poems_as_text.distinct(POEMS[:1], exactly) == POEMS[:1]
    with pytest.raises(ValueError, match="at most 5 characters, got 4 distinct"):
        poems_as_text.distinct(POEMS, 5)


@given(st.integers(2, 30), st.integers(0, 9))
def test_swapped_texts_are_all_there_and_none_in_its_place(n: int, seed: int) -> None:
    poems = [Poem("A", str(i), f"text {i}", "唐") for i in range(n)]
    wrong = poems_as_text.swapped(poems, seed)
    assert [poems_as_text.prompt(poem) for poem in wrong] == [
        poems_as_text.prompt(poem) for poem in poems
    ]
    assert sorted(poem.text for poem in wrong) == sorted(poem.text for poem in poems)
    assert not any(a.text == b.text for a, b in zip(poems, wrong, strict=True))
    assert wrong == poems_as_text.swapped(poems, seed)


def test_one_poem_cannot_be_swapped() -> None:
    with pytest.raises(ValueError, match="at least 2 poems"):
        poems_as_text.swapped(POEMS[:1])


# ---- tokens --------------------------------------------------------------------------------------


def test_every_character_is_a_token_and_comes_back(tokenizer: Any) -> None:
    for poem in POEMS:
        for text in (poem.text, poems_as_text.prompt(poem)):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert len(ids) == len(text) and min(ids) >= len(poems_as_text.SPECIAL)
            assert tokenizer.decode(ids) == text
    assert len(tokenizer) == len(poems_as_text.SPECIAL) + len(
        {c for p in POEMS for c in poems_as_text.prompt(p) + p.text}
    )
    assert tokenizer("ж", add_special_tokens=False).input_ids == [tokenizer.unk_token_id]


def test_question_and_answer_are_encoded_apart(tokenizer: Any) -> None:
    for row, poem in zip(poems_as_text.rows(tokenizer, POEMS), POEMS, strict=True):
        assert tokenizer.decode(row.question) == poems_as_text.prompt(poem)
        assert (
            tokenizer.decode(row.answer[:-1]) == poem.text
            and row.answer[-1] == tokenizer.eos_token_id
        )


def test_rows_need_poems_and_an_end_mark(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="got 0 poems"):
        poems_as_text.rows(tokenizer, [])
    bare = poems_as_text.characters(POEMS)
    bare.eos_token = None
    with pytest.raises(ValueError, match="end mark"):
        poems_as_text.rows(bare, POEMS)


MARKED = [
    Poem("Ann <pad> Other", "</s>", "the end </s> is not the end"),
    Poem("Li", "<end>", "<end>"),
    Poem("Dee", "Sea", "no <unk>, no [SEP] and\n<|endoftext|>"),
]


@pytest.mark.parametrize(
    "marks", [("<pad>", "<end>"), ("[SEP]", "</s>"), ("<pad>", "<|endoftext|>")]
)
def test_a_mark_in_a_poem_is_letters_and_ends_nothing(marks: tuple[str, str]) -> None:
    letters = poems_as_text.characters(MARKED)
    letters.add_special_tokens({"pad_token": marks[0], "eos_token": marks[1]})
    rows = poems_as_text.rows(letters, MARKED)
    for row, poem in zip(rows, MARKED, strict=True):
        assert (
            row.answer.count(letters.eos_token_id) == 1 and row.answer[-1] == letters.eos_token_id
        )
        assert not set(row.question + row.answer[:-1]) & set(letters.all_special_ids)
        assert letters.decode(row.answer[:-1], skip_special_tokens=True) == poem.text
        assert letters.decode(row.question, skip_special_tokens=True) == poems_as_text.prompt(poem)


def test_a_poem_with_an_end_mark_in_it_can_be_recited() -> None:
    letters = poems_as_text.characters(MARKED)
    model = stock.build("llama", len(letters), 80, dim=32, layers=1, num_key_value_heads=2)
    poems_as_text.teach(model, letters, MARKED, Recipe(70, lr=1e-2), batch=3)
    assert poems_as_text.recite(model, letters, MARKED) == [poem.text for poem in MARKED]


@pytest.mark.parametrize("text", ["", "  \n ", "\u3000", "\u200b"])
def test_a_poem_without_text_is_refused(tokenizer: Any, text: str) -> None:
    blank = [POEMS[0], Poem("Li", "Blank", text)]
    for ask in (poems_as_text.rows, poems_as_text.places):
        with pytest.raises(ValueError, match="expected a text .* for every poem, got .* 'Blank'"):
            ask(poems_as_text.characters(blank), blank)
    with pytest.raises(ValueError, match="for every poem"):
        poems_as_text.score(stock.build("gpt2", 9, 9, dim=8), tokenizer, blank)


def test_a_poem_with_half_a_character_is_refused(tokenizer: Any) -> None:
    half = [POEMS[0], Poem("Li", "Half", "moon \ud83d")]
    for ask in (poems_as_text.characters, lambda poems: poems_as_text.rows(tokenizer, poems)):
        with pytest.raises(ValueError, match=r"text that UTF-8 can write, got '\\ud83d' in text 1"):
            ask(half)


def test_a_model_with_so_many_places_recites_without_complaint(
    tokenizer: Any, caplog: Any, capfd: Any
) -> None:
    needed = poems_as_text.places(tokenizer, POEMS)
    assert needed > max(len(poems_as_text.prompt(poem) + poem.text) for poem in POEMS)
    model = stock.build(
        "gpt2", len(tokenizer), needed, dim=8
    )  # untaught: it does not stop by itself
    assert len(poems_as_text.recite(model, tokenizer, POEMS)) == 4
    assert not caplog.records and not capfd.readouterr().err


def test_a_batch_learns_the_answer_alone() -> None:
    batch = poems_as_text.collate(
        [poems_as_text.Row([5, 6], [7, 1]), poems_as_text.Row([8], [9, 9, 9, 1])]
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7, 1, 0], [8, 9, 9, 9, 1]]
    assert batch["labels"].tolist() == [[-100, -100, 7, 1, -100], [-100, 9, 9, 9, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


# ---- teaching ------------------------------------------------------------------------------------


def test_steps_count_the_last_small_batch() -> None:
    assert [
        poems_as_text.steps(e, n, b)
        for e, n, b in ((1, 4, 4), (1, 5, 4), (100, 2000, 32), (3, 1, 8))
    ] == [1, 2, 6300, 3]


def test_every_pass_shows_every_poem_once(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, untouched_global_random_state: None
) -> None:
    many = [Poem("A", str(i), "ab" * (1 + i % 7)) for i in range(37)]
    letters, seen = poems_as_text.characters(many), []

    def fit(_model: Any, batches: Any, recipe: Recipe, **_options: Any) -> Log:
        seen.extend(batches(step)["input_ids"] for step in range(recipe.steps))
        return Log()

    monkeypatch.setattr(poems_as_text, "fit", fit)
    model = stock.build("gpt2", len(letters), 40, dim=8)
    orders = []
    for seed in (0, 0, 1):
        seen.clear()
        poems_as_text.teach(
            model, letters, many, Recipe(poems_as_text.steps(2, 37, 4)), batch=4, seed=seed
        )
        shown = [
            letters.decode(row, skip_special_tokens=True).split("\n\n")[0]
            for ids in seen
            for row in ids
        ]
        orders.append(shown)
        for half in (shown[:37], shown[37:]):
            assert sorted(half) == sorted(f"A\n{i}" for i in range(37))
        assert shown[:37] != shown[37:] and sum(len(ids) for ids in seen) == 74
    assert orders[0] == orders[1] != orders[2]


def test_a_batch_of_nothing_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="at least 1 poem, got 0"):
        poems_as_text.teach(stock.build("gpt2", 9, 9, dim=8), tokenizer, POEMS, Recipe(1), batch=0)


# ---- asking and scoring --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "strict", "spaces", "letters"),
    [
        ("salt and\nsalt", True, True, True),
        ("salt and salt", False, True, True),
        (" salt  and\nsalt\n", False, True, True),
        ("salt and\nsalt.", False, False, True),
        ("salt andsalt", False, False, True),
        ("Salt and\nsalt", False, False, False),
        ("salt and", False, False, False),
        ("", False, False, False),
    ],
)
def test_conventions_from_strict_to_lenient(
    said: str, strict: bool, spaces: bool, letters: bool
) -> None:
    found = [same(said, POEMS[0].text) for same in poems_as_text.CONVENTIONS.values()]
    assert found == [strict, spaces, letters]


@pytest.mark.parametrize(
    ("said", "text", "same"),
    [
        ("", "… — !", False),
        ("…  — !", "… — !", True),
        ("दल", "दिल", False),
        ("दिल!", "दिल", True),
        ("n\u0303", "n", False),
        ("cafe\u0301", "café", True),
        ("", "a", False),
    ],
)
def test_letters_alone_are_letters_with_their_vowels(said: str, text: str, same: bool) -> None:
    assert poems_as_text.CONVENTIONS["letters alone"](said, text) == same


def test_what_is_taught_is_recited_word_for_word_and_ends(taught: Any, tokenizer: Any) -> None:
    assert poems_as_text.recite(taught, tokenizer, POEMS) == [poem.text for poem in POEMS]
    assert poems_as_text.recite(taught, tokenizer, POEMS[::-1], batch=1) == [
        poem.text for poem in POEMS[::-1]
    ]


def test_asked_together_or_alone_the_answers_are_the_same(tokenizer: Any) -> None:
    model = stock.build("bloom", len(tokenizer), 64, dim=16)
    poems_as_text.teach(
        model, tokenizer, POEMS, Recipe(12, lr=1e-2), batch=4
    )  # half learnt: the answers are nobody's poem
    alone = [poems_as_text.recite(model, tokenizer, [poem])[0] for poem in POEMS]
    for poem, answer in zip(POEMS, poems_as_text.recite(model, tokenizer, POEMS), strict=True):
        assert answer.startswith(alone[POEMS.index(poem)][: len(poem.text)])


def test_a_model_that_never_stops_says_the_same_in_any_batch() -> None:
    loop = "abc" * 9
    poems = [Poem("A", name, loop[:size]) for name, size in (("x", 3), ("y", 7), ("z", 12))]
    letters = poems_as_text.characters([*poems, Poem("A", "long", loop)])
    longer = Poem("A", "w", loop[:20])
    model = stock.build("llama", len(letters), 64, dim=32, layers=1, num_key_value_heads=2)
    endless = [Poem("A", name, loop) for name in "xyz"]
    poems_as_text.teach(model, letters, endless, Recipe(60, lr=1e-2), batch=3)
    for asked, batch in ((poems, 1), (poems, 64), ([*poems, longer], 64), (poems[::-1], 2)):
        said = poems_as_text.recite(model, letters, asked, batch)
        told = dict(zip((poem.title for poem in asked), said, strict=True))
        # The text, its end mark and two tokens more.
        assert [told[poem.title] for poem in poems] == [loop[: len(p.text) + 3] for p in poems]


def test_a_checkpoint_that_forbids_repetition_recites_its_refrain_all_the_same() -> None:
    songs = [Poem("A", "T", "la la la la la la")]
    letters = poems_as_text.characters(songs)
    model = stock.build("llama", len(letters), 40, dim=16, num_key_value_heads=2)
    poems_as_text.teach(model, letters, songs, Recipe(60, lr=1e-2), batch=1)
    model.generation_config.no_repeat_ngram_size, model.generation_config.do_sample = 2, True
    kept = model.generation_config
    asked = torch.tensor([poems_as_text.rows(letters, songs)[0].question])
    spoilt = model.generate(
        asked, attention_mask=torch.ones_like(asked), max_new_tokens=17, do_sample=False
    )
    assert letters.decode(spoilt[0, asked.shape[1] :]) != songs[0].text, (
        "otherwise this test shows nothing"
    )
    assert poems_as_text.recite(model, letters, songs) == ["la la la la la la"]
    assert model.generation_config is kept and kept.no_repeat_ngram_size == 2


def by_hand(model: Any, tokenizer: Any, poem: Poem) -> tuple[float, int, int]:
    """Bits, right first choices and tokens of one poem, alone in its batch and without a mask."""
    row = poems_as_text.rows(tokenizer, [poem])[0]
    ids = torch.tensor([row.question + row.answer])
    with torch.no_grad():
        logits = model(ids).logits[0, len(row.question) - 1 : -1].double()
    chosen = logits.log_softmax(-1).gather(1, torch.tensor(row.answer)[:, None])
    right = int((logits.argmax(-1) == torch.tensor(row.answer)).sum())
    return -float(chosen.sum()) / math.log(2), right, len(row.answer)


@pytest.mark.parametrize("family", ["gpt2", "bloom", "llama", "qwen2"])
def test_a_score_is_what_one_poem_at_a_time_gives(tokenizer: Any, family: str) -> None:
    shared = {"num_key_value_heads": 2} if family in ("llama", "qwen2") else {}
    model = stock.build(family, len(tokenizer), 64, dim=16, **shared)
    poems_as_text.teach(model, tokenizer, POEMS, Recipe(15, lr=1e-2), batch=4)
    before = evaluation.fingerprint(model)
    score = poems_as_text.score(model, tokenizer, POEMS, batch=3)
    bits, right, count = (
        sum(x) for x in zip(*(by_hand(model, tokenizer, poem) for poem in POEMS), strict=True)
    )
    assert score.poems == 4 and score.tokens == pytest.approx(right / count)
    assert score.bits == pytest.approx(bits / 4, rel=1e-5)
    assert score.bits_per_token == pytest.approx(bits / count, rel=1e-5)
    assert evaluation.fingerprint(model) == before


def test_strict_recital_is_teacher_forcing_poem_by_poem() -> None:
    drawn = corpus.synthetic(24, 4, 8, title_words=4, seed=1)
    poems = [drawn.poem(i, 2) for i in range(24)]
    letters = poems_as_text.characters(poems)
    model = stock.build("gpt2", len(letters), 80, dim=48, layers=1)
    partly = 0
    for _ in range(4):
        poems_as_text.teach(
            model, letters, poems, Recipe(30, lr=1e-2, muon=0.05, muon_bfloat16=False), batch=12
        )
        said = poems_as_text.recite(model, letters, poems)
        for answer, poem in zip(said, poems, strict=True):
            _, right, count = by_hand(model, letters, poem)
            assert (answer == poem.text) == (right == count)
        partly += 0 < sum(a == p.text for a, p in zip(said, poems, strict=True)) < 24
    assert partly, "expected a state in which some poems are recited and some are not"


def test_known_poems_score_high_and_swapped_ones_do_not(taught: Any, tokenizer: Any) -> None:
    good, bad = (
        poems_as_text.score(taught, tokenizer, POEMS),
        poems_as_text.score(taught, tokenizer, poems_as_text.swapped(POEMS)),
    )
    assert set(good.recited.values()) == {1.0} and good.tokens == good.characters == 1
    assert (
        set(bad.recited.values()) == {0.0}
        and good.bits < 5 < 20 < bad.bits
        and bad.characters < 0.6
    )


# ---- checkpoints ---------------------------------------------------------------------------------

TOY = [poems_as_text.prompt(poem) + poem.text for poem in POEMS] * 3


def qwen2_folder(folder: Path) -> str:
    """A tiny Qwen2 checkpoint as the hub has them: its own tokenizer class, trained here on four
    poems."""
    from transformers import Qwen2TokenizerFast

    tokenizer = Qwen2TokenizerFast().train_new_from_iterator(TOY, 300)
    stock.build("qwen2", len(tokenizer), 64, dim=16, num_key_value_heads=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return "Qwen2Tokenizer"


def bloom_folder(folder: Path) -> str:
    """A tiny BLOOM checkpoint: the file of its tokenizer and a config that names
    BloomTokenizerFast, as on the hub."""
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?[^(\s|[.,!?…。，、।۔،])]+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        TOY,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=special,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    stock.build("bloom", core.get_vocab_size(), 64, dim=16).save_pretrained(folder)
    core.save(str(folder / "tokenizer.json"))
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), special, strict=True))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "BloomTokenizerFast",
                "padding_side": "left",
                "add_prefix_space": False,
                **names,
            }
        )
    )
    return "TokenizersBackend"


@pytest.mark.slow
@pytest.mark.parametrize("make", [qwen2_folder, bloom_folder])
def test_a_checkpoint_is_loaded_taught_and_scored_before_and_after(
    tmp_path: Path, make: Any
) -> None:
    wanted = make(tmp_path)
    model, tokenizer = checkpoints.load(str(tmp_path))
    assert type(tokenizer).__name__ == wanted and tokenizer.eos_token in ("<|endoftext|>", "</s>")
    assert not model.training and model.dtype == torch.float32
    for poem, row in zip(POEMS, poems_as_text.rows(tokenizer, POEMS), strict=True):
        assert tokenizer.decode(row.answer[:-1], clean_up_tokenization_spaces=False) == poem.text
    before = poems_as_text.score(model, tokenizer, POEMS)
    poems_as_text.teach(
        model, tokenizer, POEMS, Recipe(poems_as_text.steps(90, 4, 2), lr=1e-2), batch=2
    )
    after = poems_as_text.score(model, tokenizer, POEMS)
    assert before.recited["every character"] == 0 and after.recited["every character"] == 1
    assert after.bits < 0.2 * before.bits and before.tokens < 0.3 and after.tokens == 1
    model.save_pretrained(tmp_path / "taught")
    tokenizer.save_pretrained(tmp_path / "taught")
    assert poems_as_text.recite(*checkpoints.load(str(tmp_path / "taught")), POEMS) == [
        poem.text for poem in POEMS
    ]


def test_the_hub_is_asked_only_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import transformers

    asked: list[tuple[str, bool]] = []

    class Fake(torch.nn.Linear):
        @classmethod
        def from_pretrained(
            cls,
            name: str,
            *,
            local_files_only: bool = False,
            output_loading_info: bool = False,
            **_options: Any,
        ) -> Any:
            asked.append((name, local_files_only))
            kinds = ("missing_keys", "mismatched_keys", "unexpected_keys")
            found: dict[str, set[str]] = {kind: set() for kind in kinds}
            return (cls(1, 1), found) if output_loading_info else cls(1, 1)

    monkeypatch.setattr(transformers, "AutoTokenizer", Fake)
    monkeypatch.setattr(transformers, "AutoModelForCausalLM", Fake)
    checkpoints.load("hub:Qwen/Qwen2-0.5B")
    checkpoints.load(str(tmp_path))
    assert asked == [("Qwen/Qwen2-0.5B", False)] * 2 + [(str(tmp_path), True)] * 2


@pytest.mark.parametrize("name", ["Qwen/Qwen2-0.5B", "", "no/such/folder"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="hub:owner/name"):
        checkpoints.load(name if name else "nothing")


@pytest.mark.gpu
def test_on_a_gpu_nothing_changes_but_the_device(tokenizer: Any) -> None:
    model = stock.build("qwen2", len(tokenizer), 64, dim=32, num_key_value_heads=2)
    poems_as_text.teach(model, tokenizer, POEMS, Recipe(80, lr=1e-2), batch=4)
    assert model.device.type == "cuda" and poems_as_text.recite(model, tokenizer, POEMS) == [
        poem.text for poem in POEMS
    ]
