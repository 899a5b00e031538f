"""Pictures whose content can be recognised after decoding, for the tests of the sources."""

from __future__ import annotations

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(size=64):
    """Red and green above, blue and white below."""
    image = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    image[:half, :half], image[:half, half:] = RED, GREEN
    image[half:, :half], image[half:, half:] = BLUE, WHITE
    return Image.fromarray(image)


def corners(image):
    """The colours well inside the four quarters, row by row."""
    low, high = image.shape[0] // 4, 3 * image.shape[0] // 4
    return [image[i, j].astype(int) for i in (low, high) for j in (low, high)]


def assert_corners(image, expected, atol=8):
    np.testing.assert_allclose(corners(image), expected, atol=atol)
