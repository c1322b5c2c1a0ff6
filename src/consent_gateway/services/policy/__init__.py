"""The law changes: proposed, compared, replayed, put in force by four eyes."""
