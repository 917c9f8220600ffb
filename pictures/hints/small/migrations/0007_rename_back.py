from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("small", "0006_rename")]
    operations = [migrations.RenameModel("Mug", "Cup")]
