"""Signals: what a browser or a consent platform says for a person, as typed values; pure.

`bits` reads base64url bit fields; `tcf` IAB TCF v2.2 and v2.3 and the Canadian string, `gpp` the Global Privacy
Platform with the US sections of `sections` (tables) and `us`, `gpc` the Global Privacy Control; `detect` tells them
apart and decodes; `views` prints them; `vectors` compares decoders with files of vectors.

Invariants: one clear error for anything undecodable; time and memory are bounded by the length of the text; nothing
that is not understood is guessed.
"""
