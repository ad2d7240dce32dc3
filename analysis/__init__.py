"""Pure functions from tables and a frozen question to a frozen result. No Qt, no drawing outside report."""
