from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("small", "0001_initial")]
    operations = [migrations.AddField("Cup", "size", models.IntegerField(default=1))]
