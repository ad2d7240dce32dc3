"""What quality costs."""
