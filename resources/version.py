"""The version of Runglass, where every floor can read it without the package itself."""

__version__ = "0.1.0"
