from django.apps import AppConfig
from django.core.checks import register

from shop import checks


class ShopConfig(AppConfig):
    name = "shop"

    def ready(self):
        register(checks.crossing_foreign_keys)
