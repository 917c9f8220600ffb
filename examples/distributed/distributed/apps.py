from django.apps import AppConfig


class DistributedConfig(AppConfig):
    name = "distributed"
