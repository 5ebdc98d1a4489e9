"""The server of pods: daphne with limits, backpressure and a drain."""
