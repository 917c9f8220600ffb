from django.db import migrations

from distributed.operations import Distribute


class Migration(migrations.Migration):
    dependencies = [("customers", "0001_initial")]

    operations = [Distribute(Customer="id", Order="customer")]
