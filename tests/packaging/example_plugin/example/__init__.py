"""What Runglass looks for here: a reader, an analysis, a palette and a dashboard; ``pyproject.toml`` names them."""

from pathlib import Path

PALETTE = Path(__file__).with_name("lab.json")
TEMPLATE = Path(__file__).with_name("loss-watch.runglass.json")
