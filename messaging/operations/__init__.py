"""What operators run: probes, a live trip through each backend, the smoke test, the export."""
