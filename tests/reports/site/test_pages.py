"""The site's pages: the texts of run files are escaped and clean, the links lead somewhere, the data are whole."""

import csv
import json
import re
from posixpath import dirname, join, normpath

import pytest
from msgspec.structs import replace
from reports.samples import everywhere, steering

from torchlap.judge.collection import Collection, accepted, put_together
from torchlap.reports.site.pages import site
from torchlap.runs.find import reference, references

EVIL = "</script><script>document.title='run'</script><img src=x onerror=alert(1)>\x1b[31m\u202e&amp;=1+1"


def pages(collection: Collection) -> dict[str, str]:
    return dict(site(collection, "1.2.3"))


def bundled() -> Collection:
    return put_together(
        accepted(f"{name}.jsonl", "torchlap", reference(name), maintained=True) for name in references()
    )


def hostile(text: str) -> Collection:
    run = everywhere(text)
    run = replace(run, header=replace(run.header, published=""))
    return put_together([accepted(f"{text}/{text}.jsonl", text, run)])


@pytest.mark.parametrize("text", [EVIL, "<!--", "\ud800", "a\u2028b", "'\"`", "{{ 7 * 7 }}"], ids=ascii)
def test_no_text_leaves_its_place_in_a_page(text: str) -> None:
    collection = hostile(text)
    assert collection.entries
    tidy = pages(hostile("tidy"))
    for (name, shown), expected in zip(pages(collection).items(), tidy.values(), strict=True):
        assert not name.endswith(".html") or shown.count("<script") == expected.count("<script"), name
        assert not name.endswith(".html") or shown.count("<img") == 0, name
        assert not steering(shown.replace("\n", "")), name


def test_every_link_leads_to_a_page() -> None:
    found = pages(bundled())
    for name, text in found.items():
        if name.endswith(".html"):
            for link in re.findall(r'href="([^"#]+)', text):
                target = normpath(join(dirname(name), link))
                assert link.startswith("data:") or target in found, (name, link)


def test_the_search_has_every_result_in_columns_of_one_length() -> None:
    collection = bundled()
    text = pages(collection)["index.html"]
    block = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert block
    data = json.loads(block[1])
    assert {len(column) for column in data["rows"].values()} == {len(collection.entries)}
    assert len(data["links"]) == len(data["names"]["chip"])
    assert data["names"]["chip"][data["rows"]["chip"][0]] in {entry.chip for entry in collection.entries}


def test_a_spreadsheet_takes_no_text_for_a_formula() -> None:
    for name in ("results.csv", "refused.csv"):
        rows = list(csv.reader(pages(hostile("=1+1"))[name].splitlines()))
        assert not [field for row in rows for field in row if field.startswith(("=", "@", "+"))]


def test_a_chip_has_its_history_and_a_machine_its_place_among_others() -> None:
    found = pages(bundled())
    chip = next(text for name, text in found.items() if name.startswith("chips/") and "<h1>NVIDIA H100" in text)
    assert "resnet18, batch 64, train, fp32" in chip
    assert ">2.11<" in chip
    machine = next(text for name, text in found.items() if name.startswith("machines/") and "H100" in text)
    assert "virtual machine" in machine
