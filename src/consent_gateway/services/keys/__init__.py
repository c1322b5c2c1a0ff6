"""Keys: rolling, moving and destroying them, and what is told of them."""
