"""Learning curves: bands over seeds, smoothing, time to target."""
