"""PyTorch files, which may be a stranger's: read as plain values, in memory bounded by their size.

state = load_tensors(Path("step-0000500.pt"))    # TorchFileError: one line, that names the file
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from fuse.dataset.storage import open_file
from render.failures import UserError, printable


class TorchFileError(UserError):
    """A file that is missing, damaged, hostile or something else."""


def load_tensors(path: Path, device: torch.device | str = "cpu") -> Any:
    """What a PyTorch file holds. Nothing of it is executed. Raises TorchFileError."""
    try:
        with open_file(path) as file:
            _require_stored(file)
            state = torch.load(file, map_location=device, weights_only=True)
            _require_whole(state)
            return state
    except (FileNotFoundError, IsADirectoryError):
        raise TorchFileError(f"{path}: no such file. Give a checkpoint.") from None
    except UserError as error:  # a FIFO or a device
        raise TorchFileError(str(error)) from None
    except pickle.UnpicklingError:
        raise TorchFileError(f"{path}: holds more than tensors and plain values. Use another one.") from None
    except Exception as error:  # a damaged or foreign file raises whatever its bytes lead to
        reason = printable((str(error).strip() or type(error).__name__).splitlines()[0])[:200]
        raise TorchFileError(
            f"{path}: damaged, or not a PyTorch file of tensors ({reason}). Use another one."
        ) from error


def _require_stored(file: IO[bytes]) -> None:
    """ValueError where a zip's members would become more bytes than the file has; PyTorch stores them."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
        size = file.seek(0, 2)
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ValueError("its members are compressed")
        if sum(info.file_size for info in infos) > size:
            raise ValueError("its members are larger than the file")
    file.seek(0)


def _require_whole(state: Any) -> None:
    """ValueError where a tensor repeats its values beyond what the file stores."""
    waiting = [state]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta:
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"a tensor of {tuple(value.shape)} has fewer values")
        elif isinstance(value, Tensor):
            raise ValueError(f"a tensor is {value.layout} on {value.device}")
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
