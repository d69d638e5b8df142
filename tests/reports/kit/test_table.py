import pytest

from torchlap.reports.kit.table import Column, Field, as_markdown, build, fitting
from torchlap.reports.kit.templates import template
from torchlap.reports.kit.terminal import rendered

TABLE = build(
    [("cat", "black", "4.0"), ("cat", "black", "12.5"), ("dog", "black", "12.5")],
    [
        (Column("animal"), lambda animal: animal[0]),
        (Column("color", is_spare=True), lambda animal: animal[1]),
        (
            Column("weight", "right"),
            lambda animal: Field(animal[2], sort_by=f"{animal[2]}0", is_void=animal[0] == "dog"),
        ),
    ],
    grouped_columns=2,
)


def in_terminal(width: int) -> str:
    rich = fitting(TABLE, width)
    assert rich is not None
    return "\n" + rendered([rich], width, color=False)


def test_a_terminal_shows_repeated_texts_once() -> None:
    assert (
        in_terminal(40)
        == """

 animal  color  weight
 ─────────────────────
 cat     black     4.0
                  12.5
 dog     black    12.5

"""
    )


def test_a_narrow_terminal_loses_spare_columns() -> None:
    assert "color" not in in_terminal(20)
    assert fitting(TABLE, 10) is None


def test_markdown_aligns_the_columns_and_strikes_void_fields() -> None:
    assert as_markdown(TABLE) == [
        "| animal | color | weight |",
        "| --- | --- | ---: |",
        "| cat | black | 4.0 |",
        "| cat | black | 12.5 |",
        "| dog | black | ~~12.5~~ |",
    ]


def test_html_has_headers_values_to_sort_by_and_classes() -> None:
    html = template("kit/table.html.j2").module.table(TABLE, "Animals")  # type: ignore[attr-defined]
    assert "<caption>Animals</caption>" in html
    assert '<th scope="col" aria-sort="none" class="left spare"><button type="button">color</button></th>' in html
    assert '<th scope="row" class="left">cat</th>' in html
    assert '<td data-value="4.00" class="right">4.0</td>' in html
    assert '<td data-value="12.50" class="right"><s>12.5</s></td>' in html


def test_a_phone_leaves_out_a_column_that_is_the_same_in_every_row_but_a_terminal_does_not() -> None:
    table = build(["a", "b"], [(Column("name"), str), (Column("kind", is_constant=True), lambda _: "letter")])
    html = template("kit/table.html.j2").module.table(table, "Letters")  # type: ignore[attr-defined]
    assert '<td class="left spare">letter</td>' in html
    rich = fitting(table, 20)
    assert rich is not None
    assert "letter" in rendered([rich], 20, color=False)


@pytest.mark.parametrize("text", ["<b>a|b</b>", "\x1b[31m\u202e"])
def test_no_format_shows_untrusted_text_raw(text: str) -> None:
    table = build([text], [(Column("name"), lambda name: Field(name, link=f"#{name}"))])
    html = template("kit/table.html.j2").module.table(table, text)  # type: ignore[attr-defined]
    rich = fitting(table, 80)
    assert rich is not None
    for shown in (rendered([rich], 80, color=False), *as_markdown(table)):
        assert not {"\x1b", "\u202e"} & set(shown)
    assert "<b>" not in html
    assert as_markdown(table)[2].replace("\\|", "").count("|") == 2
