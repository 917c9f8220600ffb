from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("small", "0003_python")]
    operations = [
        migrations.RunPython(
            migrations.RunPython.noop, migrations.RunPython.noop, hints={"model_name": "cup"}
        )
    ]
