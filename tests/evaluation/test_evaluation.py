"""Scorers by table, measures against counting by hand and against scikit-learn, reading against
reciting."""

from __future__ import annotations

import math

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from memlab import evaluation, runtime
from memlab.corpora import poems as corpus
from memlab.training import Recipe, fit

POEMS = corpus.synthetic(24, 6, 16, authors=4)


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [
        ("one two", "one two", True),
        (" one\n  two ", "one two", True),
        ("one\u3000two", "one two", True),
        ("One two", "one two", False),
        ("one two.", "one two", False),
        ("one", "one two", False),
        ("", "", True),
        ("ﬁsh", "fish", True),
        ("床前明月光，", "床前明月光，", True),
        ("床前明月光", "床前明月光，", False),
    ],
)
def test_exact(answer: str, target: str, right: bool) -> None:
    assert evaluation.exact(answer, target) is right


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [
        ("99123456799", "1234567", False),
        ("The pass key is 1234567.", "1234567", True),
        ("1234567", "1234567", True),
        ("1234567, I think", "1234567", True),
        ("(1234567)", "1234567", True),
        ("#1234567!", "1234567", True),
        ("11234567", "1234567", False),
        ("12345678", "1234567", False),
        ("A1234567", "1234567", False),
        ("1234567kg", "1234567", False),
        ("1234567_b", "1234567", False),
        ("1234567.5", "1234567", False),
        ("3.1234567", "1234567", False),
        ("1,234,567", "234", False),
        ("12 34567", "1234567", False),
        ("密码是1234567。", "1234567", True),
        ("１２３４５６７", "1234567", True),
        ("", "1234567", False),
        ("key-1234567", "1234567", True),
        ("007", "7", False),
        ("007", "007", True),
        ("it is 12.5.", "12.5", True),
        ("it is 12x5", "12.5", False),
        ("112.5", "12.5", False),
        ("12\n34", "34", True),
        (" 34 ", " 34 ", True),
    ],
)
def test_contains_number(answer: str, target: str, right: bool) -> None:
    assert evaluation.contains_number(answer, target) is right


@pytest.mark.parametrize(
    ("answer", "target", "right"),
    [
        ("It is karo.", "karo", True),
        ("KARO", "karo", True),
        ("karos", "karo", False),
        ("karo-2", "karo", False),
        ("a-karo", "karo", False),
        ("'karo'", "karo", True),
        ("kar o", "karo", False),
        ("karo_1", "karo", False),
        ("WNXPY, CBMBE", "CBMBE", True),
        ("WNXPYCBMBE", "CBMBE", False),
        ("", "karo", False),
        ("x 12345", "1234", False),
        ("5d302e5f-611e-4d9e-b54e-0d8688e3fe50", "5d302e5f-611e-4d9e-b54e-0d8688e3fe50", True),
        ("15d302e5f-611e-4d9e-b54e-0d8688e3fe50", "5d302e5f-611e-4d9e-b54e-0d8688e3fe50", False),
        ("5d302e5f-611e-4d9e-b54e-0d8688e3fe50-9", "5d302e5f-611e-4d9e-b54e-0d8688e3fe50", False),
        ("1.5", "5", False),
        ("a.b", "a.b", True),
        ("axb", "a.b", False),
    ],
)
def test_contains_value(answer: str, target: str, right: bool) -> None:
    assert evaluation.contains_value(answer, target) is right


@pytest.mark.parametrize(
    ("answer", "targets", "share"),
    [
        ("12, 34 and 56", ("12", "34", "56"), 1.0),
        ("12 and 345", ("12", "34"), 0.5),
        ("nothing", ("12",), 0.0),
        ("karo; 12", ("KARO", "12", "99"), 2 / 3),
        ("", (), 1.0),
        ("...", (), 1.0),
        ("None.", (), 1.0),
        ("The text does not say which.", (), 1.0),
        ("none of them is 12", (), 0.0),
        ("Nonesuch", (), 0.0),
        ("nothing but 12", (), 0.0),
        ("I do not know!", (), 1.0),
        ("12", (), 0.0),
    ],
)
def test_value_recall(answer: str, targets: tuple[str, ...], share: float) -> None:
    assert evaluation.value_recall(answer, targets) == pytest.approx(share)


