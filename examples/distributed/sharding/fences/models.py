from django.db import models


class HeldBucket(models.Model):
    """A row on a shard, which says that the shard takes writes for this bucket.

    The shard map in ``default`` says where to write, but a process may have read the map before a
    bucket moved. So each transaction that writes locks this row, and a move deletes it first.
    """

    number = models.PositiveSmallIntegerField(primary_key=True)

    class Meta:
        app_label = "fences"

    def __str__(self):
        return f"bucket {self.number}"


class Token(models.Model):
    """One row on a shard: the number of the latest run of reshard that changed this shard.

    An earlier run that was only suspended reads this number, and stops.
    """

    number = models.BigIntegerField(default=0)

    class Meta:
        app_label = "fences"  # so that a check can report if the app is not installed

    def __str__(self):
        return f"run {self.number}"
