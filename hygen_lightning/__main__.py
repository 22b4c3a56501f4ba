"""python -m hygen_lightning: the commands."""

import sys

from hygen_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
