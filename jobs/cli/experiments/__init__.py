"""Commands that measure: simulated attacks and models on a prepared split."""
