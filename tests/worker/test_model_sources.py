"""`hf:NAME` and `timm:NAME`, in tiny configurations where the size does not matter."""

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from torchlap.schema.hugging_face import CLASSIFIER, KNOWN, Known
from torchlap.schema.recipe import Recipe
from torchlap.schema.requests import Check
from torchlap.schema.workload import Cell, Workload
from torchlap.worker.cell import hugging_face, models
from torchlap.worker.cell.check import check
from torchlap.worker.cell.hub import PROXIES
from torchlap.worker.errors import ModelError

needs_hf = pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")

TINY = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "n_layer": 2,
    "n_embd": 8,
    "n_head": 2,
    "vocab_size": 50,
    "n_positions": 16,
}


@needs_hf
def test_a_folder_with_a_configuration_is_a_text_model_with_tokens(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    subject = hugging_face.build(f"hf:{tmp_path}", 3, "random", 7, torch.device("cpu"))
    assert subject.batch is not None
    inputs, targets = subject.batch
    assert (subject.unit, subject.rows, subject.items_of(inputs, targets)) == ("tokens", 3, 21)
    loss = subject.loss(subject.call(subject.module, inputs), targets)
    assert loss.item() == pytest.approx(3.9, abs=0.3)  # log(50), because its weights are random
    with pytest.raises(ModelError, match="accepts at most 16 tokens per sequence, not 17: use --seq 16"):
        hugging_face.build(f"hf:{tmp_path}", 3, "random", 17, torch.device("cpu"))


@needs_hf
def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ModelError, match="choose one of gpt2, llama-small, bert-base"):
        check(Check("hf:nope", 2, "random", "mnist-1k"))


@needs_timm
def test_a_timm_model_is_trained_on_images_of_its_size() -> None:
    assert models.build("timm:test_vit", 2, "random").image_size == 160
    with pytest.raises(ModelError, match="timm has no model 'resnet999'"):
        models.build("timm:resnet999", 2, "random")


@pytest.mark.parametrize(("model", "extra"), [("hf:gpt2", "hf"), ("timm:resnet18", "timm")])
def test_without_the_extra_one_sentence_has_the_install_command(
    model: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (hugging_face, models):
        monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=rf"pip install 'torchlap\[{extra}\]'"):
        models.build(model, 2, "random")


def test_a_cell_with_a_sequence_length_says_so() -> None:
    assert "1024 tokens" in str(Cell(Workload("hf:gpt2", 16, seq=1024), Recipe(), "cpu"))


FAILURES = (
    OSError("We couldn't connect to the hub.\nMore lines."),
    RuntimeError("We couldn't connect to the hub."),
    Exception("We couldn't connect to the hub."),
)
SAID = r"pretrained weights of {} \(We couldn't connect to the hub\): check the network, or omit --weights pretrained\."


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub can be reached."""
    for module in (hugging_face, models):
        monkeypatch.setattr(module, "check_reachable", lambda _: None)


@needs_hf
@pytest.mark.parametrize("model", ["hf:distilbert", pytest.param("timm:resnet18", marks=needs_timm)])
def test_without_a_network_the_hub_is_asked_once(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def offline(address: object, timeout: float) -> None:
        asked.append(address)
        raise OSError(101, "Network is unreachable")

    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("socket.create_connection", offline)
    said = r"weights of .* \(huggingface.co cannot be reached: Network is unreachable\): check the network, or omit"
    with pytest.raises(ModelError, match=said):
        models.build(model, 2, "pretrained")
    assert asked == [("huggingface.co", 443)]


@pytest.mark.usefixtures("hub")
@needs_hf
def test_pretrained_weights_of_transformers_come_from_the_published_name(monkeypatch: pytest.MonkeyPatch) -> None:
    auto = import_module("transformers").AutoModelForSequenceClassification
    asked: list[str] = []

    def downloaded(source: str, *, config: Any, ignore_mismatched_sizes: bool) -> Any:
        asked.append(source)
        assert (config.num_labels, ignore_mismatched_sizes) == (10, True)  # the head is new
        return auto.from_config(config)

    monkeypatch.setattr(auto, "from_pretrained", downloaded)
    small = {"n_layers": 1, "dim": 8, "n_heads": 2, "hidden_dim": 16, "vocab_size": 50}
    known = Known("DistilBertConfig", CLASSIFIER, small)
    monkeypatch.setitem(KNOWN, "distilbert", known)
    subject = models.build("hf:distilbert", 2, "pretrained", seq=4)
    assert asked == ["distilbert/distilbert-base-uncased"]
    assert subject.batch
    assert subject.loss(subject.call(subject.module, subject.batch[0]), None).item() > 0
    with pytest.raises(ModelError, match="hf:llama-small has no published weights: omit --weights pretrained"):
        models.build("hf:llama-small", 2, "pretrained")


@pytest.mark.usefixtures("hub")
@needs_hf
@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_a_failed_download_of_transformers_is_one_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(import_module("transformers").AutoModelForSequenceClassification, "from_pretrained", offline)
    with pytest.raises(ModelError, match=SAID.format("distilbert/distilbert-base-uncased")):
        models.build("hf:distilbert", 2, "pretrained")


@pytest.mark.usefixtures("hub")
@needs_timm
def test_pretrained_weights_of_timm_are_requested_with_a_new_head(monkeypatch: pytest.MonkeyPatch) -> None:
    timm = import_module("timm")
    create, asked = timm.create_model, []

    def downloaded(name: str, *, pretrained: bool, num_classes: int) -> Any:
        asked.append((name, pretrained, num_classes))
        return create(name, pretrained=False, num_classes=num_classes)

    monkeypatch.setattr(timm, "create_model", downloaded)
    assert models.build("timm:test_vit", 2, "pretrained").image_size == 160
    assert asked == [("test_vit", True, 10)]


@pytest.mark.usefixtures("hub")
@needs_timm
@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_a_failed_download_of_timm_is_one_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(import_module("timm"), "create_model", offline)
    with pytest.raises(ModelError, match=SAID.format("timm:test_vit")):
        models.build("timm:test_vit", 2, "pretrained")
