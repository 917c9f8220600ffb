from django.db import models


class HeldBucket(models.Model):
    """On a shard: that it takes writes for this bucket.

    The shard map in ``default`` says where to write, but one may have read it just before a bucket
    moved. This row is looked at in the transaction that writes, and a move takes it away first.
    """

    number = models.PositiveSmallIntegerField(primary_key=True)

    class Meta:
        app_label = "fences"

    def __str__(self):
        return f"bucket {self.number}"


class Token(models.Model):
    """On a shard, one row: the number of the latest run of reshard that worked here.

    An earlier one, should it only have slept, finds that it was replaced.
    """

    number = models.BigIntegerField(default=0)

    class Meta:
        app_label = "fences"  # so that a check can say that the app is not installed

    def __str__(self):
        return f"run {self.number}"
