"""The demo for a host of many visitors: `python demo/app.py`; demo/README.md says how."""

import os

from audiogen.demo.models import Shelf
from audiogen.demo.page import build, launch

if __name__ == "__main__":
    shelf = Shelf(os.environ.get("AUDIOGEN_DEVICE", "auto"))
    launch(build(shelf), os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "7860")))
