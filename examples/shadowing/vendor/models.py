"""The supplier's tables, with names that we can read.

Because of ``managed = False``, no migration makes or changes these tables. The first draft of this
file is the output of ``manage.py inspectdb --database=vendor``.
"""

from django.db import models


class Group(models.Model):
    number = models.IntegerField(db_column="WGR_NR", primary_key=True)
    name = models.CharField(db_column="WGR_TXT", max_length=40)

    class Meta:
        managed = False
        db_table = "TBL_WGR"

    def __str__(self):
        return self.name


class Article(models.Model):
    number = models.CharField(db_column="ARTNR", primary_key=True, max_length=8)
    name = models.CharField(db_column="BEZ1", max_length=60)
    group = models.ForeignKey(Group, models.DO_NOTHING, db_column="WGR", related_name="articles")
    cents = models.IntegerField(db_column="EKPREIS", help_text="what we pay, in cents")
    stock = models.IntegerField(db_column="LAGER")

    class Meta:
        managed = False
        db_table = "TBL_ARTIKEL"

    def __str__(self):
        return self.name
