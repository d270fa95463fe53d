"""Where the repository, the demo model's samples and the installed command lie."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "layers" / "heatlens_web" / "static" / "samples"
HEATLENS = Path(sys.executable).parent / "heatlens"  # the installed command
