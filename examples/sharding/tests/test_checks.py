import pytest
from django.core import checks
from django.core.management import call_command

from conftest import ALIASES
from sharding.buckets import Bucket, MapIncomplete, read_map
from sharding.checks import check_map, check_shards

pytestmark = pytest.mark.django_db(databases=ALIASES)


def of_the_map():
    return [str(error.msg) for error in check_map(None, databases=["default"])]


def test_all_is_well():
    call_command("check", databases=["default"])
    assert of_the_map() == []


def test_the_first_map_is_fair():
    assert {len(read_map().buckets(alias)) for alias in ALIASES[1:]} == {256}


def test_both_are_registered():
    registered = checks.registry.registry.get_checks()
    assert check_shards in registered and check_map in registered


def test_a_bucket_that_is_not_mapped():
    Bucket.objects.filter(number__in=[3, 1000]).delete()
    assert of_the_map() == ["The shard map lacks bucket 3, 1000."]
    with pytest.raises(MapIncomplete, match="has 1022 of 1024 buckets"):
        read_map()


def test_a_bucket_too_many():
    Bucket.objects.create(number=1024, alias="shard0")
    assert of_the_map() == ["The shard map has bucket 1024, of 1024."]


def test_an_alias_that_is_not_a_shard():
    Bucket.objects.filter(number__lt=7).update(alias="shard9")
    assert of_the_map() == [
        'The shard map has bucket 0, 1, 2, 3, 4, … on "shard9", which is not in SHARDS.'
    ]


def test_other_databases_have_no_map():
    Bucket.objects.all().delete()
    assert check_map(None, databases=["shard0"]) == check_map(None) == []


@pytest.mark.parametrize(
    ("shards", "message"),
    [
        (["shard0", "shard9"], 'SHARDS names "shard9", which is not in DATABASES.'),
        (["shard0", "shard0"], "SHARDS names a shard twice."),
        (["default", "shard0"], 'SHARDS names "default", which has what is global.'),
    ],
)
def test_the_setting(settings, shards, message):
    settings.SHARDS = shards
    assert [error.msg for error in check_shards(None)] == [message]
