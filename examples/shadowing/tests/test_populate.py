import pytest


def test_running_it_again_adds_nothing(shop):
    arguments = ["populate", "--products=40", "--customers=20", "--reviews=60"]
    line = "40 products, 20 customers, 40 orders, 60 reviews, 39 listings.\n"
    assert shop.does(*arguments, live=True) == line
    assert shop.does("populate", "--products=41", "--customers=20", "--reviews=60", live=True) == (
        line.replace("40 products", "41 products")
    )


def test_with_the_settings_of_a_developer(shop):
    process = shop("populate")
    assert (process.returncode, process.stderr) == (
        1,
        "CommandError: This command fills production, but these settings only have a snapshot of "
        "it. Run: python manage.py populate --settings=shop.live\n",
    )


def test_before_migrate(empty_shop):
    process = empty_shop("populate", live=True)
    assert process.returncode == 1
    assert 'Database "default" has no table products_product.' in process.stderr


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--products=many", "--products must be a whole number, 0 or more, not 'many'."),
        ("--customers=-1", "--customers must be a whole number, 0 or more, not '-1'."),
    ],
)
def test_a_wrong_number(empty_shop, argument, message):
    process = empty_shop("populate", argument, live=True)
    assert (process.returncode, process.stderr) == (1, f"CommandError: {message}\n")
