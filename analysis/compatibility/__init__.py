"""What a new version gains and what it breaks, item by item."""
