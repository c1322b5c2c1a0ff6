"""The law as decision tables, and the engine that reads them; pure.

`vocabulary` is the closed, finite fact space; `facts` builds a point of it from a question and a situation;
`rules` says what a rule and a pack are, `packs` reads them from the YAML files beside it (`documents` keeps the lines,
`soundness` refuses what is senseless); `compile` turns a pack set into bit masks, `sieve` evaluates them all at once;
`combine` joins the verdicts of the laws into one answer; `engine` decides and explains; `counterfactual` finds the
smallest change that permits; `formulas` says what packs say as formulas and searches them exactly, for `claims` and
`prove` (every answer there is) and for `lint`; `cedar` exports a pack; `cases` runs the decision cases that
compliance officers exchange (`case_fields` checks their fields, `translation` reads them); `render` prints; `regions`
and `classes` are tables.
"""
