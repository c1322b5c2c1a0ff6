"""Concepts and their arithmetic: no IO, no clock, no framework; the standard library only.

Inside the ring the concepts form a line, and one to the left may use one to the right:
`rights > campaigns > audiences > segments > events > decisions > caps > consents > notices > purposes >
subjects > ids`.
"""