def test_a_value_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a value as target, got ' '"):
        evaluation.contains_value("x", " ")


@pytest.mark.parametrize("target", ["", "seven", "12a", "-", "1.", "1 2"])
def test_a_target_that_is_no_number_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="expected digits"):
        evaluation.contains_number("1 2", target)


@pytest.mark.parametrize(
    ("answer", "target", "share"),
    [
        ("Sit in the park on a sunny day", "sit in the park", 1.0),
        ("sit", "sit in the park", 0.5),
        ("PARK, SIT!", "sit in the park", 1.0),
        ("parking sitting", "sit in the park", 0.0),
        ("", "park", 0.0),
        ("the of in", "sit in the park", 0.0),
        ("the", "the", 1.0),
        ("who is it", "it", 1.0),
        ("plum plum plum", "plum pear plum", 0.5),
        ("don't go", "don’t", 0.0),
        ("don't go", "don't", 1.0),
        ("明月", "床前明月", 0.5),
        ("the river 12", "river 12 boats", 2 / 3),
    ],
)
def test_content_words(answer: str, target: str, share: float) -> None:
    assert evaluation.content_words(answer, target) == pytest.approx(share)


def test_a_target_without_words_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one word"):
        evaluation.content_words("anything", " …!")


@pytest.mark.parametrize(
    ("answer", "target", "share"),
    [
        ("abcd", "abcd", 1.0),
        ("abxd", "abcd", 0.75),
        ("abcd!", "abcd", 0.8),
        ("ab", "abcd", 0.5),
        ("", "ab", 0.0),
        ("", "", 1.0),
        ("bcd", "abcd", 0.0),
        ("ab  cd", "ab cd", 1.0),
    ],
)
def test_char_accuracy(answer: str, target: str, share: float) -> None:
    assert evaluation.char_accuracy(answer, target) == pytest.approx(share)


def test_memory_ability_is_the_share_of_whole_poems() -> None:
    assert evaluation.memory_ability(["a b", "a c", "a  b", ""], ["a b"] * 4) == 0.5
    for answers, targets in ((["a"], ["a", "b"]), ([], [])):
        with pytest.raises(ValueError, match="one answer a target"):
            evaluation.memory_ability(answers, targets)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
    st.lists(st.integers(0, 6), min_size=1, max_size=30),
)
def test_auc_is_that_of_scikit_learn_ties_included(high: list[int], low: list[int]) -> None:
    positive, negative = torch.tensor(high).float(), torch.tensor(low).float()
    expected = roc_auc_score([1] * len(high) + [0] * len(low), high + low)
    assert evaluation.auc(positive, negative) == pytest.approx(expected)
    assert evaluation.auc(negative, positive) == pytest.approx(1 - expected)


def test_auc_of_non_contiguous_scores_and_of_nothing() -> None:
    assert evaluation.auc(torch.arange(6.0)[::2], torch.full((3,), -1.0)) == 1
    for positive, negative in (
        (torch.ones(0), torch.ones(1)),
        (torch.ones(1), torch.ones(0)),
        (torch.tensor([math.nan]), torch.ones(1)),
    ):
        with pytest.raises(ValueError, match="expected numbers on both sides"):
            evaluation.auc(positive, negative)


def test_stored_bits_of_boxes_that_know_nothing_everything_and_the_wrong_thing() -> None:
    assert evaluation.stored_bits(torch.full((4, 5), math.log(8)), 8) == pytest.approx(0, abs=1e-5)
    assert evaluation.stored_bits(torch.zeros(4, 5), 8) == 60
    assert evaluation.stored_bits(torch.full((4, 5), 2 * math.log(8)), 8) == pytest.approx(
        -60, abs=1e-4
    )


# ---- models --------------------------------------------------------------------------------------


