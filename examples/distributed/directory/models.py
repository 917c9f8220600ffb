from django.db import models


class ExactEmailField(models.EmailField):
    """Compares addresses byte by byte, whatever the default collation of the database is.

    For MariaDB's default, ``émile`` and ``emile`` are equal, for example.
    """

    COLLATIONS = {"postgresql": "C", "mysql": "utf8mb4_bin", "sqlite": "BINARY"}

    def db_parameters(self, connection):
        parameters = super().db_parameters(connection)
        return {**parameters, "collation": self.COLLATIONS.get(connection.vendor)}


class EmailAddress(models.Model):
    """The owner of an e-mail address, which is unique across all shards.

    ``claims.py`` creates these rows.
    """

    email = ExactEmailField(primary_key=True)  # in lower case
    owner_id = models.BigIntegerField(db_index=True)
    claimed = models.DateTimeField()

    class Meta:
        verbose_name_plural = "e-mail addresses"

    def __str__(self):
        return self.email
