"""Runs each page of the site as a session at the keyboard, and shows on the site that it was run.

`pages` runs a page, `interpreter` is the Python process that it runs in, `record` keeps what happened, and
`site` marks and audits what Sphinx renders. What a page may hold, and what each kind of block means, is in
``docs/contributing.rst``.
"""