def small_model(kind: str, steps: int) -> transformers.PreTrainedModel:
    """A tiny stock model, trained for a few steps on POEMS: enough to know some poems and not
    others."""
    shape = {
        "vocab_size": POEMS.tokens,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    more = {
        "gpt2": {"n_positions": 16, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
        "llama": {"intermediate_size": 48, "tie_word_embeddings": True},
        "qwen2": {"intermediate_size": 48, "num_key_value_heads": 1},
    }[kind]
    name = {"gpt2": "GPT2", "llama": "Llama", "qwen2": "Qwen2"}[kind]
    end = "LMHeadModel" if kind == "gpt2" else "ForCausalLM"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, name + end)(
            getattr(transformers, f"{name}Config")(**shape, **more)
        )
    model.loss_type = "ForCausalLM"
    labels = POEMS.ids.masked_fill(torch.arange(POEMS.ids.shape[1]) < 3, -100)
    fit(model, lambda _: {"input_ids": POEMS.ids, "labels": labels}, Recipe(steps, lr=2e-2))
    return model


@pytest.mark.parametrize(
    ("kind", "steps"), [("gpt2", 0), ("gpt2", 60), ("gpt2", 200), ("llama", 60), ("qwen2", 60)]
)
def test_reading_says_poem_by_poem_what_reciting_does(kind: str, steps: int) -> None:
    """All words right under teacher forcing ⟺ greedy `generate` recites the poem: the same poems,
    not only as many."""
    model = small_model(kind, steps)
    reading, said = evaluation.read(model, POEMS), evaluation.recite(model, POEMS.keys, 6)
    assert torch.equal(reading.recited, (said == POEMS.bodies).all(1))
    right = (
        (said == POEMS.bodies).int().cumprod(1).sum(1)
    )  # words before the first mistake agree as well
    assert torch.equal(right, reading.right.int().cumprod(1).sum(1))
    assert reading.memory_ability == pytest.approx(
        float((said == POEMS.bodies).all(1).double().mean())
    )
    assert {0: reading.memory_ability == 0, 60: True, 200: reading.memory_ability == 1}[steps]


def test_reading_is_the_sum_of_the_log_probabilities_and_does_not_depend_on_the_batch() -> None:
    model = small_model("gpt2", 20)
    reading = evaluation.read(model, POEMS)
    with torch.no_grad():
        log_p = model(POEMS.ids[:1]).logits[0].log_softmax(-1)
    by_hand = -sum(float(log_p[2 + j, POEMS.bodies[0, j]]) for j in range(6))
    assert float(reading.surprise[0]) == pytest.approx(by_hand, rel=1e-5)
    assert torch.allclose(reading.nll, evaluation.read(model, POEMS, batch=5).nll, atol=1e-5)
    assert reading.nll.shape == reading.right.shape == (
        24,
        6,
    ) and reading.token_accuracy == pytest.approx(float(reading.right.double().mean()))
    assert not reading.nll.requires_grad


def test_a_model_as_an_answerer() -> None:
    model = small_model("gpt2", 200)
    ask = evaluation.reciter(model, POEMS)
    poems = [POEMS.poem(i, per_line=0) for i in range(len(POEMS))]
    assert (
        evaluation.memory_ability(ask([poem.cue for poem in poems]), [poem.text for poem in poems])
        == 1
    )
    assert ask([]) == []
    with pytest.raises(ValueError, match="expected a question like"):
        ask(["Who are you?"])


def test_asking_leaves_the_fingerprint_and_one_bit_changes_it() -> None:
    model = small_model("gpt2", 5)
    before = evaluation.fingerprint(model)
    evaluation.read(model, POEMS)
    evaluation.recite(model, POEMS.keys, 6)
    assert evaluation.fingerprint(model) == before and len(before) == 64
    with torch.no_grad():
        weight = next(iter(model.parameters()))
        weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(9.0))
    assert evaluation.fingerprint(model) != before


def test_measuring_draws_nothing_from_the_global_random_state(
    untouched_global_random_state: None,
) -> None:
    model = small_model("gpt2", 1)
    evaluation.recite(model, POEMS.keys, 6)
    evaluation.read(model, POEMS)
    assert runtime.derive_seed(0) == runtime.derive_seed(0)
