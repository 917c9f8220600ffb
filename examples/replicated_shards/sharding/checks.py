from django.conf import settings
from django.core.checks import Error
from django.db import DEFAULT_DB_ALIAS, connections

from sharding.buckets import Bucket
from sharding.errors import some
from sharding.keys import BUCKETS


def check_shards(app_configs, **kwargs):
    """Each of SHARDS is a database, once, and not the one that has all that is global."""
    errors = [
        Error(f'SHARDS names "{alias}", which is not in DATABASES.', id="sharding.E001")
        for alias in settings.SHARDS
        if alias not in settings.DATABASES
    ]
    if len(set(settings.SHARDS)) < len(settings.SHARDS):
        errors.append(Error("SHARDS names a shard twice.", id="sharding.E002"))
    if DEFAULT_DB_ALIAS in settings.SHARDS:
        errors.append(
            Error(
                f'SHARDS names "{DEFAULT_DB_ALIAS}", which has what is global.', id="sharding.E003"
            )
        )
    return errors


def check_map(app_configs, databases=None, **kwargs):
    """Each bucket is mapped, once, to one of SHARDS. (Twice, the primary key doesn't allow.)"""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    tables = connections[DEFAULT_DB_ALIAS].introspection.table_names()
    if Bucket._meta.db_table not in tables:
        return []  # not migrated yet
    entries = dict(Bucket.objects.using(DEFAULT_DB_ALIAS).values_list("number", "alias"))
    errors = []
    if missing := sorted(set(range(BUCKETS)) - entries.keys()):
        errors.append(Error(f"The shard map lacks bucket {some(missing)}.", id="sharding.E004"))
    if foreign := sorted(entries.keys() - set(range(BUCKETS))):
        errors.append(
            Error(f"The shard map has bucket {some(foreign)}, of {BUCKETS}.", id="sharding.E005")
        )
    for alias in sorted(set(entries.values()) - set(settings.SHARDS)):
        buckets = sorted(number for number in entries if entries[number] == alias)
        errors.append(
            Error(
                f'The shard map has bucket {some(buckets)} on "{alias}", which is not in SHARDS.',
                id="sharding.E006",
            )
        )
    return errors
