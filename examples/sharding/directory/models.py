from django.db import models


class ExactEmailField(models.EmailField):
    """Tells all addresses apart, whatever the database's own collation does.

    MariaDB's takes ``émile`` and ``emile`` for one, for example.
    """

    COLLATIONS = {"postgresql": "C", "mysql": "utf8mb4_bin", "sqlite": "BINARY"}

    def db_parameters(self, connection):
        parameters = super().db_parameters(connection)
        return {**parameters, "collation": self.COLLATIONS.get(connection.vendor)}


class EmailAddress(models.Model):
    """Whose an e-mail address is: unique across all shards, though none of them sees the others.

    ``claims.py`` has how an address comes to be here.
    """

    email = ExactEmailField(primary_key=True)  # in lower case
    owner_id = models.BigIntegerField(db_index=True)
    claimed = models.DateTimeField()

    class Meta:
        verbose_name_plural = "e-mail addresses"

    def __str__(self):
        return self.email
