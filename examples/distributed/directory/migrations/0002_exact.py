from django.db import migrations

import directory.models


class Migration(migrations.Migration):
    """If two addresses were equal by the old collation, one has no claim: run ``reconcile``."""

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
