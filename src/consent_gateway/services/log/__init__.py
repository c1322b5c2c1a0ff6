"""The log: how entries become one, who keeps and checks it, what is read out of it, what waits until it stands."""
