"""Models of transformers: `hf:NAME`, from a bundled configuration or a local folder, with random data."""

import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchlap.schema.hugging_face import CAUSAL, CLASSIFIER, KNOWN, VISION
from torchlap.schema.recipe import VOCABULARY_MULTIPLE
from torchlap.schema.workload import Weights
from torchlap.worker.cell.calls import by_name, loss_of
from torchlap.worker.cell.hub import check_reachable
from torchlap.worker.cell.subject import Subject
from torchlap.worker.errors import ModelError, RefusedError, cannot_load, first_line

CLASSES = 10
LONGEST_CAUSAL, LONGEST_OTHER = 1024, 128
"""Tokens per sequence without --seq: for models that predict the next token, and for the others."""

DATA_SEED = 2


PUBLISHED = {
    "bert-base": "google-bert/bert-base-uncased",
    "distilbert": "distilbert/distilbert-base-uncased",
    "gpt2": "openai-community/gpt2",
    "vit": "google/vit-base-patch16-224",
}
"""The names on Hugging Face's hub that --weights pretrained loads."""


def build(model: str, batch: int, weights: Weights, seq: int | None, device: torch.device) -> Subject:
    """A model with its loss, and one batch of random tokens or images.

    Args:
        model: hf:NAME, or hf:FOLDER with a config.json.
        batch: sequences or images.
        weights: random, or pretrained from Hugging Face's hub or the folder.
        seq: tokens per sequence; None for the usual length.
        device: where random weights are created.

    Raises:
        ModelError: if the package is missing, the name is unknown, or the model cannot take so long a sequence.
    """
    name = model.removeprefix("hf:")
    transformers = _package(model)
    configuration, task = _configuration(transformers, name)
    module = _module(transformers, name, configuration, task, weights, device=device)
    generator = torch.Generator().manual_seed(DATA_SEED)
    if task == VISION:
        if seq is not None:
            raise ModelError(f"--seq sets the length of text sequences, but {model} takes images: omit it.")
        shape = batch, configuration.num_channels, configuration.image_size, configuration.image_size
        inputs = {
            "pixel_values": torch.randn(shape, generator=generator),
            "labels": torch.randint(CLASSES, (batch,), generator=generator),
        }
        unit = "images"
    else:
        length = _length(model, configuration, task, seq)
        ids = torch.randint(configuration.vocab_size, (batch, length), generator=generator)
        labels = ids if task == CAUSAL else torch.randint(CLASSES, (batch,), generator=generator)
        inputs, unit = {"input_ids": ids, "labels": labels}, "tokens"
    loss = loss_of(None, has_targets=False)
    return Subject(module=module, loss=loss, batch=(inputs, None), call=by_name, rows=batch, unit=unit)


def pad_vocabulary(module: Any) -> str:
    """Pad a language model's vocabulary in place, as transformers does it; what was done, in words.

    Raises:
        RefusedError: for a model without a vocabulary, or if it needs no padding.
    """
    before = getattr(getattr(module, "config", None), "vocab_size", None)
    if before is None or not hasattr(module, "resize_token_embeddings"):
        raise RefusedError("pad_vocab needs a language model of transformers, such as hf:gpt2: omit the recipe term.")
    if before % VOCABULARY_MULTIPLE == 0:
        raise RefusedError(
            f"The vocabulary of {before} entries is a multiple of {VOCABULARY_MULTIPLE} already: omit the recipe term "
            "pad_vocab."
        )
    module.resize_token_embeddings(pad_to_multiple_of=VOCABULARY_MULTIPLE, mean_resizing=False)
    return f"vocabulary padded from {before} to {module.config.vocab_size} (pad_vocab)"


def _package(model: str) -> Any:
    if find_spec("transformers") is None:
        raise ModelError(f"{model} needs the package transformers: pip install 'torchlap[hf]'.")
    return import_module("transformers")


def _configuration(transformers: Any, name: str) -> tuple[Any, str]:
    """The configuration and the class by task."""
    if name in KNOWN:
        known = KNOWN[name]
        settings = {"num_labels": CLASSES} if known.task != CAUSAL else {}
        return getattr(transformers, known.configuration)(**known.settings, **settings), known.task
    if not (Path(name) / "config.json").is_file():
        raise ModelError(
            f"Unknown model hf:{name}: choose one of {', '.join(KNOWN)}, or a local folder with a config.json, like "
            "hf:path/to/folder."
        )
    try:
        configuration = transformers.AutoConfig.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"Cannot read {name}/config.json: {first_line(error)}") from None
    return configuration, _task(transformers, name, configuration)


def _task(transformers: Any, name: str, configuration: Any) -> str:
    """What the model of a folder is trained for, by its model type."""
    auto = transformers.models.auto.modeling_auto
    named = " ".join(configuration.architectures or ())
    kind = configuration.model_type
    if kind in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        task = VISION
    elif kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and ("LMHead" in named or "Causal" in named):
        task = CAUSAL
    elif kind in auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        task = CLASSIFIER
    else:
        raise ModelError(
            f"hf:{name} has the model type {kind!r}, which is neither a causal language model nor a classifier: write "
            "a function that returns the model and a batch, and name it as path/to/file.py:function."
        )
    if task != CAUSAL:
        configuration.num_labels = CLASSES
    return task


def _module(
    transformers: Any, name: str, configuration: Any, task: str, weights: Weights, *, device: torch.device
) -> nn.Module:
    made = getattr(transformers, task)
    if weights == "random":
        with torch.device(device) if device.type == "cuda" else torch.device("cpu"):
            module: nn.Module = made.from_config(configuration)
    else:
        source = PUBLISHED.get(name, name)
        if name in KNOWN and name not in PUBLISHED:
            raise ModelError(f"hf:{name} has no published weights: omit --weights pretrained.")
        try:
            if not Path(source).is_dir():
                check_reachable(source)
            with warnings.catch_warnings():  # that the new head is random
                warnings.simplefilter("ignore")
                module = made.from_pretrained(source, config=configuration, ignore_mismatched_sizes=True)
        except Exception as error:  # noqa: BLE001  a download fails in many ways, also with errors of its HTTP library
            raise cannot_load(source, error) from None
    module.config.use_cache = False  # type: ignore[union-attr]  # keys and values for generating, unused in a step
    return module


def _length(model: str, configuration: Any, task: str, seq: int | None) -> int:
    most = int(getattr(configuration, "max_position_embeddings", LONGEST_CAUSAL))
    if seq is not None and seq > most:
        raise ModelError(f"{model} accepts at most {most} tokens per sequence, not {seq}: use --seq {most} or less.")
    return seq or min(most, LONGEST_CAUSAL if task == CAUSAL else LONGEST_OTHER)
