"""One module per log format; readers do not know one another."""
