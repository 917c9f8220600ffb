"""Runs each page of the site as a session at the keyboard, and shows on the site that it was run.

`pages` finds and runs the blocks of a page. `slips` finds mistakes: text that looks like a block
and would not run. `session` has the folder in which the blocks run, and `interpreter` the Python
process. `record` stores the results, and `site` marks and checks the blocks that Sphinx renders.
``docs/contributing.rst`` describes each kind of block.
"""
