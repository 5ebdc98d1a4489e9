"""The connection store, the rate limits and the address counts, by technology. `base` states their guarantees."""
