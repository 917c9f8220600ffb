from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("small", "0005_sql")]
    operations = [migrations.RenameModel("Cup", "Mug")]
