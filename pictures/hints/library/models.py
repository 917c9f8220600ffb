"""The models of the calls: a relation of each kind, and the models that ask differently."""

import django
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models.functions import Now


class Author(models.Model):
    name = models.CharField(max_length=40, unique=True)
    colleagues = models.ManyToManyField("self")

    def __str__(self) -> str:
        return self.name


class Profile(models.Model):
    author = models.OneToOneField(Author, models.CASCADE)
    text = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.text


class Tag(models.Model):
    name = models.CharField(max_length=40)
    parent = models.ForeignKey("self", models.SET_NULL, null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class Book(models.Model):
    title = models.CharField(max_length=40)
    isbn = models.CharField(max_length=13, unique=True)
    pages = models.IntegerField(default=1)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    tags = models.ManyToManyField(Tag, blank=True)
    editors = models.ManyToManyField(Author, through="Role", related_name="edited")
    published = models.DateField(default="2010-09-07")
    arrived = models.DateTimeField(default="2010-09-07T12:00Z")
    notes = GenericRelation("Note")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["author", "title"], name="one_title"),
            models.CheckConstraint(condition=models.Q(pages__gt=0), name="some_pages"),
        ]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return "/"


class Novel(Book):
    genre = models.CharField(max_length=40)


class Role(models.Model):
    book = models.ForeignKey(Book, models.CASCADE)
    author = models.ForeignKey(Author, models.CASCADE)
    kind = models.CharField(max_length=40, default="editor")

    def __str__(self) -> str:
        return self.kind


class Note(models.Model):
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.BigIntegerField()
    about = GenericForeignKey()
    text = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.text


class Chapter(models.Model):
    book = models.ForeignKey(Book, models.CASCADE)
    title = models.CharField(max_length=40, unique_for_date="day")
    day = models.DateField(default="2010-09-07")

    class Meta:
        order_with_respect_to = "book"

    def __str__(self) -> str:
        return self.title


class Price(models.Model):
    amount = models.IntegerField(db_default=10)
    # These fields are checked against the databases.
    since = models.DateTimeField(db_default=Now(), db_comment="the first day")
    tax = models.DecimalField(max_digits=4, decimal_places=2, default=0)
    extra = models.JSONField(default=dict)
    double = models.GeneratedField(
        expression=models.F("amount") * 2, output_field=models.IntegerField(), db_persist=True
    )

    class Meta:
        db_table_comment = "what a book costs"

    def __str__(self) -> str:
        return str(self.amount)


class InOther(models.Manager):
    def get_queryset(self):
        return super().get_queryset().using("other")


class Archived(models.Model):
    """A model whose own manager names an alias."""

    text = models.CharField(max_length=40)
    author = models.ForeignKey(Author, models.CASCADE)

    objects = InOther()

    def __str__(self) -> str:
        return self.text


class Series(models.Model):
    name = models.CharField(max_length=40)

    def __str__(self) -> str:
        return self.name


class Volume(models.Model):
    """A model whose rows the database deletes, where Django can tell the database to."""

    series = models.ForeignKey(
        Series, models.DB_CASCADE if django.VERSION >= (6, 1) else models.CASCADE
    )

    def __str__(self) -> str:
        return f"volume {self.pk}"
