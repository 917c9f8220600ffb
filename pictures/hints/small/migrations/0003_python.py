from django.db import migrations


def fill(apps, schema_editor):
    apps.get_model("small", "Cup").objects.create(name="Blue")


def empty(apps, schema_editor):
    apps.get_model("small", "Cup").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [("small", "0002_size")]
    operations = [migrations.RunPython(fill, empty)]
