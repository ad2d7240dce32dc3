"""Readers: one module per format, I/O only.

`registry` lists ours; a third party registers a `Reader` class under the entry point group ``runglass.readers``.
"""
