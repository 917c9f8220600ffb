from django.conf import settings
from django.db import migrations, models

from sharding.buckets import read_map


def hold_buckets(apps, schema_editor):
    """Let the shard take writes for those buckets that the map, in ``default``, says it has."""
    alias = schema_editor.connection.alias
    if alias not in settings.SHARDS:
        return
    HeldBucket = apps.get_model("fences", "HeldBucket")
    HeldBucket.objects.using(alias).bulk_create(
        HeldBucket(number=number) for number in read_map().buckets(alias)
    )


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="HeldBucket",
            fields=[
                ("number", models.PositiveSmallIntegerField(primary_key=True, serialize=False)),
            ],
        ),
        migrations.CreateModel(
            name="Token",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.BigIntegerField(default=0)),
            ],
        ),
        migrations.RunPython(hold_buckets, migrations.RunPython.noop),
    ]
