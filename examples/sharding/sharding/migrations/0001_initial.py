from django.conf import settings
from django.db import migrations, models

from sharding.buckets import first_map


def fill_map(apps, schema_editor):
    if not settings.SHARDS:
        return  # if shards are added later, "migrate" makes the map: see refill_map() in schema.py
    alias = schema_editor.connection.alias
    apps.get_model("sharding", "MapVersion").objects.using(alias).create()
    Bucket = apps.get_model("sharding", "Bucket")
    Bucket.objects.using(alias).bulk_create(
        Bucket(number=number, alias=shard) for number, shard in first_map()
    )


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Bucket",
            fields=[
                ("number", models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
                ("alias", models.CharField(max_length=63)),
                ("uncounted_on", models.CharField(blank=True, max_length=63, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="MapVersion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("version", models.BigIntegerField(default=1)),
                ("placement", models.BigIntegerField(default=1)),
            ],
        ),
        migrations.CreateModel(
            name="Resharding",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.BigIntegerField(default=0)),
                ("beat", models.BigIntegerField(default=0)),
                ("running", models.BooleanField(default=False)),
            ],
        ),
        migrations.RunPython(fill_map, migrations.RunPython.noop),
    ]
