"""Hub events as AKS sends them, the same for the same seed, and what should become of each."""
