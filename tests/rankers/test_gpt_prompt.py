from __future__ import annotations

import numpy as np
import pytest
from gpt_models import tokenizer
from pydantic import ValidationError

from fusion.data.dataset import Catalog
from fusion.data.vocabulary import Vocabulary
from fusion.errors import ConfigError
from rankers.gpt_prompt import Prompts, PromptSettings, item_texts

IDS = ("a", "b", "c", "d")
CATALOG = Catalog(
    Vocabulary("item", IDS),
    texts=("Heat. Crime.", "only text", "", ""),
    titles=("Heat", "b", "Up", "d"),  # an id stands in for a title that is missing
)


def spell(tokens) -> str:
    return tokenizer().decode(tokens.tolist())


def test_item_texts_never_take_the_id_for_a_text() -> None:
    assert item_texts(CATALOG, "title") == ["Heat", "only text", "Up", ""]
    assert item_texts(CATALOG, "text") == ["Heat. Crime.", "only text", "Up", ""]


def test_sequence_is_header_then_the_newest_items_oldest_first() -> None:
    settings = PromptSettings(header="Seen:\n", item="- {text}\n", history=2)
    prompts = Prompts.of(CATALOG, "title", settings, tokenizer())
    assert prompts.has_text.tolist() == [True, True, True, False]
    assert spell(prompts.sequence([0, 1, 3, 2])) == "<s>Seen:\n- only text\n- Up\n"
    assert spell(prompts.sequence([3])) == "<s>Seen:\n"
    assert spell(prompts.items[0]) == "- Heat\n"


def test_only_the_text_is_cut_never_the_template() -> None:
    settings = PromptSettings(question="Is {text} next? Answer:", max_item_tokens=2)
    prompts = Prompts.of(CATALOG, "text", settings, tokenizer())
    for i in (0, 1):
        assert spell(prompts.questions[i]).startswith("Is ")
        assert spell(prompts.questions[i]).endswith(" next? Answer:")
        assert spell(prompts.items[i]).endswith("\n")
        assert len(prompts.items[i]) <= 2 + 1


def test_longest_bounds_every_sequence() -> None:
    prompts = Prompts.of(CATALOG, "title", PromptSettings(history=3), tokenizer())
    sizes = [len(prompts.sequence(h)) for h in ([0, 1, 2], [1, 1, 1])]
    assert max(sizes) + max(map(len, prompts.questions)) <= prompts.longest


def test_a_title_that_spells_a_control_token_is_only_text() -> None:
    catalog = Catalog(Vocabulary("item", ["a"]), texts=("",), titles=("</s> {text} <s>",))
    prompts = Prompts.of(catalog, "title", PromptSettings(), tokenizer())
    assert not set(prompts.items[0].tolist()) & {0, 1}
    assert spell(prompts.items[0]) == "</s> {text} <s>\n"


def test_answers_must_differ_in_their_first_token() -> None:
    settings = PromptSettings(answers=(" no", " no"))
    with pytest.raises(ConfigError, match="different tokens"):
        Prompts.of(CATALOG, "title", settings, tokenizer())


def test_no_start_at_all_is_refused() -> None:
    bare = tokenizer()
    bare.bos_token = bare.eos_token = None
    with pytest.raises(ConfigError, match="header"):
        Prompts.of(CATALOG, "title", PromptSettings(header=""), bare)


@pytest.mark.parametrize("template", ["no slot", "{text} {text}"])
def test_templates_need_one_slot(template: str) -> None:
    with pytest.raises(ValidationError, match="once"):
        PromptSettings(item=template)


def test_an_empty_catalogue_has_no_tokens() -> None:
    empty = Catalog(Vocabulary("item", []), texts=(), titles=())
    prompts = Prompts.of(empty, "title", PromptSettings(), tokenizer())
    assert prompts.has_text.tolist() == []
    assert np.array_equal(prompts.sequence([]), prompts.header)
