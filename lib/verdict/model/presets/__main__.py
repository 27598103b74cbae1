"""Command line: `python -m verdict.model.presets`."""

import sys

from verdict.model.presets.recipes import PRESETS
from verdict.model.presets.store import main

if __name__ == "__main__":
    sys.exit(main(PRESETS))
