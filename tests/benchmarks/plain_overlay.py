"""Draw and encode as the plain service does."""

import base64
import io

import numpy as np
from matplotlib import colormaps
from PIL import Image


def overlay(image: Image.Image, heat: np.ndarray, colormap: str, alpha: float) -> Image.Image:
    """Color the heat and blend it with the image."""
    levels = Image.fromarray(np.uint8(heat * 255)).resize(image.size, Image.Resampling.BILINEAR)
    colors = np.uint8(colormaps[colormap](np.asarray(levels))[..., :3] * 255)
    return Image.fromarray(np.uint8(alpha * colors + (1 - alpha) * np.asarray(image)))


def png_base64(image: Image.Image) -> str:
    """Encode an image as PNG and base64."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
