import pytest

from torchlap.reports.kit.text import LONGEST_TEXT, clean, counted, markdown, sentence


def test_long_text_is_cut() -> None:
    assert clean("x" * (LONGEST_TEXT + 1)) == "x" * LONGEST_TEXT


def test_letters_of_every_script_are_kept() -> None:
    assert clean("Café naïve 模型 модель 🚀 e\u0301") == "Café naïve 模型 модель 🚀 e\u0301"


def test_control_characters_become_spaces() -> None:
    assert clean("a\x1b[31m\u202eb\nc") == "a [31m b c"


@pytest.mark.parametrize(("text", "ended"), [("a", "a."), ("a.", "a."), ("a. ", "a."), ("", ""), (" .", "")])
def test_a_sentence_ends_with_one_full_stop(text: str, ended: str) -> None:
    assert sentence(text) == ended


@pytest.mark.parametrize(("count", "text"), [(0, "0 cells"), (1, "1 cell"), (2, "2 cells")])
def test_a_noun_is_singular_only_after_one(count: int, text: str) -> None:
    assert counted(count, "cell") == text


def test_untrusted_text_is_clean_and_escaped_in_markdown() -> None:
    assert markdown("*a*\x1b<b>|") == "\\*a\\* \\<b\\>\\|"
