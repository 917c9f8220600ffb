"""The ``ENGINE`` of a coordinator on PostgreSQL: ``distributed.postgresql``."""

from django.db.backends.postgresql import base, features


class DatabaseFeatures(features.DatabaseFeatures):
    # Django groups by the primary key alone, which PostgreSQL accepts only if the table has one. A
    # table with rows on nodes has none.
    allows_group_by_selected_pks = False


class DatabaseWrapper(base.DatabaseWrapper):
    features_class = DatabaseFeatures
