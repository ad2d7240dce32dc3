"""The command line."""

import sys

from . import __version__


def main() -> int:
    """Print the version; the exit status is 0."""
    sys.stdout.write(f"runglass {__version__}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
