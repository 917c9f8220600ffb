"""An app of a single model, whose migrations have each kind of operation."""

from django.db import models


class Cup(models.Model):
    name = models.CharField(max_length=40)
    size = models.IntegerField(default=1)

    def __str__(self) -> str:
        return self.name
