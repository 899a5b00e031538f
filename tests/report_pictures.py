"""What a report of a run shows: read from the file, and seen in a browser."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from experiments.report_samples import STILL_PIXELS


def data_of(text, name):
    (data,) = re.findall(f'<script type="application/json" id="{name}">(.*?)</script>', text)
    return data


def picture_of(uri, mode):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert(mode))


def seen(page):
    """Pixels of the canvas, after the frame that is under way."""
    page.evaluate("() => new Promise((f) => requestAnimationFrame(() => requestAnimationFrame(f)))")
    return np.asarray(Image.open(io.BytesIO(page.locator("canvas").screenshot())).convert("RGB"))


def object_of(page):
    """Where the object is, among the normals' colours: no normal has the colour of the paper."""
    page.check("[value=normals]", force=True)
    pixels = seen(page).astype(int)
    return (np.abs(pixels - pixels[12, 12]) > 12).any(axis=-1)


def outline(still):
    """Where a pixel of our own renderer has its centre on the mesh, without the soft margin."""
    return picture_of(still, "RGBA")[..., 3] > 250


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def overlap(page, still):
    """IoU of the object in the page and in a picture of our own renderer."""
    mask = Image.fromarray(object_of(page)).convert("L").resize((STILL_PIXELS,) * 2)
    return iou(np.asarray(mask) > 127, outline(still))


def angles(page):
    return [float(a.replace("−", "-")) for a in re.findall(r"[−\d.]+", page.inner_text("output"))]  # noqa: RUF001
