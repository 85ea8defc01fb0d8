"""`python -m miaobi`: the command line, for an environment whose scripts are not on the PATH."""

from __future__ import annotations

import sys

from miaobi.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
