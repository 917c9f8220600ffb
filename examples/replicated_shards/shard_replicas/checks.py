from django.core.checks import Error
from django.core.management import get_commands


def check_promote(**kwargs):
    """Check that ``promote`` is the command that tells the shard map, and not another app's."""
    app = get_commands()["promote"]
    if app == "shard_replicas":
        return []
    return [
        Error(
            f"The command promote is that of {app}, which does not tell the shard map.",
            hint=f'Write "shard_replicas" before "{app}" in INSTALLED_APPS.',
            id="shard_replicas.E001",
        )
    ]
