"""The demo: the main job on real baskets, through the public HTTP API of a running gateway.

`data` reads a year of real baskets, `people` gives every household an invented person, `dirt` spoils some rows on
purpose, `histories` invents what they agreed to and refused. `story` is the run: its steps, a module each from
`setup` to `proof`, talk to the gateway that `server` starts, and note in `tour` whether what must hold does hold;
`guests` are the people who turn up on the way, `banner` the signals of a web page. `report` prints. Nothing here
reaches inside the gateway: a step that cannot be done over HTTP or by a command of `consent-gateway` is not in the
demo.
"""
