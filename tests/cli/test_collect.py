"""torchlap collect and submit: folders of run files to a site, checks of new files, and what would be published."""

import json
from pathlib import Path

import pytest
from making import CPU, CUDA, cell, facts, failure, header, plan, prepared, rounds
from support import invoke

from torchlap.judge.collection import accepted, put_together
from torchlap.machine import privacy
from torchlap.runs.file import content
from torchlap.runs.find import reference, references
from torchlap.schema.events import Event, Run
from torchlap.schema.workload import Group

SLOW = [0.1, 0.101, 0.099, 0.1, 0.102, 0.098, 0.1, 0.1]


def run(*, speed: float = 1.0, model: str = "resnet18", reason: str = "") -> Run:
    events: list[Event] = [prepared(0), prepared(1), *rounds(*[[seconds / speed for seconds in SLOW]] * 2)]
    if reason:
        events.append(failure(0, "error", reason, detail="Traceback ... /home/alice/secret.py", group=1))
    groups = [
        Group((cell("cpu", model=model, batch=batch), cell("cuda:0", model=model, batch=batch))) for batch in (4, 8)
    ]
    return Run(header(plan(*groups), facts(devices=(CPU, CUDA))), tuple(events))


def bundled() -> tuple[int, int]:
    """How many results and machines the references have."""
    files = (accepted(f"{name}.jsonl", "torchlap", reference(name), maintained=True) for name in references())
    collection = put_together(files)
    return len(collection.entries), len(collection.machines)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection with three owners."""
    collection = tmp_path / "submissions"
    for number, owner in enumerate(("alice", "bob", "carol")):
        (collection / owner).mkdir(parents=True)
        (collection / owner / "run.jsonl").write_bytes(content(run(speed=1 + number / 1000)))
    return collection


def test_a_site_is_written_and_summed_up(folder: Path, tmp_path: Path) -> None:
    (folder / "bob" / "bad.jsonl").write_text("{}\n")
    site = tmp_path / "site"
    result = invoke("collect", folder, "--site", site)
    assert result.exit_code == 0, result.output
    ours, machines = bundled()
    assert f"{len(references()) + 4} run files: {ours + 6} results" in result.stdout
    assert "6 reproduced" in result.stdout
    assert "Refused: 1 (TL801: run file cannot be read)." in result.stdout
    assert {path.name for path in site.iterdir()} == {
        "index.html", "chips.html", "refused.html", "about.html", "results.csv", "refused.csv", "chips", "machines",
    }  # fmt: skip
    assert len(list((site / "machines").iterdir())) == machines + 3
    assert "bob/bad.jsonl" in (site / "refused.html").read_text()


def test_the_references_are_the_first_entries_of_an_empty_folder(tmp_path: Path) -> None:
    result = invoke("collect", tmp_path)
    assert (result.exit_code, f"{bundled()[0]} results" in result.stdout) == (0, True), result.output


def test_a_site_is_replaced_and_what_no_longer_exists_is_removed(folder: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    invoke("collect", folder, "--site", site)
    (folder / "alice" / "run.jsonl").unlink()
    notes = site / "machines" / "notes.html"
    notes.write_text("mine")
    assert invoke("collect", folder, "--site", site).exit_code == 0
    pages = {path.name for path in (site / "machines").iterdir()}
    assert (len(pages), notes.read_text()) == (bundled()[1] + 2 + 1, "mine")


def test_a_folder_with_other_files_is_kept(folder: Path, tmp_path: Path) -> None:
    for target in (tmp_path, folder / "alice" / "run.jsonl"):
        result = invoke("collect", folder, "--site", target)
        assert (result.exit_code, result.output.count("\n")) == (4, 1), result.output


@pytest.mark.parametrize(
    "words",
    [
        ("nowhere",),
        ("{folder}", "--check", "alice/run.jsonl", "--site", "x"),
        ("{folder}", "--author", "bob"),
        ("{folder}", "--check", "alice/nothing.jsonl"),
    ],
)
def test_wrong_arguments_are_one_sentence(words: tuple[str, ...], folder: Path) -> None:
    result = invoke("collect", *[word.format(folder=folder) for word in words])
    assert (result.exit_code, result.output.count("\n")) == (2, 1), result.output


def test_a_new_file_is_checked_by_the_same_rules(folder: Path) -> None:
    new = folder / "dave" / "run.jsonl"
    new.parent.mkdir()
    new.write_bytes(content(run(speed=1.01)))
    accepted = invoke("collect", folder, "--check", new, "--author", "dave")
    assert (accepted.exit_code, accepted.stdout) == (0, "Accepted.\n")
    new.write_bytes(content(run(speed=1.001)))  # as bob's
    refused = invoke("collect", folder, "--check", "dave/run.jsonl", "--author", "eve")
    assert refused.exit_code == 1
    assert [code for code in ("TL807", "TL812") if code in refused.stdout] == ["TL807", "TL812"]


def test_a_file_that_identifies_somebody_is_refused(folder: Path) -> None:
    (folder / "alice" / "run.jsonl").write_bytes(content(run(speed=1.1, reason="Cannot open /home/alice/data")))
    result = invoke("collect", folder, "--check", "alice/run.jsonl")
    assert (result.exit_code, "TL808" in result.stdout) == (1, True)


def test_submit_shows_and_writes_exactly_what_would_be_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privacy, "_names", lambda: (("wonderland", "<host>"),))
    source = tmp_path / "run.jsonl"
    source.write_bytes(content(run(reason="Cannot open /home/alice/data on wonderland")))
    result = invoke("submit", source, "--owner", "alice", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (written,) = (tmp_path / "out" / "submissions" / "alice").iterdir()
    text = written.read_text()
    assert not [word for word in ("/home/alice", "wonderland", "Traceback") if word in text]
    shown = result.stdout
    for line in text.splitlines():
        for word in json.dumps(json.loads(line)).split('"')[1::2]:
            assert len(word) < 3 or word in shown or word.islower() or "_" in word, word
    assert "Cannot open /home/<other>/data on <host>" in shown
    assert "resnet18, batch 4" in (tmp_path / "out" / "pull-request.md").read_text().replace("\\", "")
    again = invoke("collect", tmp_path / "out" / "submissions", "--check", f"alice/{written.name}", "--author", "alice")
    assert (again.exit_code, again.stdout) == (0, "Accepted.\n")


def test_submit_writes_nothing_of_a_run_without_an_acceptable_result(tmp_path: Path) -> None:
    source = tmp_path / "run.jsonl"
    source.write_bytes(content(run(model="net.py:tiny")))
    result = invoke("submit", source, "--out", tmp_path / "out")
    assert (result.exit_code, "TL809" in result.stdout, (tmp_path / "out").exists()) == (1, True, False)


def test_submit_refuses_a_name_that_would_leave_its_folder(tmp_path: Path) -> None:
    source = tmp_path / "run.jsonl"
    source.write_bytes(content(run()))
    assert invoke("submit", source, "--owner", "../..", "--out", tmp_path / "out").exit_code == 2


def test_parquet_needs_an_extra_or_is_written(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "results.parquet"
    result = invoke("collect", folder, "--parquet", target)
    try:
        from pyarrow import parquet  # noqa: PLC0415  an extra
    except ImportError:
        assert (result.exit_code, "torchlap[parquet]" in result.stderr) == (2, True)
    else:
        assert parquet.read_table(target).num_rows == bundled()[0] + 6
        assert invoke("collect", folder, "--parquet", target).exit_code == 4
        assert invoke("collect", folder, "--parquet", target, "--force").exit_code == 0
