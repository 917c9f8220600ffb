from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="EmailAddress",
            fields=[
                ("email", models.EmailField(max_length=254, primary_key=True, serialize=False)),
                ("owner_id", models.BigIntegerField(db_index=True)),
                ("claimed", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "e-mail addresses",
            },
        ),
    ]
