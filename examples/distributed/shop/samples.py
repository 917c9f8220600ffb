"""The sample data of `populate`. All example projects use the same data."""

from decimal import Decimal
from random import Random

from django.core.management import CommandError
from tqdm import tqdm

BATCH = 5_000  # rows in one transaction, and in memory

MANNERS = [
    ("Punctual", "Arrives before you do."),
    ("Approximate", "Right to within a season."),
    ("Patient", "Waits for you to look."),
    ("Overwound", "Needs a holiday."),
    ("Second-hand", "With its hour and minute hands too."),
    ("Unhurried", "Takes 61 seconds to the minute."),
    ("Leap-year", "Rests on 29 February."),
    ("Borrowed", "Lent time, at fair interest."),
    ("Diplomatic", "Agrees with every other clock."),
    ("Eventually consistent", "Shows the last time it received."),
]
CLOCKS = [
    ("carriage clock", "Carriage not included."),
    ("cuckoo clock", "The bird is replicated."),
    ("grandfather clock", "Grandfather not included."),
    ("hourglass", "Sold by the grain."),
    ("sundial", "Not for use after dark."),
    ("water clock", "Please mind the puddle."),
    ("pocket watch", "Fits most pockets."),
    ("alarm clock", "It is not alarmed; you are."),
    ("station clock", "Five minutes slow, for the trains."),
    ("egg timer", "Egg not included."),
    ("metronome", "Has an opinion about your tempo."),
]
FIRST_NAMES = [
    "Ada", "Ahmad", "Christiaan", "Eunice", "Galileo", "Ismail", "Jeanne", "John", "Leonor",
    "Margaret", "Sanford", "Su", "Thomas",
]  # fmt: skip
LAST_NAMES = [
    "Al-Jazari", "Arnold", "Breguet", "Fleming", "Harrison", "Hooke", "Huygens", "Lovelace",
    "Mudge", "Pendleton", "Song", "Tompion", "Winnerl", "Zacharias",
]  # fmt: skip
AUTHORS = ["breguet", "galileo", "harrison", "hooke", "huygens", "mudge", "pendleton", "tompion"]
OPINIONS = {  # by rating
    1: ["It has stopped. So have I.", "Told me the time once, in confidence."],
    2: ["Right twice a day, which is less than I paid for.", "Ticks. Does not tock."],
    3: ["It passes the time.", "My other clock disagrees, and I believe neither."],
    4: ["Very good; one star less for the cuckoo.", "I am hardly ever late now."],
    5: ["I set the radio by it.", "The neighbours have stopped asking me the time."],
}


def product(number, seed):
    """Return the name, the description and the price of a product, as a dict."""
    manner, habit = MANNERS[number % len(MANNERS)]
    clock, warning = CLOCKS[number % len(CLOCKS)]
    cents = Random(f"{seed} product {number}").randrange(500, 50_000)
    return {
        "name": f"{manner} {clock}",
        "description": f"{habit} {warning}",
        "price": Decimal(cents) / 100,
    }


def create_up_to(model, wanted, make):
    """Save ``make(number)`` for each number from the present number of rows up to ``wanted``."""
    there = model.objects.count()
    name = model._meta.verbose_name
    with tqdm(total=max(there, wanted), initial=there, unit=name, disable=None) as bar:
        for start in range(there, wanted, BATCH):
            batch = [make(number) for number in range(start, min(start + BATCH, wanted))]
            # bulk_create() uses one transaction on the database of the model. The rows have no
            # primary keys yet: keys that we set would not advance a sequence in PostgreSQL.
            model.objects.bulk_create(batch)
            bar.update(len(batch))


def whole_number(name, value):
    """Return an option's value as a number. Raise CommandError if it is negative, or no number.

    argparse would print the usage of the command, and end with exit status 2.
    """
    try:
        number = int(value)
    except ValueError:
        number = -1
    if number < 0:
        raise CommandError(f"--{name} must be a whole number, 0 or more, not {value!r}.")
    return number
