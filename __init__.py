"""Runglass: see every curve, know whether a difference is real, foresee the next scale.

The repository root is this package. Data flows one way through it: ``models`` reads folders of
logs into checked tables, ``analysis`` turns tables and a question into a result and a figure
described in words, ``gui`` draws that figure on the screen and ``analysis.report`` on paper.
Importing this module imports nothing else, so that ``runglass --version`` is instant.
"""

__version__ = "0.1.0"
