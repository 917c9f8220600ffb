from django.db import migrations

import directory.models


class Migration(migrations.Migration):
    """Where the collation took two addresses for one, that one stays: run ``reconcile`` after."""

    dependencies = [("directory", "0001_initial")]

    operations = [
        migrations.AlterField(
            model_name="emailaddress",
            name="email",
            field=directory.models.ExactEmailField(
                max_length=254, primary_key=True, serialize=False
            ),
        ),
    ]
