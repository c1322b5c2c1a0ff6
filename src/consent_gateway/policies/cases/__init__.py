"""Decision cases that officers exchange: what their fields may hold, what they mean, and how they are run."""
