"""Protocols whose answer is computed and not trained by a study: every module has a `compute(scale, progress)`.

It returns plain numbers: "rows", a list of dicts with the name of the row under "arm"; "quantities", by name, which
claims refer to; and "figure", whose panels of lines hold {"arm", "points"}.
"""
