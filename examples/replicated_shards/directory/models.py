from django.db import models


class EmailAddress(models.Model):
    """Whose an e-mail address is: unique across all shards, though none of them sees the others.

    ``claims.py`` has how an address comes to be here.
    """

    email = models.EmailField(primary_key=True)  # in lower case
    owner_id = models.BigIntegerField(db_index=True)
    claimed = models.DateTimeField()

    class Meta:
        verbose_name_plural = "e-mail addresses"

    def __str__(self):
        return self.email
