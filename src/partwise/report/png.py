"""Small pictures as data URIs."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.report.palette import INK, NEGATIVE, POSITIVE, RGB

CONTRAST = 0.6  # exponent that lets small weights be seen
BRIGHTEST = 0.995  # quantile of magnitude drawn at full strength


@dataclass(frozen=True)
class Picture:
    """A picture with its alternative text and size in its own pixels."""

    uri: str
    alt: str
    width: int
    height: int


def png_uri(rgba: NDArray[np.uint8]) -> str:
    """A data URI of an (h, w, 4) picture, as PNG."""
    height, width, _ = rgba.shape
    rows = np.zeros((height, 1 + 4 * width), np.uint8)  # filter type 0 in front of every row
    rows[:, 1:] = rgba.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    content = (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + _chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + b64encode(content).decode("ascii")


def signed_picture(matrix: NDArray[np.floating]) -> str:
    """Signed values in two hues; zero is clear, so that the page shows through."""
    size = np.abs(np.nan_to_num(matrix))
    top = float(np.quantile(size, BRIGHTEST)) or float(size.max()) or 1.0
    strength = np.minimum(size / top, 1) ** CONTRAST
    hue = np.where((matrix < 0)[..., None], NEGATIVE, POSITIVE)
    return _with_alpha(hue, strength)


def tinted_picture(strength: NDArray[np.float64], colour: RGB = INK) -> str:
    """Values in [0, 1] as the opacity of one colour."""
    return _with_alpha(np.broadcast_to(colour, (*strength.shape, 3)), strength)


def _with_alpha(hue: NDArray[np.integer], strength: NDArray[np.float64]) -> str:
    alpha = np.rint(255 * np.clip(np.nan_to_num(strength), 0, 1))[..., None]
    return png_uri(np.concatenate([hue, alpha], -1).astype(np.uint8))


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
