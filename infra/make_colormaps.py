"""Write matplotlib's colormaps as layers/heatlens/render/colormaps/NAME.rgb, 256 RGB entries each."""

from pathlib import Path
from typing import get_args

import numpy as np
from matplotlib import colormaps

from heatlens.types import Colormap

FOLDER = Path(__file__).parents[1] / "layers" / "heatlens" / "render" / "colormaps"

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in get_args(Colormap):
        entries = colormaps[name](np.arange(256), bytes=True)[:, :3]
        (FOLDER / f"{name}.rgb").write_bytes(entries.tobytes())
