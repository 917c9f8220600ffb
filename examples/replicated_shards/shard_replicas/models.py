from django.db import models


class ReadableFrom(models.Model):
    """From which position on the replicas of the shard ``alias`` agree with the map.

    The rows of a bucket that has come are at or before it, and so is the deletion of one that has
    gone. It changes in the transaction that changes the map; no row: from the beginning.
    """

    alias = models.CharField(max_length=63, primary_key=True)
    position = models.CharField(max_length=63)

    def __str__(self):
        return f"replicas of {self.alias} from {self.position}"
