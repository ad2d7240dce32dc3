"""Items, their labels, and how a network learns them."""
