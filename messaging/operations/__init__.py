"""Tools for operators: probes, a live trip through each backend, the smoke test, the export."""
