from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("small", "0004_hints")]
    operations = [
        migrations.RunSQL("UPDATE small_cup SET size = 2", migrations.RunSQL.noop),
        migrations.SeparateDatabaseAndState(
            [migrations.RunSQL("UPDATE small_cup SET size = 3", migrations.RunSQL.noop)]
        ),
    ]
