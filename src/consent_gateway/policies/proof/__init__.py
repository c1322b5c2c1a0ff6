"""What holds for all facts: formulas over the packs, claims and their proofs, and faults that a reader would miss."""
