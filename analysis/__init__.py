"""What the data say: pure functions from tables and a question to a result, one module an analysis."""
