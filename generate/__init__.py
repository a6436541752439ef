"""Every file of the repository that is made from another one, written anew by `make generate`.

A fact has one home; where a copy must lie elsewhere (a chart can't read outside its folder, a page is read without
running code), it is made here and `make check` finds it when it is stale. A source of such files is a function
`generated() -> dict[Path, str]`; adding one is a line in `sources.py`.
"""
