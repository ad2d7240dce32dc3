"""The window. Importing this package imports no Qt, so that missing libraries can be explained first."""
