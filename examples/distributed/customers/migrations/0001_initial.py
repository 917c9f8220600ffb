import django.db.models.deletion
import django.db.models.expressions
import django.db.models.lookups
import django.utils.timezone
from django.db import migrations, models

import sharding.fields


class Migration(migrations.Migration):
    initial = True

    # What lets a shard be written to comes with what is written there.
    dependencies = [("fences", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Customer",
            fields=[
                ("id", sharding.fields.KeyField(editable=False, primary_key=True, serialize=False)),
                ("name", models.CharField(db_index=True, max_length=100)),
                ("email", models.EmailField(max_length=254)),
                (
                    "joined",
                    models.DateTimeField(
                        db_index=True, default=django.utils.timezone.now, editable=False
                    ),
                ),
            ],
            options={
                "abstract": False,
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "id",
                    sharding.fields.KeyField(
                        editable=False, of="customer", primary_key=True, serialize=False
                    ),
                ),
                ("product_id", models.BigIntegerField()),
                ("quantity", models.PositiveSmallIntegerField(default=1)),
                ("price", models.DecimalField(decimal_places=2, max_digits=8)),
                (
                    "created",
                    models.DateTimeField(
                        db_index=True, default=django.utils.timezone.now, editable=False
                    ),
                ),
                (
                    "customer",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="orders",
                        to="customers.customer",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=django.db.models.lookups.Exact(
                            django.db.models.expressions.CombinedExpression(
                                models.F("id"), ">>", models.Value(43)
                            ),
                            django.db.models.expressions.CombinedExpression(
                                models.F("customer_id"), ">>", models.Value(43)
                            ),
                        ),
                        name="order_in_its_customers_bucket",
                    )
                ],
            },
        ),
    ]
