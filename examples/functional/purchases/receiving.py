from django.db.models import F

from purchases.models import Purchase, Sold


def receive(message):
    """Apply a message about an order: its rows in this database, in the transaction of the outbox.

    The messages of an order come in their order, and each of them once. So the sum in ``Sold`` is
    right, although adding a number twice would make it wrong.
    """
    order, body = int(message.key), message.body
    before = Purchase.objects.filter(pk=order).first()
    if body["quantity"]:
        Purchase.objects.update_or_create(
            pk=order,
            defaults={
                "product_id": body["product"],
                "buyer_id": body["buyer"],
                "quantity": body["quantity"],
            },
        )
    elif before:
        before.delete()
    if before:
        add(before.product_id, -before.quantity)
    add(body["product"], body["quantity"])


def add(product, pieces):
    if not Sold.objects.filter(pk=product).update(pieces=F("pieces") + pieces):
        Sold.objects.create(pk=product, pieces=pieces)
