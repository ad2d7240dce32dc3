"""What the logs say: values, schemas, tables, selections and the figure vocabulary. No Qt, no plots, no statistics."""
