"""The sRGB curve against published values."""

from __future__ import annotations

import numpy as np

from render.srgb import are_bytes, linear_to_srgb, srgb_to_linear

BYTES = np.array([0, 1, 10, 11, 64, 128, 188, 255])
LINEAR = np.array([0, 0.000304, 0.003035, 0.003347, 0.051269, 0.215861, 0.502886, 1])


def test_bytes_decode_to_the_published_values() -> None:
    assert np.abs(srgb_to_linear(BYTES / 255) - LINEAR).max() < 1e-6
    assert np.array_equal(srgb_to_linear(np.array([-0.5, 1.5])), [0, 1])


def test_encoding_is_the_inverse_for_every_byte() -> None:
    every = np.arange(256)
    linear = srgb_to_linear(every / 255).astype(np.float32)
    encoded = linear_to_srgb(linear)
    assert encoded.dtype == np.float32
    assert np.array_equal(np.rint(encoded * 255), every)


def test_what_is_bytes() -> None:
    for values in ([0, 0.5, 1], [1.02, 0.2, 0.1], [3.5, 0.2, 0.1], [0, 1, 0], []):
        assert not are_bytes(np.array(values))
    for values in ([180, 60, 30], [0, 1, 2], [180.5, 60.25, 0.5]):
        assert are_bytes(np.array(values))
