from django.apps import AppConfig
from django.conf import settings
from django.core.checks import register

from multidb_checks import data_migrations, entries, relations, routing, watching


class MultidbChecksConfig(AppConfig):
    name = "multidb_checks"

    def ready(self):
        for check in (
            relations.check_relations,
            routing.check_aliases,
            routing.check_same_answer,
            routing.check_read_and_write,
            routing.check_allow_relation,
            routing.check_strangers,
            data_migrations.check_by_model,
            data_migrations.check_alias,
            entries.check_empty,
            entries.check_mirrors,
        ):
            register(check, "multidb")
        if getattr(settings, "MULTIDB_WATCH", False):
            watching.start()
