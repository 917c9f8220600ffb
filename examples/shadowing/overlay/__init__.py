"""Rows of your own over a snapshot's, such that Django sees one table: an overlay, on SQLite.

``backend`` is a database engine: Django's for SQLite, with the snapshot attached, read-only.
``tables`` has the SQL: for each model in the setting OVERLAID a table in the local file, a view
that lays its rows over the snapshot's, and the triggers that turn a write on the view into a local
row. ``rows`` says what differs from the snapshot; the command ``overlay`` shows, exports and
discards it.

Where OVERLAID is empty, and the engine Django's own, the app does nothing.
"""
