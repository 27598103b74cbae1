"""Command line: `python -m verdict.pretrain`."""

import sys

from verdict.pretrain.recipes import PRESETS
from verdict.pretrain.store import main

if __name__ == "__main__":
    sys.exit(main(PRESETS))
