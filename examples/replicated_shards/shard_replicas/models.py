from django.db import models


class ReadableFrom(models.Model):
    """The position from which on the replicas of the shard ``alias`` agree with the map.

    A replica at this position has the rows of each bucket that has come to the shard, and no rows
    of a bucket that has left it. The transaction that changes the map also writes the position. A
    shard without such a row has been in no move: its replicas agree with the map.
    """

    alias = models.CharField(max_length=63, primary_key=True)
    position = models.CharField(max_length=63)

    def __str__(self):
        return f"replicas of {self.alias} from {self.position}"
