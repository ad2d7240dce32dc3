"""Laws over model size, data and compute, and what they foresee."""
