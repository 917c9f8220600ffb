from django.core.checks import Error
from django.core.management import get_commands


def check_promote(**kwargs):
    """Check that ``promote`` is this app's command, which also corrects the shard map."""
    app = get_commands()["promote"]
    if app == "shard_replicas":
        return []
    return [
        Error(
            f"The command promote is from the app {app}, and does not correct the shard map.",
            hint=f'Write "shard_replicas" before "{app}" in INSTALLED_APPS.',
            id="shard_replicas.E001",
        )
    ]
