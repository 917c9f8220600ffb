"""Runs each page of the site as a session at the keyboard, and shows on the site that it was run.

`pages` knows the blocks of a page, `slips` what looks like a block and is none, `session` the
folder that they run in, and `interpreter` its Python process; `record` keeps what happened, and
`site` marks and audits what Sphinx renders.
``docs/contributing.rst`` says what a page may hold, and what each kind of block means.
"""
