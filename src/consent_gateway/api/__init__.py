"""HTTP: controllers parse, call one use case, return. Wire models are strict; errors are problem details."""
