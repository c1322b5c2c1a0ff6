"""Identity: who is meant, who belongs together, and the one row that a decision reads of a person."""
